//! Plans of sums over the pairs of a set of points with itself, each pair evaluated once.

use crate::{
    math::Precision,
    program::{Symmetric, UNROLL},
    reduction::{Accumulation, ReductionKind, Spec},
};

use super::{Blueprint, Device, Plan, Problem, Registers, Split, Strips, registers, tuning, units};

/// The least common multiple.
pub fn lcm(a: usize, b: usize) -> usize {
    let (mut gcd, mut rest) = (a, b);
    while rest > 0 {
        (gcd, rest) = (rest, gcd % rest);
    }
    a / gcd * b
}

/// Number of parts of a sum. There are at least two, because it is the merge that turns the sums into results.
fn parts(units: usize) -> usize {
    units.max(2)
}

/// Checks that the sum of a problem can be computed with each pair evaluated once. The error says why it cannot.
pub fn possible(device: &Device, symmetric: &Symmetric, problem: &Problem) -> Result<(), String> {
    let (spec, sizes) = (problem.spec, problem.sizes);
    let plain = matches!(
        spec.kind,
        ReductionKind::Sum(Accumulation::Blocks | Accumulation::Double)
    );
    let n = sizes.rows;
    let values = parts(units(device)) * n * spec.dim;
    if !plain || sizes.fold.is_some() || sizes.batches != 1 || sizes.columns != n {
        return Err("only plain sums of the pairs of points with themselves are symmetric".into());
    }
    if problem.ranges.is_some() {
        return Err("pairs in ranges are taken row by row".into());
    }
    if device.max_iterations.is_some() {
        return Err("its iterations are not counted, and the device has a limit of them".into());
    }
    if n < symmetric.least {
        return Err(format!(
            "there are {n} points, less than {}",
            symmetric.least
        ));
    }
    if values > tuning::SYMMETRIC_SUMS {
        return Err(format!("sums of {values} values take too much memory"));
    }
    Ok(())
}

/// The schedule of a sum with each pair evaluated once. `None` if the device is not a CPU, or if this does not pay.
/// The specification of the problem is that of the result.
pub fn schedule(device: &Device, symmetric: &Symmetric, problem: &Problem) -> Option<Strips> {
    // Instructions to load and store the sum of a column, for each component.
    let kept = match problem.spec.dim {
        ..=UNROLL => 1,
        _ => tuning::KEPT_SUM,
    };

    device.cores?;
    possible(device, symmetric, problem).ok()?;
    let (spec, n) = (problem.spec, problem.sizes.rows);
    let both = problem.program;
    let once = both.pair_work() + kept * spec.dim;
    // There are half as many pairs, so each may take nearly twice as long. The margin is for the work once a tile.
    if 10 * once > 17 * symmetric.single_work {
        return None;
    }
    let computed = problem.precision.computed();
    let size = computed.size();
    // The program has the components of the sums of rows and of the sums of columns.
    let sums = Spec {
        dim: both.dim,
        ..spec
    };
    let registers = registers::cpu(device, both, sums, n, size);
    let Registers { lanes, columns } = registers;
    let schedule = Strips {
        registers,
        block: columns,
        in_place: problem.precision == computed,
        rows: lanes,
    };
    // The number of columns is bounded by their sums or by their staged values, whichever take more memory.
    let staged = super::Schedule::Symmetric(schedule).staged(both);
    let values = (lanes * spec.dim).max(staged);
    let most = tuning::BLOCK.min(tuning::SYMMETRIC_COLUMNS / (values * size));
    let multiple = |of: usize| most / of * of;
    let block = match multiple(lcm(columns, lanes)) {
        0 => multiple(columns).max(columns),
        block => block,
    };
    // Bytes for a row: its slots and its sums. Each sum has three numbers, two of them in F64.
    let row = (both.row.slots + spec.dim) * size + 2 * spec.dim * Precision::F64.size();
    let whole = lcm(block, lanes);
    let strip = (tuning::STRIP.min(tuning::SYMMETRIC_ROWS / row) / whole * whole).max(whole);
    (strip * row <= tuning::SYMMETRIC_MOST).then_some(Strips {
        block,
        rows: strip,
        ..schedule
    })
}

/// The plan of a symmetric sum with strips of `rows` rows.
pub fn plan(blueprint: Blueprint, problem: &Problem, rows: usize) -> Plan {
    let (block, n) = (blueprint.schedule.block(), problem.sizes.rows);
    let units = blueprint.units;
    let parts = parts(units);
    // A tile on the diagonal is half empty and counts as one, another tile as two.
    let tiles = (0..n).step_by(rows).map(|first| {
        let blocks = (n - first).div_ceil(block);
        2 * blocks - blocks.min(rows / block)
    });
    Plan {
        blueprint: Blueprint {
            partial: true,
            ..blueprint
        },
        cubes: [parts.div_ceil(units) as u32, 1, 1],
        parts,
        together: parts,
        split: Split {
            columns: tiles.sum::<usize>().div_ceil(parts),
            steps: 1,
        },
        workers: parts,
        tasks: None,
    }
}
