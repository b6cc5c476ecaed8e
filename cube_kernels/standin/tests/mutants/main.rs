//! Puts faults into a kernel of this project and tests that the machine or the result shows them. A check that cannot
//! fail proves nothing.
//!
//! `gaussian.ptx` is the text that the CUDA runtime gave its driver for a sum of Gaussians over 3 components. It has a
//! tile of 128 columns in shared memory, and two forms of the formula: one for points near 0, one for all others.

#![allow(missing_docs)]

use burn_lazy_standin::machine::{Launch, Machine, Memory, Order};
use burn_lazy_standin::translate::compile;

const TEXT: &str = include_str!("gaussian.ptx");
/// More rows than a cube has, and no multiple of a tile.
const ROWS: usize = 300;
const COLUMNS: usize = 301;

/// A random number, uniform between -1 and 1.
fn random(seed: &mut u64) -> f32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    ((*seed >> 40) as f32) / (1u64 << 23) as f32 - 1.0
}

struct Data {
    rows: Vec<f32>,
    columns: Vec<f32>,
    weights: Vec<f32>,
}

impl Data {
    /// Random points in a cube whose centre is moved from 0 by `moved` in each coordinate.
    fn new(moved: f32) -> Self {
        let mut seed = 7;
        let mut values = |count: usize, moved: f32| -> Vec<f32> {
            (0..count).map(|_| random(&mut seed) + moved).collect()
        };
        Self {
            rows: values(3 * ROWS, moved),
            columns: values(3 * COLUMNS, moved),
            weights: values(COLUMNS, 0.0),
        }
    }

    /// The sum of each row, and the sum of the sizes of its terms.
    fn reference(&self) -> Vec<(f64, f64)> {
        let sum = |row: &[f32]| {
            let columns = self.columns.chunks(3).zip(&self.weights);
            columns.fold((0.0, 0.0), |(sum, size), (column, weight)| {
                let distance = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
                let squared: f64 = row.iter().zip(column).map(distance).sum();
                let term = (-squared).exp() * f64::from(*weight);
                (sum + term, size + term.abs())
            })
        };
        self.rows.chunks(3).map(sum).collect()
    }
}

