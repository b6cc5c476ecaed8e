//! The header of an `.npy` file (NumPy Enhancement Proposal 1). It is a Python dictionary literal with three entries.
//! It is parsed here, as the crates that read it bring a parser of Python literals or an array library with them.

use std::io;

/// The contents of a header: where the numbers are, their type and the shape of their array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the numbers start.
    pub start: usize,
    /// The type of the numbers, as NumPy writes it, such as `<f4`.
    pub dtype: String,
    /// The shape of the array.
    pub shape: Vec<usize>,
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Header {
    /// Reads the header at the start of a file.
    pub fn read(file: &[u8]) -> io::Result<Self> {
        let rest = file.strip_prefix(b"\x93NUMPY");
        let rest = rest.ok_or_else(|| wrong("it does not start as an .npy file does"))?;
        let short = || wrong("the header is not complete");
        let (version, rest) = rest.split_at_checked(2).ok_or_else(short)?;
        let (size, before) = match version[0] {
            1 => {
                let (size, _) = rest.split_first_chunk::<2>().ok_or_else(short)?;
                (u16::from_le_bytes(*size) as usize, 10)
            }
            2 | 3 => {
                let (size, _) = rest.split_first_chunk::<4>().ok_or_else(short)?;
                (u32::from_le_bytes(*size) as usize, 12)
            }
            other => return Err(wrong(format!("version {other} of .npy files is not known"))),
        };
        let start = before + size;
        let text = file.get(before..start).ok_or_else(short)?;
        let text = std::str::from_utf8(text).map_err(|_| wrong("the header is no text"))?;
        let entry = |name: &str| {
            let named = [format!("'{name}':"), format!("\"{name}\":")];
            let found = named.iter().find_map(|name| text.split_once(name.as_str()));
            let found = found.map(|(_, rest)| rest.trim_start());
            found.ok_or_else(|| wrong(format!("the header has no entry `{name}`")))
        };
        let dtype = entry("descr")?;
        let quote = dtype.chars().next().filter(|quote| "'\"".contains(*quote));
        let dtype = quote.and_then(|quote| dtype[1..].split_once(quote));
        let (dtype, _) = dtype.ok_or_else(|| wrong("the numbers are of a type with fields"))?;
        if !entry("fortran_order")?.starts_with("False") {
            return Err(wrong(
                "the numbers are in Fortran's order, a column of the array after the other",
            ));
        }
        let shape = entry("shape")?.strip_prefix('(');
        let shape = shape.and_then(|shape| shape.split_once(')'));
        let (shape, _) = shape.ok_or_else(|| wrong("the shape is no tuple"))?;
        let sizes = shape
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty());
        let sizes = sizes.map(|size| {
            let size = size.parse::<usize>();
            size.map_err(|_| wrong(format!("the shape ({shape}) is none")))
        });
        Ok(Self {
            start,
            dtype: dtype.to_string(),
            shape: sizes.collect::<io::Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, text: &str) -> Vec<u8> {
        let mut file = b"\x93NUMPY".to_vec();
        file.extend([version, 0]);
        match version {
            1 => file.extend((text.len() as u16).to_le_bytes()),
            _ => file.extend((text.len() as u32).to_le_bytes()),
        }
        file.extend(text.as_bytes());
        file
    }

    #[test]
    fn headers_are_read() {
        // As numpy.save writes them.
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (60000, 3), }       \n";
        for version in [1, 2, 3] {
            let header = Header::read(&file(version, text)).unwrap();
            assert_eq!(header.start, file(version, text).len());
            assert_eq!(
                (header.dtype.as_str(), header.shape),
                ("<f4", vec![60000, 3])
            );
        }
        let text = "{'shape': (7,), 'fortran_order': False, 'descr': '>f8'}";
        let header = Header::read(&file(1, text)).unwrap();
        assert_eq!((header.dtype.as_str(), header.shape), (">f8", vec![7]));
        let text = "{'shape': (), 'fortran_order': False, 'descr': '<f4'}";
        assert_eq!(
            Header::read(&file(1, text)).unwrap().shape,
            Vec::<usize>::new()
        );
    }

    #[test]
    fn other_headers_are_errors() {
        let error = |file: &[u8]| Header::read(file).unwrap_err().to_string();
        assert_eq!(error(b"PK"), "it does not start as an .npy file does");
        assert_eq!(error(b"\x93NUMPY\x01"), "the header is not complete");
        assert_eq!(
            error(&file(1, "{'descr'")[..12]),
            "the header is not complete"
        );
        assert_eq!(error(&file(9, "")), "version 9 of .npy files is not known");
        assert_eq!(error(&file(1, "{}")), "the header has no entry `descr`");
        let fields = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}";
        assert_eq!(
            error(&file(1, fields)),
            "the numbers are of a type with fields"
        );
        let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}";
        assert!(error(&file(1, fortran)).contains("Fortran"));
        let shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}";
        assert_eq!(error(&file(1, shape)), "the shape (2, -3) is none");
    }
}
