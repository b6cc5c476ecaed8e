//! Inner products of rows and columns as tiles of a matrix product.
//!
//! The units of a cube copy the factors of their rows to shared memory once, and the factors of each block of
//! columns before its pairs. Each plane multiplies the columns with its own rows by matrix instructions and writes
//! the products to a tile. The units read the products of their pairs from this tile. The rest of the formula and
//! the reduction are computed as without matrix instructions.
//!
//! Operands of 16 bits are multiplied as they are: products are exact, and added up in 32 bits. A number $x$ of 32
//! bits is split into two of 11 significant bits, $x = h + l + r$ with $|l| \le 2^{-11} |x|$ and
//! $|r| \le 2^{-23} |x|$, and $x y$ is taken as $h_x h_y + h_x l_y + l_x h_y$, off by less than $2^{-21} |x y|$
//! (Ootomo and Yokota, "Recovering single precision accuracy from tensor cores while surpassing the FP32
//! theoretical peak performance", 2022). The pieces are of the type TF32, which has the exponents of 32 bits.
//! Pieces of 16 bits would overflow, or, with 8 significant bits, be off by $2^{-16}$.
//!
//! A squared distance is computed as $|x|^2 + |y|^2 - 2 x y$. Points in `F32` are first moved by the mean of the
//! cube's rows. If the result is below [`CANCELLED`] times $|x|^2 + |y|^2$, too many digits have cancelled, and the
//! unit computes the sum itself. It also does so if a product is not finite. Hence overflow, NaN and infinity give
//! the same results as without matrix instructions.

use cubecl::{prelude::*, tf32};

pub(super) use super::multiplier::{Emulated, Instruction, Multiplier, Side, Tiling};
use super::{context::Context, evaluate::One, operands::position};
use crate::{
    math::{Precision, constant, constant_vector, widen},
    plan::{Blueprint, MatrixProduct},
    program::Factor,
};

/// The share of $|x|^2 + |y|^2$ below which a squared distance has lost too many digits. Above it, the relative
/// error of the distance is at most about 16 times that of the products.
const CANCELLED: f64 = 1.0 / 16.0;

/// The same share if matrix instructions also sum up differences of columns and rows, as [`super::weighted`] says.
const DIFFERENCES_CANCELLED: f64 = 1.0 / 4.0;

fn cancelled(blueprint: &Blueprint) -> f64 {
    let sum = blueprint.schedule.weighted().map(|weighted| weighted.sum);
    match sum.and_then(|sum| sum.row) {
        Some(_) => DIFFERENCES_CANCELLED,
        None => CANCELLED,
    }
}

fn tiling(matrix: &MatrixProduct) -> Tiling {
    let side = Side {
        stride: matrix.stride(),
        across: false,
    };
    Tiling {
        shape: matrix.shape,
        stored: matrix.stored,
        left: side,
        right: side,
        stride: matrix.product_stride(),
    }
}

/// The factors and inner products that the units of a cube share.
#[derive(CubeType)]
pub struct Products<E: Float, F: Float> {
    /// The factors of the cube's rows: the first pieces of all rows, and behind them the second pieces.
    rows: Shared<[E]>,
    /// The factors of a block of columns, in the same order.
    columns: Shared<[E]>,
    /// The inner product of each column with each row.
    pub products: Shared<[F]>,
    /// The mean of the cube's rows, which is subtracted from each component if points are centered.
    pub center: Shared<[F]>,
    /// The squared norms of the columns.
    column_norms: Shared<[F]>,
    /// The squared norms of the rows.
    row_norms: Shared<[F]>,
    /// How many instructions add up a product, one after the other. The number is in memory, so that no compiler
    /// unrolls their loop and then lacks registers.
    steps: Shared<[u32]>,
}