/// Runs a kernel. Returns its largest error relative to the sum of the sizes of the terms, or the error of the machine.
fn run(text: &str, data: &Data, order: Order) -> Result<f64, String> {
    let code = compile(text).map_err(|error| error.to_string())?;
    let mut memory = Memory::default();
    let mut upload = |values: &[f32]| {
        let address = memory.allocate(size_of_val(values)).unwrap();
        // SAFETY: an allocation of this size.
        unsafe { (address as *mut f32).copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        address as u64
    };
    let output = upload(&[f32::NAN; ROWS]);
    let buffers = [
        upload(&data.rows),
        upload(&data.columns),
        upload(&data.weights),
        output,
    ];
    let (rows, columns) = (ROWS as u32, COLUMNS as u32);
    let tiles = columns.next_multiple_of(128);
    let infinity = f32::INFINITY.to_bits();
    let numbers = [
        rows,
        columns,
        tiles,
        1,
        1,
        rows,
        1,
        3,
        1,
        3,
        1,
        1,
        1,
        0,
        infinity,
        0,
        3 * rows,
        3 * columns,
        columns,
        rows,
    ];
    let mut arguments: Vec<u8> = buffers.iter().flat_map(|b| b.to_le_bytes()).collect();
    arguments.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    let launch = Launch {
        kernel: &code.kernels[0],
        cubes: [2, 1, 1],
        units: [128, 1, 1],
        dynamic_bytes: 2064,
        arguments: &arguments,
        order,
    };
    Machine::default().run(&launch, &memory, &code.globals)?;
    // SAFETY: an allocation of this many values.
    let got = unsafe { std::slice::from_raw_parts(output as *const f32, ROWS) };
    let errors = got.iter().zip(data.reference()).map(|(got, (want, size))| {
        let error = (f64::from(*got) - want).abs() / size;
        if error.is_nan() { f64::INFINITY } else { error }
    });
    Ok(errors.fold(0.0, f64::max))
}

/// Points near 0, points far from 0, and points near 0 except for one column, which only one unit loads.
fn all() -> [Data; 3] {
    let mut one = Data::new(0.0);
    one.columns[3 * 200] = 50.0;
    [Data::new(0.0), Data::new(200.0), one]
}

/// Whether a changed text gives the right result on all sets of data.
fn survives(text: &str, data: &[Data]) -> bool {
    data.iter()
        .all(|data| run(text, data, Order::Forward).is_ok_and(|error| error < 1e-6))
}

/// All texts in which `change` changes one line, each with that line.
fn mutants(change: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let lines: Vec<&str> = TEXT.lines().collect();
    let mutant = |(k, line): (usize, &&str)| {
        let changed = change(line)?;
        let text = [&lines[..k], &[&changed], &lines[k + 1..]].concat();
        Some((text.join("\n"), format!("{}: {line}", k + 1)))
    };
    lines.iter().enumerate().filter_map(mutant).collect()
}

#[track_caller]
fn none_survives(mutants: &[(String, String)], least: usize) {
    assert!(mutants.len() >= least, "only {} mutants", mutants.len());
    let data = all();
    let alive = mutants.iter().filter(|(text, _)| survives(text, &data));
    let alive: Vec<&str> = alive.map(|(_, line)| line.as_str()).collect();
    assert!(alive.is_empty(), "{}", alive.join("\n"));
}

#[test]
fn the_kernel_is_right_in_each_order() {
    for data in all() {
        for order in [
            Order::Forward,
            Order::Backward,
            Order::Alternating,
            Order::Random(1),
        ] {
            let error = run(TEXT, &data, order).unwrap();
            assert!(error < 3e-7, "{error:e} in {order:?}");
        }
    }
}

#[test]
fn no_barrier_may_be_missing() {
    let delete = |line: &str| line.contains("bar.sync").then(String::new);
    none_survives(&mutants(delete), 6);
}

#[test]
fn no_unit_may_pass_a_barrier_by() {
    let skip = |line: &str| {
        let barrier = line.contains("bar.sync");
        barrier.then(|| format!("{{ .reg .pred q; setp.ne.b32 q, %r1, 77; @q {line} }}"))
    };
    none_survives(&mutants(skip), 6);
}

#[test]
fn no_index_may_be_shifted() {
    let shift = |line: &str| {
        // The reset of the flag for far points is left out: without it the form for far points serves all points.
        let set_back = line.ends_with("[cube_shared+2048], 0;");
        let of_tile = line.contains("ld.shared.v4") || line.contains("st.shared") && !set_back;
        let (before, after) = line.split_once("+").filter(|_| of_tile)?;
        let (offset, after) = after.split_once(']')?;
        let offset: i64 = offset.parse().ok()?;
        Some(format!("{before}+{}]{after}", offset + 4))
    };
    none_survives(&mutants(shift), 8);
    let scale = |line: &str| {
        // An index that is always 0 is left out, because its scale makes no difference.
        let zero = line.contains("%r437");
        let of_address = line.contains("mul.wide.u32") && line.ends_with(", 4;") && !zero;
        of_address.then(|| line.replace(", 4;", ", 8;"))
    };
    let mutants = mutants(scale);
    none_survives(&mutants, 8);
}

#[test]
fn no_instruction_may_be_another() {
    for (from, to, least) in [
        ("\tsub.f32", "\tadd.f32", 20),
        ("\tmul.rn.f32", "\tadd.rn.f32", 8),
        ("ex2.approx.ftz", "lg2.approx.ftz", 8),
        ("\tneg.f32", "\tabs.f32", 8),
        ("ld.shared.v4.b32", "ld.global.v4.b32", 4),
    ] {
        let swap = |line: &str| line.contains(from).then(|| line.replace(from, to));
        none_survives(&mutants(swap), least);
    }
}
