//! Sums over pairs of points with themselves, of which each is evaluated once.

use crate::{
    math::Precision,
    program::{Symmetric, UNROLL},
    reduction::{Accumulation, ReductionKind, Spec},
};

use super::{
    BLOCK, Plan, Sizes, blueprint,
    blueprint::{Blueprint, Packing},
    device::Device,
    matrices::lcm,
    registers::cpu_registers,
};

/// The most rows of a strip; the error of the sum of a column grows with it.
pub const STRIP: usize = 1024;

/// Most values of the sums of all units.
pub const SYMMETRIC_SUMS: usize = 1 << 25;

/// Plans a sum with each pair evaluated once, where the device is a CPU and this pays;
/// `spec` is that of the result.
pub fn symmetric(
    device: &Device,
    symmetric: &Symmetric,
    spec: Spec,
    sizes: Sizes,
    precision: Precision,
    batch_rank: usize,
    packing: Vec<Packing>,
) -> Option<Plan> {
    /// Bytes of the sums of a block of columns, ...
    const COLUMNS: usize = 32 * 1024;
    /// ... and of what is kept of a strip of rows, which is read in order, from the second-level cache.
    const ROWS: usize = 192 * 1024;
    /// Bytes beyond which not even a short strip of rows fits there.
    const MOST: usize = 1024 * 1024;
    // What it takes to get and keep the sum of a column, in instructions; measured.
    let kept = match spec.dim {
        ..=UNROLL => 1,
        _ => 3,
    };

    device.cores?;
    let own = blueprint(device, spec, precision, batch_rank, packing);
    let units = own.units;
    // Two parts at least, as it is merging that turns the sums into results.
    let parts = units.max(2);
    let n = sizes.rows;
    let possible = matches!(
        spec.kind,
        ReductionKind::Sum(Accumulation::Blocks | Accumulation::Double)
    ) && sizes.fold.is_none()
        && sizes.batches == 1
        && sizes.columns == n
        && device.max_iterations.is_none()
        && n >= symmetric.least
        && parts * n * spec.dim <= SYMMETRIC_SUMS;
    let both = &symmetric.program;
    let once = both.pair_work() + kept * spec.dim;
    // Half of the pairs, with a margin for what is done once a tile.
    if !possible || 10 * once > 17 * symmetric.single_work {
        return None;
    }
    let size = precision.computed().size();
    // Its sums are those of rows and of columns.
    let sums = Spec {
        dim: both.dim,
        ..spec
    };
    let (lanes, columns) = cpu_registers(device, both, sums, n, size);
    let mut blueprint = Blueprint {
        columns,
        partial: true,
        ..own
    };
    // What is staged of columns takes no more than their sums.
    let values = (lanes * spec.dim).max(blueprint.staged(both));
    let most = BLOCK.min(COLUMNS / (values * size));
    let multiple = |of: usize| most / of * of;
    blueprint.block = match multiple(lcm(columns, lanes)) {
        0 => multiple(columns).max(columns),
        block => block,
    };
    // Of a row its slots, and its sums, of which two parts are in F64.
    let row = (both.row.slots + spec.dim) * size + 2 * spec.dim * Precision::F64.size();
    let whole = lcm(blueprint.block, lanes);
    let strip = (STRIP.min(ROWS / row) / whole * whole).max(whole);
    if strip * row > MOST {
        return None;
    }
    blueprint.strip = Some(strip);

    // On the diagonal a tile is half empty.
    let (block, starts) = (blueprint.block, (0..n).step_by(strip));
    let tiles = starts.map(|first| {
        let blocks = (n - first).div_ceil(block);
        2 * blocks - blocks.min(strip / block)
    });
    Some(Plan {
        blueprint,
        lanes,
        cubes: [parts.div_ceil(units) as u32, 1, 1],
        parts,
        together: parts,
        part_columns: tiles.sum::<usize>().div_ceil(parts),
        part_steps: 1,
    })
}
