//! Helpers that run texts of PTX on the machine.

use burn_lazy_standin::machine::{Launch, Machine, Memory, Order};
use burn_lazy_standin::translate::compile;

pub const HEAD: &str = ".version 8.7\n.target sm_90a\n.address_size 64\n";

/// Runs the first kernel of a text on a buffer of words, whose address is the argument. Returns the buffer afterwards.
pub fn run_words(
    text: &str,
    units: u32,
    cubes: u32,
    words: &[u32],
    order: Order,
) -> Result<Vec<u32>, String> {
    let code = compile(text).map_err(|error| error.to_string())?;
    let mut memory = Memory::default();
    let bytes = size_of_val(words);
    let address = memory.allocate(bytes).unwrap();
    let place = address as *mut u32;
    // SAFETY: an allocation of this size.
    unsafe { place.copy_from_nonoverlapping(words.as_ptr(), words.len()) };
    let launch = Launch {
        kernel: &code.kernels[0],
        cubes: [cubes, 1, 1],
        units: [units, 1, 1],
        dynamic_bytes: 0,
        arguments: &address.to_le_bytes(),
        order,
    };
    let mut machine = Machine::default();
    machine.run(&launch, &memory, &code.globals)?;
    // SAFETY: as above.
    Ok(unsafe { std::slice::from_raw_parts(place, words.len()) }.to_vec())
}

/// The text of a kernel with one pointer `%rd0` to words. `%r0` is the number of the unit, and `%rd1` the address of
/// the word with that number.
pub fn kernel(body: &str) -> String {
    format!(
        "{HEAD}.visible .entry k(.param .u64 k_0)\n{{\n.reg .pred %p<9>;\n.reg .b16 %h<9>;\n\
         .reg .b32 %r<40>;\n.reg .b64 %rd<20>;\n.shared .align 16 .b8 all[1024];\n\
         ld.param.u64 %rd0, [k_0];\nmov.u32 %r0, %tid.x;\nmad.wide.u32 %rd1, %r0, 4, %rd0;\n{body}\nret;\n}}\n"
    )
}

/// Runs a kernel with this body on `words`. Returns the words afterwards.
#[track_caller]
pub fn run(body: &str, units: u32, words: &[u32]) -> Vec<u32> {
    match run_words(&kernel(body), units, 1, words, Order::Forward) {
        Ok(words) => words,
        Err(error) => panic!("{error}"),
    }
}

/// The error of a kernel with this body.
#[track_caller]
pub fn error(body: &str, units: u32, words: &[u32]) -> String {
    let result = run_words(&kernel(body), units, 1, words, Order::Forward);
    result.expect_err("an error")
}

/// The result of one instruction. `kinds` has a letter for each operand, and the result comes first: `p` for a
/// predicate, `h`, `r` and `d` for 16, 32 and 64 bits, or `i` for a constant in the text.
#[track_caller]
pub fn evaluate(instruction: &str, kinds: &str, values: &[u64]) -> u64 {
    let mut body = String::new();
    let mut names = Vec::new();
    for (k, (kind, value)) in kinds[1..].chars().zip(values).enumerate() {
        let k = k + 2;
        names.push(match kind {
            'p' => {
                body += &format!("mov.b32 %r39, {value};\nsetp.ne.u32 %p{k}, %r39, 0;\n");
                format!("%p{k}")
            }
            'h' => {
                body += &format!("mov.b16 %h{k}, {value};\n");
                format!("%h{k}")
            }
            'r' => {
                body += &format!("mov.b32 %r{k}, {value};\n");
                format!("%r{k}")
            }
            'd' => {
                body += &format!("mov.b64 %rd{k}, {value};\n");
                format!("%rd{k}")
            }
            _ => value.to_string(),
        });
    }
    let (result, store) = match &kinds[..1] {
        "p" => (
            "%p1",
            "selp.b32 %r1, 1, 0, %p1;\nst.global.b32 [%rd0], %r1;",
        ),
        "h" => ("%h1", "st.global.b16 [%rd0], %h1;"),
        "r" => ("%r1", "st.global.b32 [%rd0], %r1;"),
        _ => ("%rd10", "st.global.b64 [%rd0], %rd10;"),
    };
    body += &format!("{instruction} {result}, {};\n{store}", names.join(", "));
    let words = run(&body, 1, &[0, 0]);
    u64::from(words[1]) << 32 | u64::from(words[0])
}

pub fn bits(value: f32) -> u64 {
    value.to_bits().into()
}

pub fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

pub fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}