#[cube]
impl<E: Float, F: Float> Products<E, F> {
    /// Shared memory for the products of `matrix`.
    pub fn new(#[comptime] matrix: MatrixProduct, #[comptime] blueprint: Blueprint) -> Self {
        let block = comptime!(blueprint.schedule.block());
        let tile = comptime!(matrix.pieces() * matrix.stride());
        let distance = comptime!(matrix.product.distance);
        let mut steps = Shared::new_slice(1usize);
        steps[0] = comptime!((matrix.padded() / matrix.shape[2]) as u32).runtime();
        Products::<E, F> {
            steps,
            rows: Shared::new_aligned_slice(
                comptime!(tile * matrix.rows),
                MatrixProduct::ALIGNMENT,
            ),
            columns: Shared::new_aligned_slice(comptime!(tile * block), MatrixProduct::ALIGNMENT),
            products: Shared::new_aligned_slice(
                comptime!(block * matrix.product_stride()),
                MatrixProduct::ALIGNMENT,
            ),
            center: Shared::new_slice(comptime!(if matrix.centered() {
                matrix.product.len
            } else {
                1
            })),
            column_norms: Shared::new_slice(comptime!(if distance { block } else { 1 })),
            row_norms: Shared::new_slice(comptime!(if distance { matrix.rows } else { 1 })),
        }
    }

    /// Copies the factors of the cube's rows, from `first` on. Rows beyond the last one repeat it.
    pub fn stage_rows(&self, context: &Context<'_, E, F>, uniform: &[One<F>], first: usize) {
        let matrix = comptime!(context.blueprint.matrix());
        let row = comptime!(matrix.product.row);
        let rows = context.rows;
        let (mut tile, mut center) = (self.rows.clone(), self.center.clone());
        // Other units may still read the factors of the rows before.
        sync_cube();
        if comptime!(matrix.centered()) {
            let len = comptime!(matrix.product.len);
            for k in range_stepped(UNIT_POS as usize, len, CUBE_DIM as usize) {
                let mut sum = constant::<F>(0.0);
                for r in 0..matrix.rows {
                    let row_of_cube = min(first + r, rows - 1);
                    sum += context.read(row_of_cube, row.offset + k, comptime!(row.tensor));
                }
                center[k] = sum * constant::<F>(comptime!(1.0 / matrix.rows as f64));
            }
            sync_cube();
        }
        let factors = Factors {
            first,
            last: rows - 1,
            factor: row,
            count: comptime!(matrix.rows),
        };
        stage::<E, F>(&mut tile, &center, context, uniform, &factors);
        if comptime!(matrix.product.distance) {
            sync_cube();
            squared_norms::<E, F>(
                &tile,
                &mut self.row_norms.clone(),
                comptime!(matrix.rows),
                matrix,
            );
        }
    }

    /// Copies the factors of the columns `start .. stop`.
    pub fn stage_columns(
        &self,
        context: &Context<'_, E, F>,
        uniform: &[One<F>],
        start: usize,
        stop: usize,
    ) {
        let matrix = comptime!(context.blueprint.matrix());
        let factors = Factors {
            first: start,
            last: stop - 1,
            factor: comptime!(matrix.product.column),
            count: comptime!(context.blueprint.schedule.block()),
        };
        let mut tile = self.columns.clone();
        stage::<E, F>(&mut tile, &self.center, context, uniform, &factors);
    }

    /// Multiplies the columns of a block with the cube's rows.
    pub fn multiply(&self, #[comptime] blueprint: Blueprint) {
        let matrix = comptime!(blueprint.matrix());
        let block = comptime!(blueprint.schedule.block());
        if comptime!(matrix.product.distance) {
            squared_norms::<E, F>(&self.columns, &mut self.column_norms.clone(), block, matrix);
        }
        if comptime!(matrix.emulated) {
            self.multiply_by::<Emulated>(block, matrix);
        } else if comptime!(matrix.stored == Precision::F32) {
            self.multiply_by::<Instruction<tf32>>(block, matrix);
        } else {
            self.multiply_by::<Instruction<E>>(block, matrix);
        }
    }

    /// Multiplies by a kind of instruction.
    fn multiply_by<X: Multiplier<E, F>>(
        &self,
        #[comptime] block: usize,
        #[comptime] matrix: MatrixProduct,
    ) {
        let mut products = self.products.clone();
        let (rows, columns) = (&self.rows, &self.columns);
        multiply::<E, F, X>(rows, columns, &mut products, &self.steps, block, matrix);
    }

