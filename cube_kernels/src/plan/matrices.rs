//! Which inner products and sums matrix instructions compute.

use crate::{
    math::Precision,
    program::{Factor, InnerProduct, LOADED_COLUMNS, Program, Space, WeightedSum},
    reduction::{Accumulation, ReductionKind},
};

use super::{
    Sizes,
    blueprint::{Blueprint, LeftOut, MatrixProduct, WeightedProduct},
    device::Device,
};

/// The least common multiple.
pub fn lcm(a: usize, b: usize) -> usize {
    let (mut gcd, mut rest) = (a, b);
    while rest > 0 {
        (gcd, rest) = (rest, gcd % rest);
    }
    a / gcd * b
}

/// The fewest components of an inner product for which matrix instructions are worth their tiles.
pub const MATRIX_LEAST: usize = 16;

/// The most components of an inner product in `F32`: matrix instructions may cut off the last bit of each
/// sum, and so many add up to a relative error below 1e-5.
pub const MATRIX_MOST: usize = 256;

/// Rows of a unit whose inner products come from a tile.
pub const MATRIX_LANES: usize = 1;

/// The fewest components of which matrix instructions sum up products with weights: fewer sums fit in the
/// registers of a unit.
pub const WEIGHTED_LEAST: usize = 32;

/// The blueprint with what matrix instructions can compute of the formula on the device, if they can.
pub fn by_matrices(
    device: &Device,
    program: &Program,
    blueprint: &Blueprint,
    sizes: Sizes,
    units: usize,
) -> Option<Blueprint> {
    // An emulated instruction needs no plane.
    let plane = if device.matrices.emulated {
        1
    } else {
        device.plane
    };
    let rows = units * MATRIX_LANES;
    let possible = blueprint.shared_tile
        && device.max_iterations.is_none()
        && units.is_multiple_of(plane)
        // Few rows would leave most of a tile unused.
        && 2 * sizes.out_rows() >= rows;
    if !possible {
        return None;
    }
    let whole = |shape: &[usize; 3]| rows.is_multiple_of(shape[1]);
    let inner = inner_product(device, program, blueprint.stored);
    let inner = inner.filter(|(_, shape)| whole(shape));
    let matrix = inner.map(|(product, shape)| MatrixProduct {
        product,
        shape,
        plane,
        emulated: device.matrices.emulated,
        rows,
        stored: blueprint.stored,
    });
    // Factors have 32 bits whatever the operands have, as weights may overflow halves.
    let shape = device.matrices.tf32.filter(whole);
    let weighted = |matrix: Option<MatrixProduct>| {
        let sum = weighted_sum(program, blueprint, matrix)?;
        Some(WeightedProduct {
            sum,
            shape: shape?,
            plane,
            emulated: device.matrices.emulated,
            rows,
            stored: blueprint.stored,
            in_place: matrix.is_some(),
            centered: sum.row.is_some() && matrix.is_some_and(|matrix| matrix.centered()),
        })
    };
    let choices = [
        (matrix, weighted(matrix)),
        (matrix, None),
        (None, weighted(None)),
    ];
    let used = |choice: &(Option<_>, Option<_>)| choice.0.is_some() || choice.1.is_some();
    let mut fitting = choices.into_iter().filter(used).filter_map(|choice| {
        let own = Blueprint {
            matrix: choice.0,
            weighted: choice.1,
            scaled: false,
            left_out: left_out(program, choice.0, choice.1),
            columns: LOADED_COLUMNS,
            ..blueprint.clone()
        };
        let block = matrix_block(device, program, &own)?;
        Some(Blueprint { block, ..own })
    });
    fitting.next()
}

/// The inner product of the formula for which matrix instructions are worth it, and their shape.
pub fn inner_product(
    device: &Device,
    program: &Program,
    stored: Precision,
) -> Option<(InnerProduct, [usize; 3])> {
    let shape = device.matrices.shape(stored)?;
    let product = program.inner_product()?;
    let fits = product.len >= MATRIX_LEAST
        && (stored != Precision::F32 || product.len <= MATRIX_MOST)
        // Halves are multiplied as they are.
        && (stored == Precision::F32 || product.scale.is_none());
    fits.then_some((product, shape))
}

/// The sums of the formula for which matrix instructions are worth it and exact enough, beside those of
/// `matrix`.
pub fn weighted_sum(
    program: &Program,
    blueprint: &Blueprint,
    matrix: Option<MatrixProduct>,
) -> Option<WeightedSum> {
    let kind = blueprint.spec.kind;
    let sum = program.weighted_sum(kind.weights()?)?;
    // As the difference of two sums, that of differences is exact enough where all of these are about as
    // large as the components: where the squared distance is.
    let near = |matrix: &MatrixProduct| {
        let product = &matrix.product;
        product.distance
            && product.len == sum.len
            && Some(product.row) == sum.row
            && product.column == sum.column
            && product.scale.is_none_or(|scale| !scale.looped)
    };
    let exact = sum.row.is_none() || matrix.as_ref().is_some_and(near);
    let plain = kind != ReductionKind::Sum(Accumulation::Kahan) && !blueprint.folded;
    let fits = sum.len >= WEIGHTED_LEAST && blueprint.stored != Precision::F64;
    (exact && plain && fits).then_some(sum)
}

/// What only matrix instructions read.
pub fn left_out(
    program: &Program,
    matrix: Option<MatrixProduct>,
    weighted: Option<WeightedProduct>,
) -> Vec<LeftOut> {
    let product = matrix.map(|matrix| matrix.product);
    let sum = weighted.map(|weighted| weighted.sum);
    let items: Vec<usize> = [product.map(|own| own.item), sum.map(|own| own.item)]
        .into_iter()
        .flatten()
        .collect();
    let mut factors: Vec<(Space, Factor, usize)> = Vec::new();
    if let Some(own) = product {
        factors.push((Space::Row, own.row, own.len));
        factors.push((Space::Column, own.column, own.len));
    }
    if let Some(own) = sum {
        factors.extend(own.row.map(|row| (Space::Row, row, own.len)));
        factors.push((Space::Column, own.column, own.len));
    }
    let mut all: Vec<LeftOut> = Vec::new();
    for (space, factor, len) in factors {
        let out = LeftOut {
            space,
            slot: factor.slot,
            len,
        };
        if !all.contains(&out) && program.only_for(&items, space, factor, len) {
            all.push(out);
        }
    }
    all
}

/// The columns of a block: as many as leave half of the shared memory to another cube, or any.
pub fn matrix_block(device: &Device, program: &Program, own: &Blueprint) -> Option<usize> {
    let bytes = |block: usize| {
        let tile = (own.staged(program) * block).max(1);
        own.matrix.map_or(0, |matrix| matrix.bytes(block))
            + own.weighted.map_or(0, |weighted| weighted.bytes(block))
            + tile * own.stored.computed().size()
    };
    let matrix = own.matrix.map_or(1, |matrix| matrix.shape[0]);
    let weighted = own.weighted.map_or(1, |weighted| weighted.shape[2]);
    let whole = |block: &usize| {
        block.is_multiple_of(matrix.max(LOADED_COLUMNS)) && block.is_multiple_of(weighted)
    };
    let limits = [device.shared_memory / 2, device.shared_memory];
    let blocks = [64usize, 32, 16];
    let all = limits
        .into_iter()
        .flat_map(|limit| blocks.map(|block| (limit, block)));
    let mut fitting = all.filter(|(limit, block)| whole(block) && bytes(*block) <= *limit);
    fitting.next().map(|(_, block)| block)
}
