//! Sums over columns of weights times components of the columns, as tiles of a matrix product.
//!
//! Each pair of the cube's rows with a block of columns has a weight. The units compute it, from a first matrix
//! product if the schedule has one. The weights and the components of the columns are the factors of a second
//! product, as in attention (Dao, Fu, Ermon, Rudra and Ré, "FlashAttention: fast and memory-efficient exact
//! attention with IO-awareness", 2022). Weights and components go to shared memory. The sums are there, too,
//! because rows have more sums than units have registers. Every [`WeightedProduct::run`] columns the units add
//! these sums to running sums. These additions are rounded to the nearest, unlike those of the instructions.
//!
//! Both factors are numbers of 32 bits, which are split in two pieces as in [`super::matrix`]. If operands have 16
//! bits, one piece is enough: it holds a component exactly, and a weight with enough bits. Sums of exponentials are
//! relative to a maximum. When the maximum of a row grows, the sums of the row so far are scaled down.
//!
//! Sums of differences $v_k - u_k$ of a column and the row are computed as $\sum p\, v_k - u_k \sum p$. Points in
//! `F32` are first moved by the mean of the cube's rows. That is exact enough for pairs whose squared distance is
//! at least a quarter of the sum of their squared norms: then these sums are at most three times the sum of the
//! distances. Other pairs are left out of the product, and so are pairs with a number that is not finite or very
//! large. Their unit adds them by itself.

use cubecl::{prelude::*, tf32};

use super::{
    context::{Columns, Context},
    matrix::{Emulated, Instruction, Multiplier, Products, Side, Tiling, round_to_11_bits},
};
use crate::{
    math::{Math, Precision, any, constant},
    plan::{Blueprint, MatrixProduct, WeightedProduct},
    program::Factor,
    reduction::{RunningSums, factor},
};

/// Components above this size are left out of the product, because their squares overflow.
const LARGEST_COMPONENT: f64 = (1u128 << 64) as f64;

/// Weights above this size are left out of the product, so that the sums of a run remain finite.
const LARGEST_WEIGHT: f64 = (1u64 << 56) as f64;

/// How many sums of instructions a plane holds at the same time. Each of them takes 8 registers of its units on
/// NVIDIA's cards.
const HELD: usize = 8;

/// The factors and sums that the units of a cube share, and the running sums of each unit.
#[derive(CubeType)]
pub struct WeightedSums<F: Float, A: Float, N: Size> {
    /// The weight of each column for each row, or its first piece if weights are split.
    weights: Shared<[F]>,
    /// The second pieces of the weights.
    rests: Shared<[F]>,
    /// The components of each column: the first pieces of all columns, and behind them the second pieces.
    columns: Shared<[F]>,
    /// The sum of each component for each row since the end of the last run.
    sums: Shared<[F]>,
    /// One more than the number of the last block with a component that is too large for the product, 0 if there
    /// was none.
    unusual: Shared<[u32]>,
    /// How many instructions add up a block, one after the other. The number is in memory for the same reason as in
    /// [`Products`].
    steps: Shared<[u32]>,
    /// The mean of the cube's rows, which is subtracted from each component if points are centered.
    center: Shared<[F]>,
    /// The sum of the weights of the current run, if differences are summed up.
    weight: Array<Vector<F, N>>,
    /// The maximum to which all sums are relative.
    base: Array<Vector<F, N>>,
    /// The sums of ended runs.
    totals: RunningSums<F, A, N>,
}

