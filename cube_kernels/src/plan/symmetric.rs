//! Sums over pairs of points with themselves, of which each is evaluated once.

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

/// Parts of a sum: two at least, as it is merging that turns the sums into results.
fn parts(units: usize) -> usize {
    units.max(2)
}

/// Why the sum of a problem cannot be taken with each pair evaluated once.
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

/// The schedule of a sum with each pair evaluated once, where the device is a CPU and this pays; the specification
/// of the problem is that of the result.
pub fn schedule(device: &Device, symmetric: &Symmetric, problem: &Problem) -> Option<Strips> {
    // What it takes to get and keep the sum of a column, in instructions.
    let kept = match problem.spec.dim {
        ..=UNROLL => 1,
        _ => tuning::KEPT_SUM,
    };

    device.cores?;
    possible(device, symmetric, problem).ok()?;
    let (spec, n) = (problem.spec, problem.sizes.rows);
    let both = problem.program;
    let once = both.pair_work() + kept * spec.dim;
    // Half of the pairs, with a margin for what is done once a tile.
    if 10 * once > 17 * symmetric.single_work {
        return None;
    }
    let computed = problem.precision.computed();
    let size = computed.size();
    // Its sums are those of rows and of columns.
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
    // What is staged of columns takes no more than their sums.
    let staged = super::Schedule::Symmetric(schedule).staged(both);
    let values = (lanes * spec.dim).max(staged);
    let most = tuning::BLOCK.min(tuning::SYMMETRIC_COLUMNS / (values * size));
    let multiple = |of: usize| most / of * of;
    let block = match multiple(lcm(columns, lanes)) {
        0 => multiple(columns).max(columns),
        block => block,
    };
    // Of a row its slots, and its sums, of which two parts are in F64.
    let row = (both.row.slots + spec.dim) * size + 2 * spec.dim * Precision::F64.size();
    let whole = lcm(block, lanes);
    let strip = (tuning::STRIP.min(tuning::SYMMETRIC_ROWS / row) / whole * whole).max(whole);
    (strip * row <= tuning::SYMMETRIC_MOST).then_some(Strips {
        block,
        rows: strip,
        ..schedule
    })
}

/// The launch of strips of `rows` rows.
pub fn plan(blueprint: Blueprint, problem: &Problem, rows: usize) -> Plan {
    let (block, n) = (blueprint.schedule.block(), problem.sizes.rows);
    let units = blueprint.units;
    let parts = parts(units);
    // On the diagonal a tile is half empty.
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
