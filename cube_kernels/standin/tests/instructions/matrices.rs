use crate::support::{bits, error, run};

/// The matrix product of a plane, `d = a b + c`. `a` and `b` are read from the start of the buffer.
fn product(shape: &str, of: &str, layouts: [&str; 2], words: u32, buffer: &[u32]) -> Vec<f32> {
    let list = |letter: &str, count: u32| {
        let names: Vec<String> = (0..count).map(|k| format!("%{letter}{k}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let (a, b, c) = (list("a", words), list("b", words), list("c", 8));
    let [rows, columns] = layouts;
    let (k, size) = match shape {
        "m16n16k8" => (8, 4),
        _ => (16, 2),
    };
    // A row of a row-major first factor, and a column of a column-major second factor, has k values.
    let stride = |rows: bool| if rows { k } else { 16 };
    let (lda, ldb) = (stride(rows == "row"), stride(columns == "col"));
    let bytes = 16 * k * size;
    let types = match of {
        "f16" => "f32.f32".to_string(),
        _ => format!("f32.{of}.{of}.f32"),
    };
    let zeros: String = (0..8)
        .map(|k| format!("mov.b32 %c{k}, 0f3F800000;\n"))
        .collect();
    let body = format!(
        ".reg .b32 %a<9>;\n.reg .b32 %b<9>;\n.reg .f32 %c<9>;\n{zeros}\
         wmma.load.a.sync.aligned.{rows}.{shape}.global.{of} {a}, [%rd0], {lda};\n\
         wmma.load.b.sync.aligned.{columns}.{shape}.global.{of} {b}, [%rd0+{bytes}], {ldb};\n\
         wmma.mma.sync.aligned.{rows}.{columns}.{shape}.{types} {c}, {a}, {b}, {c};\n\
         wmma.store.d.sync.aligned.row.{shape}.global.f32 [%rd0+{}], {c}, 16;",
        2 * bytes
    );
    let result = run(&body, 32, buffer);
    let from = (2 * bytes / 4) as usize;
    result[from..from + 256]
        .iter()
        .map(|word| f32::from_bits(*word))
        .collect()
}

fn value(which: usize, row: usize, column: usize) -> f32 {
    ((row * 3 + column * 5 + which) % 7) as f32 - 2.0
}

/// The index of a value in a matrix of `m` rows and `n` columns that is stored by rows or by columns.
fn place(rows: bool, (m, n): (usize, usize), row: usize, column: usize) -> usize {
    if rows {
        row * n + column
    } else {
        column * m + row
    }
}

#[test]
fn products_of_all_types() {
    for (shape, of, words) in [
        ("m16n16k16", "f16", 8),
        ("m16n16k16", "bf16", 4),
        ("m16n16k8", "tf32", 4),
    ] {
        for layouts in [["row", "col"], ["col", "row"], ["row", "row"]] {
            let k = if of == "tf32" { 8 } else { 16 };
            let mut halves = vec![0u16; 32 * k];
            let mut singles = vec![0u32; 32 * k];
            for i in 0..16 {
                for l in 0..k {
                    let a = place(layouts[0] == "row", (16, k), i, l);
                    let b = 16 * k + place(layouts[1] == "row", (k, 16), l, i);
                    for (at, value) in [(a, value(0, i, l)), (b, value(1, l, i))] {
                        halves[at] = match of {
                            "f16" => half::f16::from_f32(value).to_bits(),
                            _ => half::bf16::from_f32(value).to_bits(),
                        };
                        // The lower bits are set, because the instruction ignores them.
                        singles[at] = value.to_bits() | 0x1fff;
                    }
                }
            }
            let mut buffer: Vec<u32> = match of {
                "tf32" => singles,
                _ => halves
                    .chunks(2)
                    .map(|pair| u32::from(pair[1]) << 16 | u32::from(pair[0]))
                    .collect(),
            };
            buffer.resize(buffer.len() + 256, 0);
            let got = product(shape, of, layouts, words, &buffer);
            for i in 0..16 {
                for j in 0..16 {
                    let term = |l| value(0, i, l) * value(1, l, j);
                    let want = 1.0 + (0..k).map(term).sum::<f32>();
                    assert_eq!(got[i * 16 + j], want, "{shape} {of} {layouts:?} {i} {j}");
                }
            }
        }
    }
}

#[test]
fn matrices_are_aligned_and_within_bounds() {
    let load = |offset: u32, stride: u32| {
        format!(
            "wmma.load.c.sync.aligned.row.m16n16k16.global.f32 {{%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}}, \
             [%rd0+{offset}], {stride};"
        )
    };
    let words = vec![bits(1.0) as u32; 256];
    run(&load(0, 16), 32, &words);
    for (offset, stride, want) in [
        (4, 16, "not aligned"),
        (0, 17, "not aligned"),
        (32, 16, "out of bounds"),
        (0, 20, "out of bounds"),
    ] {
        let message = error(&load(offset, stride), 32, &words);
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn all_lanes_multiply() {
    let list = "{%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}";
    let body =
        format!("wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {list}, {list}, {list}, {list};");
    let message = error(&body, 16, &[0]);
    assert!(message.contains("not all lanes"), "{message}");
}