fn tiling(weighted: &WeightedProduct) -> Tiling {
    Tiling {
        shape: weighted.shape,
        stored: Precision::F32,
        left: Side {
            stride: weighted.column_stride(),
            across: true,
        },
        right: Side {
            stride: weighted.stride(),
            across: true,
        },
        stride: weighted.stride(),
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> WeightedSums<F, A, N> {
    /// Sums that are all zero, before any column has been added.
    pub fn new<E: Float>(
        products: &ComptimeOption<Products<E, F>>,
        infinity: F,
        #[comptime] weighted: WeightedProduct,
        #[comptime] blueprint: Blueprint,
    ) -> WeightedSums<F, A, N> {
        let tile = comptime!(blueprint.schedule.block() * weighted.stride());
        let weights = #[comptime]
        match products {
            ComptimeOption::None => {
                Shared::new_aligned_slice(tile, comptime!(MatrixProduct::ALIGNMENT))
            }
            ComptimeOption::Some(products) => products.products.clone(),
        };
        let center = #[comptime]
        match products {
            ComptimeOption::None => Shared::new_slice(1usize),
            ComptimeOption::Some(products) => products.center.clone(),
        };
        let mut own = WeightedSums::<F, A, N> {
            weights,
            rests: Shared::new_aligned_slice(
                comptime!(if weighted.pieces() == 2 { tile } else { 1 }),
                comptime!(MatrixProduct::ALIGNMENT),
            ),
            columns: Shared::new_aligned_slice(
                comptime!(
                    weighted.pieces() * blueprint.schedule.block() * weighted.column_stride()
                ),
                comptime!(MatrixProduct::ALIGNMENT),
            ),
            sums: Shared::new_aligned_slice(
                comptime!(weighted.padded() * weighted.stride()),
                comptime!(MatrixProduct::ALIGNMENT),
            ),
            unusual: Shared::new_slice(1usize),
            steps: Shared::new_slice(1usize),
            center,
            weight: Array::new(1usize),
            base: Array::new(1usize),
            totals: RunningSums::<F, A, N>::new(
                infinity,
                comptime!(weighted.sum.len),
                comptime!(blueprint.math),
            ),
        };
        let unit = UNIT_POS as usize * N::value();
        for k in 0..comptime!(weighted.padded()) {
            #[unroll]
            for lane in 0..N::value() {
                own.sums[k * comptime!(weighted.stride()) + unit + lane] = constant::<F>(0.0);
            }
        }
        own.unusual[0] = 0u32;
        own.steps[0] = comptime!((blueprint.schedule.block() / weighted.shape[2]) as u32).runtime();
        own.weight[0] = Vector::new(constant::<F>(0.0));
        own.base[0] = Vector::new(F::min_value());
        own
    }

    /// Component `k` of a row or column, minus the center if points are centered.
    fn component<E: Float>(
        &self,
        context: &Context<'_, E, F>,
        row: usize,
        k: usize,
        #[comptime] factor: Factor,
    ) -> F {
        let centered = comptime!(context.blueprint.weighted().centered);
        let component = comptime!(factor.offset) + k;
        let value = context.read(row, component, comptime!(factor.tensor));
        if comptime!(centered) {
            value - self.center[k]
        } else {
            value
        }
    }

    /// Copies the components of the columns `start .. stop`, which are block `block`, to shared memory.
    pub fn stage<E: Float>(
        &mut self,
        context: &Context<'_, E, F>,
        start: usize,
        stop: usize,
        block: usize,
    ) {
        let blueprint = comptime!(&context.blueprint);
        let weighted = comptime!(blueprint.weighted());
        let all = comptime!(blueprint.schedule.block() * weighted.padded());
        let units = comptime!(blueprint.units);
        // If all units copy the same number of components, there is no check in the loop, and compilers see that.
        for step in 0..comptime!(all.div_ceil(units)) {
            let at = step * units + UNIT_POS as usize;
            if comptime!(all.is_multiple_of(units)) || at < all {
                self.stage_component::<E>(context, at, start, stop, block);
            }
        }
    }

    /// Copies component number `at`, counted column by column.
    fn stage_component<E: Float>(
        &mut self,
        context: &Context<'_, E, F>,
        at: usize,
        start: usize,
        stop: usize,
        block: usize,
    ) {
        let blueprint = comptime!(&context.blueprint);
        let weighted = comptime!(blueprint.weighted());
        let (len, padded) = comptime!((weighted.sum.len, weighted.padded()));
        let column = comptime!(weighted.sum.column);
        let component = at % padded;
        let k = min(component, comptime!(len - 1).runtime());
        // Columns beyond the last one repeat it, and so do components beyond the last one.
        let row = min(start + at / padded, stop - 1);
        let value = self.component::<E>(context, row, k, column);
        let fits = value.abs() <= constant::<F>(LARGEST_COMPONENT);
        if !fits {
            self.unusual[0] = block as u32 + 1u32;
        }
        let to = at / padded * comptime!(weighted.column_stride()) + component;
        if comptime!(weighted.pieces() == 1) {
            self.columns[to] = value;
        } else {
            let second = comptime!(blueprint.schedule.block() * weighted.column_stride());
            let high = round_to_11_bits::<F>(value);
            self.columns[to] = high;
            self.columns[to + second] = round_to_11_bits::<F>(value - high);
        }
    }

    /// Whether all components of block `block` are small enough for the product.
    pub fn is_usual(&self, block: usize) -> bool {
        self.unusual[0] != block as u32 + 1u32
    }

    /// Makes all sums relative to the maximum `base`, if it has grown in any lane. The weights of the first
    /// `staged` columns of the block are in shared memory already and are scaled, too.
    pub fn rebase(
        &mut self,
        base: Vector<F, N>,
        staged: usize,
        #[comptime] weighted: WeightedProduct,
        #[comptime] math: Math,
    ) {
        let old = self.base[0];
        if any::<N>(base.greater_than(&old)) {
            let factor = factor::<F, N>(old, base, math);
            self.base[0] = base;
            self.weight[0] *= factor;
            let own = UNIT_POS as usize * N::value();
            for t in 0..staged {
                let mut weight = Vector::<F, N>::empty();
                #[unroll]
                for lane in 0..N::value() {
                    let at = t * comptime!(weighted.stride()) + own + lane;
                    let value = if comptime!(weighted.pieces() == 2) {
                        self.weights[at] + self.rests[at]
                    } else {
                        self.weights[at]
                    };
                    weight.insert(lane, value);
                }
                self.put(t, weight * factor, weighted);
            }
            for k in 0..self.totals.unforeseen(weighted.sum.len) {
                #[unroll]
                for lane in 0..N::value() {
                    let at = k * comptime!(weighted.stride()) + own + lane;
                    self.sums[at] *= factor.extract(lane);
                }
                self.totals.scale_total(k, Vector::cast_from(factor));
            }
        }
    }

    /// Sets the weight of a column of the block.
    fn put(&mut self, staged: usize, weight: Vector<F, N>, #[comptime] weighted: WeightedProduct) {
        let at = staged * comptime!(weighted.stride()) + UNIT_POS as usize * N::value();
        #[unroll]
        for lane in 0..N::value() {
            let value = weight.extract(lane);
            let high = round_to_11_bits::<F>(value);
            self.weights[at + lane] = high;
            if comptime!(weighted.pieces() == 2) {
                self.rests[at + lane] = round_to_11_bits::<F>(value - high);
            }
        }
    }

    /// Takes in the weights of columns. `usual` says whether these pairs are exact enough in the product. If not,
    /// or if a weight is too large, the unit adds the pairs by itself.
    pub fn take<E: Float>(
        &mut self,
        weights: &Sequence<Vector<F, N>>,
        usual: bool,
        context: &Context<'_, E, F>,
        row: usize,
        columns: &Columns,
    ) {
        let q = comptime!(columns.q);
        let weighted = comptime!(context.blueprint.weighted());
        let mut usual = usual;
        #[unroll]
        for c in 0..q {
            let size = (*weights.index(c)).abs();
            #[unroll]
            for lane in 0..N::value() {
                usual = usual && size.extract(lane) <= constant::<F>(LARGEST_WEIGHT);
            }
        }
        if usual {
            #[unroll]
            for c in 0..q {
                let weight = *weights.index(c);
                self.put(columns.staged + c, weight, weighted);
                if comptime!(weighted.sum.row.is_some()) {
                    self.weight[0] += weight;
                }
            }
        } else {
            #[unroll]
            for c in 0..q {
                let nothing = Vector::new(constant::<F>(0.0));
                self.put(columns.staged + c, nothing, weighted);
                self.add::<E>(*weights.index(c), context, row, columns.column + c);
            }
        }
    }

    /// Adds the weighted components of a column to the sums, without the product.
    fn add<E: Float>(
        &mut self,
        weight: Vector<F, N>,
        context: &Context<'_, E, F>,
        row: usize,
        column: usize,
    ) {
        let weighted = comptime!(context.blueprint.weighted());
        let sum = comptime!(weighted.sum);
        let own = UNIT_POS as usize * N::value();
        for k in 0..sum.len {
            let component = sum.column.offset + k;
            let value = context.read(column, component, comptime!(sum.column.tensor));
            #[unroll]
            for lane in 0..N::value() {
                let value = if comptime!(sum.row.is_some()) {
                    let factor = comptime!(sum.row.unwrap());
                    let component = factor.offset + k;
                    value - context.read(row + lane, component, comptime!(factor.tensor))
                } else {
                    value
                };
                let at = k * comptime!(weighted.stride()) + own + lane;
                self.sums[at] = fma(weight.extract(lane), value, self.sums[at]);
            }
        }
    }

    /// Multiplies and adds up block `block`, in which the unit has weights for `count` columns. Ends the run if it
    /// is full or if this is the `last` block. All units of the cube must call it together, because it synchronizes
    /// them.
    pub fn end_block<E: Float>(
        &mut self,
        context: &Context<'_, E, F>,
        row: usize,
        block: usize,
        last: bool,
        count: usize,
    ) {
        let blueprint = comptime!(&context.blueprint);
        let weighted = comptime!(blueprint.weighted());
        for t in count..comptime!(blueprint.schedule.block()) {
            self.put(t, Vector::new(constant::<F>(0.0)), weighted);
        }
        sync_cube();
        if self.is_usual(block) {
            let size = comptime!(blueprint.schedule.block());
            if comptime!(weighted.emulated) {
                self.multiply_by::<Emulated>(size, weighted);
            } else {
                self.multiply_by::<Instruction<tf32>>(size, weighted);
            }
        }
        let run = comptime!((weighted.run() / blueprint.schedule.block()).max(1));
        let over = (block + 1) % run;
        if over == 0 || last {
            sync_cube();
            self.end_run::<E>(context, row);
        }
    }

    /// Multiplies a block of columns with their weights by `X`, and adds the products to the sums.
    fn multiply_by<X: Multiplier<F, F>>(
        &mut self,
        #[comptime] block: usize,
        #[comptime] weighted: WeightedProduct,
    ) {
        multiply::<F, X>(
            &self.columns,
            &self.weights,
            &self.rests,
            &mut self.sums,
            &self.steps,
            block,
            weighted,
        );
    }

    /// Adds the sums of the unit's rows to the running sums, and starts again from 0.
    fn end_run<E: Float>(&mut self, context: &Context<'_, E, F>, row: usize) {
        let weighted = comptime!(context.blueprint.weighted());
        let own = UNIT_POS as usize * N::value();
        for k in 0..self.totals.unforeseen(weighted.sum.len) {
            let mut total = Vector::<F, N>::empty();
            #[unroll]
            for lane in 0..N::value() {
                let at = k * comptime!(weighted.stride()) + own + lane;
                let sum = self.sums[at];
                self.sums[at] = constant::<F>(0.0);
                let sum = if comptime!(weighted.sum.row.is_some()) {
                    let factor = comptime!(weighted.sum.row.unwrap());
                    let own = min(row + lane, context.rows - 1);
                    let value = self.component::<E>(context, own, k, factor);
                    // If no pair of the row was in the product, the row need not be finite, and must not turn the
                    // sum into NaN.
                    let weight = self.weight[0].extract(lane);
                    let none = weight == constant::<F>(0.0);
                    select(none, sum, fma(-value, weight, sum))
                } else {
                    sum
                };
                total.insert(lane, sum);
            }
            self.totals.add_total(k, Vector::cast_from(total));
        }
        self.weight[0] = Vector::new(constant::<F>(0.0));
        self.totals.end_run(comptime!(weighted.sum.len));
    }

    /// The sum of component `k`.
    pub fn total(&self, k: usize) -> Vector<A, N> {
        self.totals.total(k)
    }
}

/// Adds the product of the components of a block of columns and their weights for the cube's rows to `sums`.
/// A plane takes consecutive rows and all components.
#[cube]
fn multiply<F: Float, X: Multiplier<F, F>>(
    columns: &Shared<[F]>,
    weights: &Shared<[F]>,
    rests: &Shared<[F]>,
    sums: &mut Shared<[F]>,
    steps: &Shared<[u32]>,
    #[comptime] block: usize,
    #[comptime] weighted: WeightedProduct,
) {
    let tiling = comptime!(tiling(&weighted));
    let (m, n, k) = comptime!((weighted.shape[0], weighted.shape[1], weighted.shape[2]));
    let (stride, column_stride) = comptime!((weighted.stride(), weighted.column_stride()));
    let pieces = comptime!(weighted.pieces());
    let second = comptime!(block * column_stride);
    let (down, across) = comptime!((weighted.padded() / m, weighted.rows / n));
    let plane = UNIT_POS as usize / comptime!(weighted.plane);
    let planes = comptime!(weighted.rows / weighted.plane);
    // If possible, a plane takes all of its rows at once, so that components are loaded once for all of them.
    let own = comptime!(if across.is_multiple_of(planes) {
        across / planes
    } else {
        1
    });
    let held = comptime!((HELD / own).max(1));
    for part in range_stepped(plane, comptime!(across / own), planes) {
        #[unroll]
        for group in 0..comptime!(down.div_ceil(held)) {
            let first = comptime!(group * held);
            let chunks = comptime!(held.min(down - group * held));
            let mut totals = Sequence::<X::Sum>::new();
            #[unroll]
            for c in 0..chunks {
                #[unroll]
                for r in 0..own {
                    let at =
                        comptime!((first + c) * m * stride + r * n) + part * comptime!(own * n);
                    totals.push(X::load(&sums[at..], tiling));
                }
            }
            for step in 0..steps[0] as usize {
                let mut rights = Sequence::<X::Right>::new();
                #[unroll]
                for r in 0..own {
                    let at =
                        step * comptime!(k * stride) + part * comptime!(own * n) + comptime!(r * n);
                    rights.push(X::right(&weights[at..], tiling));
                    if comptime!(pieces == 2) {
                        rights.push(X::right(&rests[at..], tiling));
                    }
                }
                #[unroll]
                for c in 0..chunks {
                    let at = step * comptime!(k * column_stride) + comptime!((first + c) * m);
                    let left = X::left(&columns[at..], tiling);
                    if comptime!(pieces == 2) {
                        let rest = X::left(&columns[at + second..], tiling);
                        #[unroll]
                        for r in 0..own {
                            let total = totals.index_mut(comptime!(c * own + r));
                            X::multiply(&rest, rights.index(comptime!(2 * r)), total, tiling);
                            X::multiply(&left, rights.index(comptime!(2 * r + 1)), total, tiling);
                        }
                    }
                    #[unroll]
                    for r in 0..own {
                        X::multiply(
                            &left,
                            rights.index(comptime!(pieces * r)),
                            totals.index_mut(comptime!(c * own + r)),
                            tiling,
                        );
                    }
                }
            }
            #[unroll]
            for c in 0..chunks {
                #[unroll]
                for r in 0..own {
                    let at =
                        comptime!((first + c) * m * stride + r * n) + part * comptime!(own * n);
                    X::store(
                        totals.index(comptime!(c * own + r)),
                        &mut sums[at..],
                        tiling,
                    );
                }
            }
        }
    }
}
