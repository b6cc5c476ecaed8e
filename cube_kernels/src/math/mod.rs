//! Scalar functions: those of kernels, over vectors of lanes, and those of the [host](lane).

#[cfg(feature = "cubecl")]
mod basic;
#[cfg(feature = "cubecl")]
pub mod circular;
mod coefficients;
#[cfg(feature = "cubecl")]
pub mod elementary;
pub mod lane;
#[cfg(feature = "cubecl")]
pub mod logarithm;
#[cfg(feature = "cubecl")]
pub mod ptx;
pub mod random;
pub mod series;
#[cfg(feature = "cubecl")]
pub mod special;

#[cfg(feature = "cubecl")]
pub use basic::*;

/// What is known about the argument of a function, which saves work in computing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Argument {
    /// It is not positive (it may be NaN).
    pub nonpositive: bool,
    /// It has been rounded, so that another rounding error of the same size does not matter.
    pub rounded: bool,
    /// It is the exponent of a power of 2, which the exponential function computes then.
    pub binary: bool,
    /// It is an angle of a few turns at most (or NaN).
    pub small: bool,
}

/// What is known about the arithmetic when a kernel is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Math {
    /// The type in which a kernel computes.
    pub precision: Precision,
    /// Evaluate `exp` in `f32` by a polynomial on the multiply-add units instead of the runtime's
    /// own function; faster where there is no exponential unit.
    pub polynomial_exp: bool,
    /// Build functions in `f32` on the card's instruction for $2^x$.
    pub exp2: bool,
    /// A multiply-add rounds once, and no compiler splits it into a product and a sum, as compilers of shaders do.
    pub fused: bool,
    /// What is known about the argument.
    pub argument: Argument,
}

/// The least normal number times this is the size from which on numbers are far enough from those that are not normal:
/// the product with a further factor that is not very small is a normal number, too.
pub(crate) const NORMAL_MARGIN: f64 = 65536.0;

impl Math {
    /// Whether the lanes of a vector are computed by one instruction.
    pub fn simd(self) -> bool {
        self.polynomial_exp
    }

    /// Whether powers of 2 take fewer operations than exponentials.
    pub fn binary(self) -> bool {
        (self.exp2 || self.polynomial_exp) && self.precision == Precision::F32
    }

    /// The same for an argument of any sign.
    pub fn any_sign(self) -> Self {
        self.with(Argument {
            nonpositive: false,
            ..self.argument
        })
    }

    /// The same for an argument that is not positive.
    pub fn nonpositive(self) -> Self {
        self.with(Argument {
            nonpositive: true,
            ..self.argument
        })
    }

    /// The same for the exponential of the argument instead of the power of 2.
    fn of_e(self) -> Self {
        self.with(Argument {
            binary: false,
            ..self.argument
        })
    }

    /// The same for another argument.
    pub fn with(self, argument: Argument) -> Self {
        Self { argument, ..self }
    }
}

/// The floating point type of operands and results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// 16 bits, 11 of them significant; computed in 32 bits.
    F16,
    /// 16 bits, 8 of them significant; computed in 32 bits.
    BF16,
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
}

impl Precision {
    /// Size of a value in bytes.
    pub fn size(self) -> usize {
        match self {
            Precision::F16 | Precision::BF16 => 2,
            Precision::F32 => 4,
            Precision::F64 => 8,
        }
    }

    /// The largest finite value of the type in which kernels compute.
    pub(crate) fn largest(self) -> f64 {
        match self {
            Precision::F64 => f64::MAX,
            _ => f32::MAX.into(),
        }
    }

    /// The type in which kernels compute.
    pub fn computed(self) -> Self {
        match self {
            Precision::F16 | Precision::BF16 => Precision::F32,
            other => other,
        }
    }
}
