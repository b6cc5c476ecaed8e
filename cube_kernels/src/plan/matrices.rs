//! Which inner products and sums matrix instructions compute.

use crate::{
    math::Precision,
    program::{Factor, LOADED_COLUMNS, Program, Space},
    reduction::{Accumulation, ReductionKind},
};

use super::{
    Device, LeftOut, Matrices, MatrixProduct, Problem, Schedule, WeightedProduct, tuning, units,
    wide_loads,
};

/// The schedule in which matrix instructions compute a part of the formula on the device, if there is one that is
/// worth it.
pub fn choose(device: &Device, problem: &Problem) -> Option<Matrices> {
    // Few rows would leave most of a tile unused.
    if 2 * problem.sizes.out_rows() < rows(device) {
        return None;
    }
    let product = product(device, problem);
    let product = product.filter(|own| own.product.len >= tuning::MATRIX_LEAST);
    let weighted = |product: Option<MatrixProduct>| {
        let own = weighted(device, problem, product)?;
        (own.sum.len >= tuning::WEIGHTED_LEAST).then_some(own)
    };
    let choices = [
        (product, weighted(product)),
        (product, None),
        (None, weighted(None)),
    ];
    let used = |choice: &(Option<_>, Option<_>)| choice.0.is_some() || choice.1.is_some();
    let registers = Matrices::REGISTERS;
    let size = problem.precision.computed().size();
    let mut fitting = choices.into_iter().filter(used).filter_map(|choice| {
        let own = Matrices {
            block: LOADED_COLUMNS,
            wide_loads: wide_loads(device, registers, size),
            product: choice.0,
            weighted: choice.1,
            left_out: left_out(problem.program, choice.0, choice.1),
        };
        let block = block(device, problem, &own)?;
        Some(Matrices { block, ..own })
    });
    fitting.next()
}

/// Rows of a cube.
fn rows(device: &Device) -> usize {
    units(device) * Matrices::REGISTERS.lanes
}

/// Units that execute an instruction together. An emulated one needs no plane.
fn plane(device: &Device) -> usize {
    match device.matrices.emulated {
        true => 1,
        false => device.plane,
    }
}

/// Whether matrix instructions can be used at all.
fn possible(device: &Device, problem: &Problem) -> bool {
    problem.program.column.slots > 0
        // The iterations of kernels with matrix instructions are not counted.
        && device.max_iterations.is_none()
        && units(device).is_multiple_of(plane(device))
}

/// The inner product of the formula that matrix instructions can compute.
pub fn product(device: &Device, problem: &Problem) -> Option<MatrixProduct> {
    if !possible(device, problem) {
        return None;
    }
    let stored = problem.precision;
    let (shape, rows) = (device.matrices.shape(stored)?, rows(device));
    let product = problem.program.inner_product()?;
    let fits = rows.is_multiple_of(shape[1])
        && (stored != Precision::F32 || product.len <= MATRIX_MOST)
        // Operands of 16 bits are multiplied as they are, without a scale.
        && (stored == Precision::F32 || product.scale.is_none());
    fits.then_some(MatrixProduct {
        product,
        shape,
        plane: plane(device),
        emulated: device.matrices.emulated,
        rows,
        stored,
    })
}

/// The most components of an inner product in `F32`. Matrix instructions may cut off the last bit of each sum, and
/// with this many components the errors add up to a relative error below 1e-5.
const MATRIX_MOST: usize = 256;

/// The sums over columns that matrix instructions can compute exactly enough, beside the inner product.
pub fn weighted(
    device: &Device,
    problem: &Problem,
    product: Option<MatrixProduct>,
) -> Option<WeightedProduct> {
    if !possible(device, problem) {
        return None;
    }
    let kind = problem.spec.kind;
    let sum = problem.program.weighted_sum(kind.weights()?)?;
    // A sum of differences is computed as the difference of two sums. It is exact enough for pairs whose
    // differences are about as large as their components. The squared distance of the same components tells which
    // pairs these are.
    let near = |matrix: &MatrixProduct| {
        let product = &matrix.product;
        product.distance
            && product.len == sum.len
            && Some(product.row) == sum.row
            && product.column == sum.column
            && product.scale.is_none_or(|scale| !scale.looped)
    };
    let exact = sum.row.is_none() || product.as_ref().is_some_and(near);
    let plain = kind != ReductionKind::Sum(Accumulation::Kahan) && problem.sizes.fold.is_none();
    if !exact || !plain || problem.precision == Precision::F64 {
        return None;
    }
    let rows = rows(device);
    // Factors have 32 bits whatever the type of operands, because weights may overflow 16 bits.
    let shape = device.matrices.tf32?;
    rows.is_multiple_of(shape[1]).then_some(WeightedProduct {
        sum,
        shape,
        plane: plane(device),
        emulated: device.matrices.emulated,
        rows,
        stored: problem.precision,
        in_place: product.is_some(),
        centered: sum.row.is_some() && product.is_some_and(|own| own.centered()),
    })
}

/// The components that only matrix instructions read.
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

/// The columns of a block: the most that leave half of the shared memory to another cube, otherwise the most that
/// fit.
fn block(device: &Device, problem: &Problem, own: &Matrices) -> Option<usize> {
    let limits = [device.shared_memory / 2, device.shared_memory];
    let blocks = tuning::MATRIX_BLOCKS;
    let all = limits
        .into_iter()
        .flat_map(|limit| blocks.map(|block| (limit, block)));
    let mut fitting =
        all.filter(|(limit, block)| own.is_whole(*block) && own.bytes(problem, *block) <= *limit);
    fitting.next().map(|(_, block)| block)
}

impl Matrices {
    /// Whether a block of `block` columns is a whole number of instructions and of loads.
    pub(super) fn is_whole(&self, block: usize) -> bool {
        let product = self.product.map_or(1, |own| own.shape[0]);
        let weighted = self.weighted.map_or(1, |own| own.shape[2]);
        block.is_multiple_of(product.max(LOADED_COLUMNS)) && block.is_multiple_of(weighted)
    }

    /// Shared memory for blocks of `block` columns, in bytes.
    pub(super) fn bytes(&self, problem: &Problem, block: usize) -> usize {
        let staged = Schedule::Matrices(Box::new(self.clone())).staged(problem.program);
        let tile = (staged * block).max(1);
        self.product.map_or(0, |own| own.bytes(block))
            + self.weighted.map_or(0, |own| own.bytes(block))
            + tile * problem.precision.computed().size()
    }
}
