//! Splits a text into words.

use super::PtxError;

/// A word. Names keep their dots and percent signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name, a directive with its dot, or the name of an instruction.
    Word(String),
    /// An integer. A sign is a separate word.
    Integer(u64),
    /// The bits of a single, as `0f3F800000`.
    Single(u32),
    /// The bits of a double, as `0d3FF0000000000000`.
    Double(u64),
    /// Text between quotes.
    Text(String),
    /// Any other character.
    Mark(char),
}

/// A word and the number of its line.
pub type Placed = (Token, u32);

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

/// The words of `text`, without comments.
pub fn words(text: &str) -> Result<Vec<Placed>, PtxError> {
    let mut words = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        line += u32::from(first == '\n');
        let here = line;
        let error = |message: &str| PtxError {
            line: here,
            message: message.into(),
        };
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            let end = rest
                .find("*/")
                .ok_or_else(|| error("a comment has no end"))?;
            line += rest[..end].matches('\n').count() as u32;
            rest = &rest[end + 2..];
        } else if first == '"' {
            let end = rest[1..]
                .find('"')
                .ok_or_else(|| error("a text has no end"))?;
            words.push((Token::Text(rest[1..=end].into()), line));
            rest = &rest[end + 2..];
        } else if first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            let number = number(word).ok_or_else(|| error(&format!("'{word}' is no number")))?;
            words.push((number, line));
            rest = behind;
        } else if is_of_name(first) {
            let end = name_end(rest);
            words.push((Token::Word(rest[..end].into()), line));
            rest = &rest[end..];
        } else {
            words.push((Token::Mark(first), line));
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(words)
}

/// The length of the name that `text` begins with. Two colons join the parts of a name, as in
/// `shared::cta`.
fn name_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        if is_of_name(bytes[end] as char) {
            end += 1;
        } else if text[end..].starts_with("::") {
            end += 2;
        } else {
            break;
        }
    }
    end
}

fn number(word: &str) -> Option<Token> {
    let lower = word.to_ascii_lowercase();
    if let Some(bits) = lower.strip_prefix("0f").filter(|bits| bits.len() == 8) {
        return Some(Token::Single(u32::from_str_radix(bits, 16).ok()?));
    }
    if let Some(bits) = lower.strip_prefix("0d").filter(|bits| bits.len() == 16) {
        return Some(Token::Double(u64::from_str_radix(bits, 16).ok()?));
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => match digits.strip_prefix("0b") {
            Some(digits) => u64::from_str_radix(digits, 2),
            // Octal numbers begin with a zero.
            None if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8),
            None => digits.parse(),
        },
    };
    value.ok().map(Token::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let text =
            "mov.b32 \t%r1, 0f3F800000; // one\n/* a\nb */ ld.shared::cta.u32 %r2,[%rd1+0x10];";
        let words = words(text).unwrap();
        let word = |word: &str| Token::Word(word.into());
        let (tokens, lines): (Vec<_>, Vec<_>) = words.into_iter().unzip();
        assert_eq!(
            tokens,
            [
                word("mov.b32"),
                word("%r1"),
                Token::Mark(','),
                Token::Single(0x3f80_0000),
                Token::Mark(';'),
                word("ld.shared::cta.u32"),
                word("%r2"),
                Token::Mark(','),
                Token::Mark('['),
                word("%rd1"),
                Token::Mark('+'),
                Token::Integer(16),
                Token::Mark(']'),
                Token::Mark(';'),
            ]
        );
        assert_eq!((lines[0], lines[5]), (1, 3));
    }

    #[test]
    fn what_is_no_number_is_an_error_with_its_line() {
        let error = words("\n 0xZZ").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.message.contains("0xZZ"), "{error}");
    }
}