    /// Writes the inner products or squared distances of the unit's rows with `q` columns of the block, from place
    /// `staged` on, to `sums`. Returns whether all of them are exact enough.
    pub fn sums<N: Size>(
        &self,
        sums: &mut Array<Vector<F, N>>,
        staged: usize,
        #[comptime] q: usize,
        #[comptime] matrix: MatrixProduct,
        #[comptime] blueprint: Blueprint,
    ) -> bool {
        let own = UNIT_POS as usize * N::value();
        let mut exact = true.runtime();
        let mut row_norms = Vector::<F, N>::empty();
        if comptime!(matrix.product.distance) {
            #[unroll]
            for lane in 0..N::value() {
                row_norms.insert(lane, self.row_norms[own + lane]);
            }
        }
        #[unroll]
        for c in 0..q {
            let at = (staged + c) * comptime!(matrix.product_stride()) + own;
            let mut value = Vector::<F, N>::empty();
            #[unroll]
            for lane in 0..N::value() {
                value.insert(lane, self.products[at + lane]);
            }
            if comptime!(matrix.product.distance) {
                let norms = row_norms + Vector::new(self.column_norms[staged + c]);
                value = fma(value, constant_vector::<F, N>(-2.0), norms);
                let least = norms * constant_vector::<F, N>(comptime!(cancelled(&blueprint)));
                #[unroll]
                for lane in 0..N::value() {
                    exact = exact && value.extract(lane) >= least.extract(lane);
                }
            }
            let size = value.abs();
            #[unroll]
            for lane in 0..N::value() {
                exact = exact && size.extract(lane) <= constant::<F>(f32::MAX as f64);
            }
            sums[c] = if comptime!(matrix.product.negated) {
                -value
            } else {
                value
            };
        }
        exact
    }
}

/// The factors of `count` rows or columns from `first` on. Rows or columns beyond `last` repeat it.
#[derive(CubeType)]
struct Factors {
    first: usize,
    last: usize,
    #[cube(comptime)]
    factor: Factor,
    #[cube(comptime)]
    count: usize,
}

/// Copies factors to a tile, split into the pieces that are multiplied. Zeros follow the last component.
#[cube]
fn stage<E: Float, F: Float>(
    tile: &mut Shared<[E]>,
    center: &Shared<[F]>,
    context: &Context<'_, E, F>,
    uniform: &[One<F>],
    factors: &Factors,
) {
    let matrix = comptime!(context.blueprint.matrix());
    let all = comptime!(factors.count * matrix.padded());
    let units = comptime!(context.blueprint.units);
    // If all units copy the same number of components, there is no check in the loop, and compilers see that.
    for step in 0..comptime!(all.div_ceil(units)) {
        let at = step * units + UNIT_POS as usize;
        if comptime!(all.is_multiple_of(units)) || at < all {
            stage_component::<E, F>(tile, center, context, uniform, factors, at);
        }
    }
}

/// Copies component number `at`, counted row by row or column by column.
#[cube]
fn stage_component<E: Float, F: Float>(
    tile: &mut Shared<[E]>,
    center: &Shared<[F]>,
    context: &Context<'_, E, F>,
    uniform: &[One<F>],
    factors: &Factors,
    at: usize,
) {
    let matrix = comptime!(context.blueprint.matrix());
    let (factor, count) = comptime!((factors.factor, factors.count));
    let len = comptime!(matrix.product.len);
    let padded = comptime!(matrix.padded());
    let row = at / padded;
    let component = at % padded;
    let source = min(factors.first + row, factors.last);
    let to = row * comptime!(matrix.stride()) + component;
    // Nothing is read behind the last component: it is read again, and a zero takes its place below.
    let k = if comptime!(padded > len) {
        min(component, comptime!(len - 1).runtime())
    } else {
        component
    };
    let inside = component < len;
    if comptime!(matrix.pieces() == 1) {
        let from = position(
            context.address,
            source,
            factor.offset + k,
            comptime!(factor.tensor),
            comptime!(context.blueprint.clone()),
        );
        let value = context.tensors.index(comptime!(factor.tensor))[from];
        tile[to] = if comptime!(padded > len) {
            select(inside, value, constant::<E>(0.0))
        } else {
            value
        };
    } else {
        let value = context.read(source, factor.offset + k, comptime!(factor.tensor));
        let value = if comptime!(matrix.centered()) {
            value - center[k]
        } else {
            value
        };
        let value = if comptime!(matrix.product.scale.is_some()) {
            let scale = comptime!(matrix.product.scale.unwrap());
            let slot = if comptime!(scale.looped) {
                scale.slot + k
            } else {
                scale.slot.runtime()
            };
            value * uniform[slot].extract(0usize)
        } else {
            value
        };
        let value = if comptime!(padded > len) {
            select(inside, value, constant::<F>(0.0))
        } else {
            value
        };
        let high = round_to_11_bits::<F>(value);
        tile[to] = E::cast_from(high);
        tile[to + comptime!(count * matrix.stride())] =
            E::cast_from(round_to_11_bits::<F>(value - high));
    }
}

