//! Products of tiles by matrix instructions, or by loops of single units on devices without such instructions.

use cubecl::{cmma, prelude::*};

use crate::math::{Precision, constant, widen};

/// How the factors and the product of a matrix product lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct Tiling {
    /// Rows and columns of the product that one instruction computes, and the number of terms that it adds up for
    /// each entry.
    pub shape: [usize; 3],
    /// The type of the factors.
    pub stored: Precision,
    /// The left factor.
    pub left: Side,
    /// The right factor.
    pub right: Side,
    /// The distance from one row of the product to the next.
    pub stride: usize,
}

/// How a factor lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// The distance from one row of a left factor, or one column of a right factor, to the next; the numbers within
    /// it are adjacent. If `across` is set, the distance from one of the numbers over which products are added up
    /// to the next; rows or columns are adjacent.
    pub stride: usize,
    /// Whether the rows of a left factor, or the columns of a right factor, are adjacent, instead of the numbers
    /// over which products are added up.
    pub across: bool,
}

/// A way to multiply an `m` x `k` matrix by a `k` x `n` matrix and to add the product to a third one. [`Tiling`]
/// says how the factors lie in memory.
#[cube]
pub(super) trait Multiplier<E: Float, F: Float>: 'static + Send + Sync {
    /// A left factor.
    type Left: CubeType;
    /// A right factor.
    type Right: CubeType;
    /// A sum of products.
    type Sum: CubeType;

    /// A sum that is all zero, before any product has been added.
    fn zero(#[comptime] tiling: Tiling) -> Self::Sum;

    /// Loads the left factor from the start of a tile.
    fn left(tile: &[E], #[comptime] tiling: Tiling) -> Self::Left;

    /// Loads the right factor from the start of a tile.
    fn right(tile: &[E], #[comptime] tiling: Tiling) -> Self::Right;

    /// Adds `left * right` to `sum`.
    fn multiply(
        left: &Self::Left,
        right: &Self::Right,
        sum: &mut Self::Sum,
        #[comptime] tiling: Tiling,
    );

    /// Loads a sum from the start of a tile of products, row by row.
    fn load(tile: &[F], #[comptime] tiling: Tiling) -> Self::Sum;

    /// Writes a sum to the start of a tile of products, row by row.
    fn store(sum: &Self::Sum, tile: &mut [F], #[comptime] tiling: Tiling);
}

/// The matrix instruction of the device, for factors of type `T`. The units of a plane execute it together.
pub(super) struct Instruction<T> {
    _of: std::marker::PhantomData<T>,
}

#[cube]
impl<E: Float, F: Float, T: Float> Multiplier<E, F> for Instruction<T> {
    type Left = cmma::Matrix<T>;
    type Right = cmma::Matrix<T>;
    type Sum = cmma::Matrix<F>;

    fn zero(#[comptime] tiling: Tiling) -> cmma::Matrix<F> {
        cmma::Matrix::<F>::from_value(
            cmma::MatrixIdent::Accumulator,
            comptime!(tiling.shape[0]),
            comptime!(tiling.shape[1]),
            comptime!(tiling.shape[2]),
            cmma::MatrixLayout::Undefined,
            constant::<F>(0.0),
        )
    }

    fn left(tile: &[E], #[comptime] tiling: Tiling) -> cmma::Matrix<T> {
        // SAFETY: the matrix is loaded before it is used.
        let mut factor = unsafe {
            cmma::Matrix::<T>::uninitialized(
                cmma::MatrixIdent::A,
                comptime!(tiling.shape[0]),
                comptime!(tiling.shape[1]),
                comptime!(tiling.shape[2]),
                comptime!(if tiling.left.across {
                    cmma::MatrixLayout::ColMajor
                } else {
                    cmma::MatrixLayout::RowMajor
                }),
            )
        };
        cmma::load(&mut factor, tile, comptime!(tiling.left.stride as u32));
        factor
    }

    fn right(tile: &[E], #[comptime] tiling: Tiling) -> cmma::Matrix<T> {
        // SAFETY: as above.
        let mut factor = unsafe {
            cmma::Matrix::<T>::uninitialized(
                cmma::MatrixIdent::B,
                comptime!(tiling.shape[0]),
                comptime!(tiling.shape[1]),
                comptime!(tiling.shape[2]),
                comptime!(if tiling.right.across {
                    cmma::MatrixLayout::RowMajor
                } else {
                    cmma::MatrixLayout::ColMajor
                }),
            )
        };
        cmma::load(&mut factor, tile, comptime!(tiling.right.stride as u32));
        factor
    }

    fn multiply(
        left: &cmma::Matrix<T>,
        right: &cmma::Matrix<T>,
        sum: &mut cmma::Matrix<F>,
        #[comptime] _tiling: Tiling,
    ) {
        cmma::execute(left, right, &*sum, &*sum);
    }

    fn load(tile: &[F], #[comptime] tiling: Tiling) -> cmma::Matrix<F> {
        // SAFETY: as above.
        let mut sum = unsafe {
            cmma::Matrix::<F>::uninitialized(
                cmma::MatrixIdent::Accumulator,
                comptime!(tiling.shape[0]),
                comptime!(tiling.shape[1]),
                comptime!(tiling.shape[2]),
                cmma::MatrixLayout::Undefined,
            )
        };
        cmma::load_with_layout(
            &mut sum,
            tile,
            comptime!(tiling.stride as u32),
            cmma::MatrixLayout::RowMajor,
        );
        sum
    }

    fn store(sum: &cmma::Matrix<F>, tile: &mut [F], #[comptime] tiling: Tiling) {
        cmma::store(
            tile,
            sum,
            comptime!(tiling.stride as u32),
            cmma::MatrixLayout::RowMajor,
        );
    }
}

/// The same operation by loops, for devices without the instruction. A unit executes it alone. The loops are long,
/// because drivers unroll short nested loops to code that takes minutes to compile.
pub(super) struct Emulated;

/// Copies the first `rows` rows of a left factor, or columns of a right factor, from a tile, one behind the other.
#[cube]
pub fn copied<E: Float, F: Float>(
    tile: &[E],
    #[comptime] rows: usize,
    #[comptime] side: Side,
    #[comptime] tiling: Tiling,
) -> Array<F> {
    let k = comptime!(tiling.shape[2]);
    let mut own = Array::<F>::new(comptime!(rows * k));
    for at in 0..comptime!(rows * k) {
        let from = if comptime!(side.across) {
            at % k * side.stride + at / k
        } else {
            at / k * side.stride + at % k
        };
        own[at] = widen::<E, F>(tile[from], comptime!(tiling.stored));
    }
    own
}

#[cube]
impl<E: Float, F: Float> Multiplier<E, F> for Emulated {
    type Left = Array<F>;
    type Right = Array<F>;
    type Sum = Array<F>;

    fn zero(#[comptime] tiling: Tiling) -> Array<F> {
        let len = comptime!(tiling.shape[0] * tiling.shape[1]);
        let mut sum = Array::<F>::new(len);
        for at in 0..len {
            sum[at] = constant::<F>(0.0);
        }
        sum
    }

    fn left(tile: &[E], #[comptime] tiling: Tiling) -> Array<F> {
        copied::<E, F>(
            tile,
            comptime!(tiling.shape[0]),
            comptime!(tiling.left),
            tiling,
        )
    }

    fn right(tile: &[E], #[comptime] tiling: Tiling) -> Array<F> {
        copied::<E, F>(
            tile,
            comptime!(tiling.shape[1]),
            comptime!(tiling.right),
            tiling,
        )
    }

    fn multiply(left: &Array<F>, right: &Array<F>, sum: &mut Array<F>, #[comptime] tiling: Tiling) {
        let (m, n, k) = comptime!((tiling.shape[0], tiling.shape[1], tiling.shape[2]));
        for at in 0..comptime!(m * n) {
            let (i, j) = (at / n, at % n);
            let mut own = sum[at];
            for t in 0..k {
                own = fma(left[i * k + t], right[j * k + t], own);
            }
            sum[at] = own;
        }
    }

    fn load(tile: &[F], #[comptime] tiling: Tiling) -> Array<F> {
        let (m, n) = comptime!((tiling.shape[0], tiling.shape[1]));
        let mut sum = Array::<F>::new(comptime!(m * n));
        for at in 0..comptime!(m * n) {
            sum[at] = tile[at / n * comptime!(tiling.stride) + at % n];
        }
        sum
    }

    fn store(sum: &Array<F>, tile: &mut [F], #[comptime] tiling: Tiling) {
        let (m, n) = comptime!((tiling.shape[0], tiling.shape[1]));
        for at in 0..comptime!(m * n) {
            tile[at / n * comptime!(tiling.stride) + at % n] = sum[at];
        }
    }
}
