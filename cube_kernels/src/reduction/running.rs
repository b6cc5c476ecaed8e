//! Sums over many columns whose error does not grow with their number.

use cubecl::prelude::*;

use crate::{
    math::{Math, Precision, constant_vector},
    program::UNROLL,
};

/// Number of blocks of columns whose sums are added up before they go to the total.
pub(super) const BLOCKS: u32 = 64;

/// Number of partial results that are added up before they go to the total.
pub(super) const PARTS: u32 = 8;

/// Running sums of several components.
///
/// `block` is the sum of the current block, `middle` that of up to [`BLOCKS`] ended blocks, and `total` that of
/// everything before. With compensation, `block` is the sum of everything and `middle` the rounding error of the last
/// addition.
///
/// Compilers for GPUs keep an array in registers if they know all its indices, and the more registers a unit uses, the
/// fewer units run at the same time. Sums that are only used at the ends of blocks are not worth registers. They are
/// indexed in a way that compilers cannot foresee, so that they stay in memory.
#[derive(CubeType)]
pub struct RunningSums<F: Float, A: Float, N: Size> {
    block: Array<Vector<F, N>>,
    middle: Array<Vector<A, N>>,
    total: Array<Vector<A, N>>,
    blocks: Array<u32>,
    zero: Array<u32>,
    /// Whether the sums of ended blocks stay in memory.
    #[cube(comptime)]
    remote: bool,
}

#[cube]
impl<F: Float, A: Float, N: Size> RunningSums<F, A, N> {
    /// Sums that are all zero, before any column has been added.
    pub fn new(
        infinity: F,
        #[comptime] dim: usize,
        #[comptime] math: Math,
    ) -> RunningSums<F, A, N> {
        let remote = comptime!(!math.simd());
        // An array of one value would be kept in registers, as its only index is known.
        let len = comptime!(if remote { dim.max(2) } else { dim });
        let mut sums = RunningSums::<F, A, N> {
            block: Array::new(dim),
            middle: Array::new(len),
            total: Array::new(len),
            blocks: Array::new(1usize),
            zero: Array::new(1usize),
            remote,
        };
        sums.clear(dim);
        // A number that is zero, which no compiler can know.
        sums.zero[0] = if comptime!(math.precision == Precision::F32) {
            u32::reinterpret(f32::cast_from(infinity)) ^ 0x7f80_0000u32
        } else {
            0u32.runtime()
        };
        sums
    }

    /// Sets all sums to zero.
    pub fn clear(&mut self, #[comptime] dim: usize) {
        #[unroll(dim <= UNROLL)]
        for k in 0..dim {
            self.block[k] = constant_vector::<F, N>(0.0);
            self.middle[k] = constant_vector::<A, N>(0.0);
            self.total[k] = constant_vector::<A, N>(0.0);
        }
        self.blocks[0] = 0u32;
    }

    /// Adds a value.
    pub fn add(&mut self, k: usize, value: Vector<F, N>) {
        self.block[k] += value;
    }

    /// Adds a product of two values.
    pub fn add_product(&mut self, k: usize, a: Vector<F, N>, b: Vector<F, N>) {
        self.block[k] = fma(a, b, self.block[k]);
    }

    /// Adds a value with compensation.
    pub fn add_compensated(&mut self, k: usize, value: Vector<F, N>, #[comptime] math: Math) {
        let value = value - Vector::<F, N>::cast_from(self.middle[k]);
        let sum = self.block[k] + value;
        // Compilers of shaders simplify `(a + b) - a` to `b`. The exclusive or with a zero that they do not know
        // keeps them from it.
        let sum = if comptime!(math.precision == Precision::F32) {
            let bits = Vector::<u32, N>::reinterpret(Vector::<f32, N>::cast_from(sum));
            let bits = bits ^ Vector::new(self.zero[0]);
            Vector::<F, N>::cast_from(Vector::<f32, N>::reinterpret(bits))
        } else {
            sum
        };
        let lost = (sum - self.block[k]) - value;
        // An overflow and the difference of infinities are no rounding errors.
        let most = constant_vector::<F, N>(comptime!(math.precision.largest()));
        let finite = lost.abs().less_equal(&most);
        let lost = select_many(finite, lost, constant_vector::<F, N>(0.0));
        self.middle[k] = Vector::<A, N>::cast_from(lost);
        self.block[k] = sum;
    }

    /// Multiplies the sum of the current block.
    pub fn scale_block(&mut self, k: usize, factor: Vector<F, N>) {
        self.block[k] *= factor;
    }

    /// Multiplies the sums of the blocks before the current one.
    pub fn scale_total(&mut self, k: usize, factor: Vector<A, N>) {
        self.middle[k] *= factor;
        self.total[k] *= factor;
    }

    /// Ends a block.
    pub fn end_block(&mut self, #[comptime] dim: usize) {
        #[unroll(dim <= UNROLL)]
        for k in 0..dim {
            self.middle[k] += Vector::<A, N>::cast_from(self.block[k]);
            self.block[k] = constant_vector::<F, N>(0.0);
        }
        self.count(dim, BLOCKS);
    }

    /// Ends a run of columns whose sums were added with `add_total`.
    pub fn end_run(&mut self, #[comptime] dim: usize) {
        self.count(dim, BLOCKS);
    }

    /// The number `dim`, as a bound of loops over sums that stay in memory. No compiler can know it, or compute it
    /// beforehand and keep it, because it depends on the number of blocks. What is added to `dim` is always 0, as
    /// there are less than $2^{31}$ blocks.
    pub fn unforeseen(&self, #[comptime] dim: usize) -> usize {
        if comptime!(self.remote) {
            dim + ((self.blocks[0] >> 31u32) << 20u32) as usize
        } else {
            dim.runtime()
        }
    }

    /// Ends a partial result that was added with `add_total`.
    pub fn end_part(&mut self, #[comptime] dim: usize) {
        self.count(dim, PARTS);
    }

    /// Counts an addition to `middle`. After every `full` of them, `middle` is added to the total and cleared.
    fn count(&mut self, #[comptime] dim: usize, #[comptime] full: u32) {
        self.blocks[0] += 1;
        let over = self.blocks[0] % full;
        if over == 0 {
            if comptime!(self.remote) {
                for k in 0..self.unforeseen(dim) {
                    self.end_middle(k);
                }
            } else {
                #[unroll(dim <= UNROLL)]
                for k in 0..dim {
                    self.end_middle(k);
                }
            }
        }
    }

    fn end_middle(&mut self, k: usize) {
        self.total[k] += self.middle[k];
        self.middle[k] = constant_vector::<A, N>(0.0);
    }

    /// The sum of all ended blocks.
    pub fn total(&self, k: usize) -> Vector<A, N> {
        self.total[k] + self.middle[k]
    }

    /// The compensated sum.
    pub fn compensated(&self, k: usize) -> Vector<A, N> {
        Vector::<A, N>::cast_from(self.block[k])
    }

    /// Sets the sum of all ended blocks.
    pub fn set_total(&mut self, k: usize, value: Vector<A, N>) {
        self.total[k] = value;
        self.middle[k] = constant_vector::<A, N>(0.0);
    }

    /// Sets the compensated sum.
    pub fn set_compensated(&mut self, k: usize, value: Vector<A, N>) {
        self.block[k] = Vector::<F, N>::cast_from(value);
    }

    /// Adds a value to the ended blocks.
    pub fn add_total(&mut self, k: usize, value: Vector<A, N>) {
        self.middle[k] += value;
    }
}