/// The nearest number of 11 significant bits. It is only for `f32`.
#[cube]
pub(super) fn round_to_11_bits<F: Float>(value: F) -> F {
    let bits = u32::reinterpret(f32::cast_from(value));
    let rounded = bits + 0xfffu32 + ((bits >> 13u32) & 1u32);
    // Infinity and NaN are kept as they are: rounding the bits of NaN could carry into the sign.
    let finite = (bits & 0x7f80_0000u32) < 0x7f80_0000u32;
    let kept = select(finite, rounded & 0xffff_e000u32, bits);
    F::cast_from(f32::reinterpret(kept))
}

/// Computes the squared norms of the `count` rows or columns whose factors are staged in a tile.
#[cube]
fn squared_norms<E: Float, F: Float>(
    tile: &Shared<[E]>,
    norms: &mut Shared<[F]>,
    #[comptime] count: usize,
    #[comptime] matrix: MatrixProduct,
) {
    for row in range_stepped(UNIT_POS as usize, count, CUBE_DIM as usize) {
        let start = row * comptime!(matrix.stride());
        let mut sum = constant::<F>(0.0);
        for k in 0..matrix.product.len {
            let value = widen::<E, F>(tile[start + k], comptime!(matrix.stored));
            let value = if comptime!(matrix.pieces() == 1) {
                value
            } else {
                let rest = start + k + comptime!(count * matrix.stride());
                value + widen::<E, F>(tile[rest], comptime!(matrix.stored))
            };
            sum = fma(value, value, sum);
        }
        norms[row] = sum;
    }
}

/// Multiplies the columns of a block with the cube's rows. A plane takes consecutive rows and all columns.
#[cube]
fn multiply<E: Float, F: Float, X: Multiplier<E, F>>(
    rows: &Shared<[E]>,
    columns: &Shared<[E]>,
    products: &mut Shared<[F]>,
    steps: &Shared<[u32]>,
    #[comptime] block: usize,
    #[comptime] matrix: MatrixProduct,
) {
    let (m, n, k) = comptime!((matrix.shape[0], matrix.shape[1], matrix.shape[2]));
    let tiling = comptime!(tiling(&matrix));
    let stride = comptime!(matrix.stride());
    let product_stride = comptime!(matrix.product_stride());
    let pieces = comptime!(matrix.pieces());
    let (second_rows, second_columns) = comptime!((matrix.rows * stride, block * stride));
    let (across, down) = comptime!((matrix.rows / n, block / m));
    let plane = UNIT_POS as usize / comptime!(matrix.plane);
    let planes = CUBE_DIM as usize / comptime!(matrix.plane);
    for part in range_stepped(plane, across, planes) {
        let mut sums = Sequence::<X::Sum>::new();
        #[unroll]
        for _ in 0..down {
            sums.push(X::zero(tiling));
        }
        for step in 0..steps[0] as usize {
            let at = part * comptime!(n * stride) + step * k;
            let mut right = Sequence::<X::Right>::new();
            #[unroll]
            for piece in 0..pieces {
                right.push(X::right(
                    &rows[at + comptime!(piece * second_rows)..],
                    tiling,
                ));
            }
            #[unroll]
            for c in 0..down {
                let at = comptime!(c * m * stride) + step * k;
                let left = X::left(&columns[at..], tiling);
                if comptime!(pieces == 2) {
                    let rest = X::left(&columns[at + second_columns..], tiling);
                    X::multiply(&rest, right.index(0usize), sums.index_mut(c), tiling);
                    X::multiply(&left, right.index(1usize), sums.index_mut(c), tiling);
                }
                X::multiply(&left, right.index(0usize), sums.index_mut(c), tiling);
            }
        }
        #[unroll]
        for c in 0..down {
            let at = comptime!(c * m * product_stride) + part * n;
            X::store(sums.index(c), &mut products[at..], tiling);
        }
    }
}
