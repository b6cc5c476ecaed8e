//! The catalogue of scalar functions: one row defines an operation completely.
//!
//! A row holds the name, the notation, the sample domain of the tests, the host reference in `f64`,
//! the partial derivatives as expressions, the [interval](super::interval) of the values for arguments in intervals
//! and the kernel code. A row may also have code that the host runs with vector instructions (`tile`). If
//! this code is not right for all arguments, the row says for which it is (`within`). A function with a
//! parameter has no such code.
//!
//! From the rows come the [`ScalarOp`] enum, the methods of [`Expr`], the evaluation in kernels and on the
//! host, the derivative rules, the methods of the user-facing tensor type (through `unary_methods!`) and
//! the list that the tests walk. Adding an operation is adding a row.
//!
//! Operations that change the inner dimension are composed of the nodes of
//! [`Node`](crate::formula::expr::Node), or are nodes themselves.

use std::fmt;

#[cfg(feature = "cubecl")]
use cubecl::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    expr::Expr,
    interval::{Interval, Rounding},
};
#[cfg(feature = "cubecl")]
use crate::math::{self, Math, elementary, special};
use crate::math::{
    lane::{self, Arithmetic, Real},
    random,
    series::{Expansion, cotangent_derivative, matern_coefficients},
};

/// How an operation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notation {
    /// `name(x)`.
    Call,
    /// `(x + y)`.
    Infix(&'static str),
    /// `-x`.
    Prefix(&'static str),
}

/// Where an operation is sampled by tests: an interval for each argument, and further values such as zero.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// Sampled intervals, one for each argument.
    pub intervals: &'static [(f64, f64)],
    /// Further values of every argument, such as zero, at which only the value is compared.
    pub edges: &'static [f64],
    /// Whether the value jumps, so that rounding an argument may change it much.
    pub jumps: bool,
    /// Errors are relative to the value, or to this number where the value is smaller: the size of the terms
    /// that cancel at a zero of the function.
    pub scale: f64,
}

impl Domain {
    const fn new(intervals: &'static [(f64, f64)], edges: &'static [f64]) -> Self {
        Self {
            intervals,
            edges,
            jumps: false,
            scale: 0.0,
        }
    }

    const fn jumping(self) -> Self {
        Self {
            jumps: true,
            ..self
        }
    }

    const fn scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }
}

/// The partial derivative of a function by one of its arguments.
#[derive(Clone, Debug)]
pub enum Partial {
    /// The derivative is this factor.
    Factor(Expr),
    /// The derivative is 1 where the mask is 0. Elsewhere the function does not use the argument: neither it nor its
    /// derivatives count, even if they are infinite or NaN.
    Unless(Expr),
}

impl From<Expr> for Partial {
    fn from(factor: Expr) -> Self {
        Self::Factor(factor)
    }
}

/// What is known of the sign of a value that is not NaN. The sign of a zero counts, as the reciprocal of
/// the zero is an infinity of this sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing.
    Unknown,
    /// Positive or +0.
    NonNegative,
    /// Negative or -0.
    NonPositive,
}

impl std::ops::Neg for Sign {
    type Output = Self;

    fn neg(self) -> Self {
        match self {
            Sign::Unknown => Sign::Unknown,
            Sign::NonNegative => Sign::NonPositive,
            Sign::NonPositive => Sign::NonNegative,
        }
    }
}

/// How the value of a function of one argument changes when the sign of the argument changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// The same value.
    Even,
    /// The opposite value.
    Odd,
    /// Another value.
    Neither,
}

impl ScalarOp {
    /// Whether the function is even or odd.
    pub fn parity(&self) -> Parity {
        match self {
            Self::Square | Self::Abs | Self::Cos | Self::Cosh | Self::Magnitude => Parity::Even,
            Self::Neg
            | Self::Rounded
            | Self::Recip
            | Self::Sign
            | Self::Sin
            | Self::Tan
            | Self::Asin
            | Self::Atan
            | Self::Sinh
            | Self::Tanh
            | Self::Asinh
            | Self::Atanh
            | Self::Cbrt
            | Self::Erf
            | Self::Round => Parity::Odd,
            Self::Powi(n) if n % 2 == 0 => Parity::Even,
            Self::SphericalBessel(n) if n % 2 == 0 => Parity::Even,
            Self::Powi(_) | Self::SphericalBessel(_) => Parity::Odd,
            _ => Parity::Neither,
        }
    }

    /// The sign of the result, where it follows from the signs of the arguments; knowing it saves work
    /// in the kernels of some functions.
    pub fn sign_of(&self, args: &[Sign]) -> Sign {
        match self {
            Self::Square
            | Self::Abs
            | Self::Exp
            | Self::Exp2
            | Self::Rsqrt
            | Self::Cosh
            | Self::Acosh
            | Self::Erfc
            | Self::Hypot
            | Self::Magnitude
            | Self::Sigmoid
            | Self::Softplus
            | Self::Matern(_)
            | Self::Random
            | Self::Step => Sign::NonNegative,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual => Sign::NonNegative,
            // The root of -0 is -0.
            Self::Sqrt if args[0] == Sign::NonNegative => Sign::NonNegative,
            Self::Powi(n) if n % 2 == 0 => Sign::NonNegative,
            // A sum of even powers.
            Self::Polygamma(n) if n % 2 == 1 => Sign::NonNegative,
            Self::Powi(_)
            | Self::Recip
            | Self::Rounded
            | Self::Cbrt
            | Self::Asinh
            | Self::Atanh => args[0],
            Self::Neg => -args[0],
            Self::Add if args[0] == args[1] => args[0],
            Self::Sub if args[0] == -args[1] => args[0],
            // The zeros of a strong product are positive.
            Self::StrongMul | Self::StrongFlushedMul
                if args[0] == args[1] && args[0] != Sign::Unknown =>
            {
                Sign::NonNegative
            }
            Self::Mul | Self::FlushedMul | Self::Div => match (args[0], args[1]) {
                (Sign::Unknown, _) | (_, Sign::Unknown) => Sign::Unknown,
                (a, b) if a == b => Sign::NonNegative,
                _ => Sign::NonPositive,
            },
            _ => Sign::Unknown,
        }
    }

    /// A bound of the absolute value of the result, apart from rounding, where it follows from the bounds of the
    /// arguments; else infinity.
    pub fn bound_of(&self, args: &[f64]) -> f64 {
        match self {
            Self::Sin
            | Self::Cos
            | Self::SphericalBessel(_)
            | Self::Tanh
            | Self::Sigmoid
            | Self::Erf
            | Self::Matern(_)
            | Self::Random
            | Self::Sign
            | Self::Step
            | Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual => 1.0,
            Self::Erfc => 2.0,
            Self::Asin | Self::Acos | Self::Atan | Self::Atan2 => 4.0,
            Self::Neg | Self::Rounded | Self::Abs | Self::Relu => args[0],
            Self::Square => args[0] * args[0],
            Self::Add | Self::Sub => args[0] + args[1],
            // Zero times infinity is NaN, which is no bound.
            Self::Mul | Self::StrongMul | Self::FlushedMul
                if args[0].is_finite() && args[1].is_finite() =>
            {
                args[0] * args[1]
            }
            Self::Maximum | Self::Minimum => args[0].max(args[1]),
            Self::Clamp | Self::IfElse => args[1].max(args[2]),
            Self::MaskWhere => args[0].max(args[2]),
            _ => f64::INFINITY,
        }
    }

    /// Whether it is a function of an angle.
    pub fn is_circular(&self) -> bool {
        matches!(
            self,
            Self::Sin | Self::Cos | Self::Tan | Self::SphericalBessel(_)
        )
    }
}

impl ScalarOp {
    /// Whether the value is finite for all finite arguments of its domain, apart from the overflow of sums and
    /// products. Derivatives multiply by values that may be infinite with [`StrongMul`](Self::StrongMul).
    pub fn is_finite(&self, args: &[Expr]) -> bool {
        let away_from_zero = |arg: &Expr| arg.lower_bound() >= f32::MIN_POSITIVE.into();
        match self {
            Self::Exp | Self::Exp2 | Self::Expm1 => args[0].known_sign() == Sign::NonPositive,
            Self::Recip | Self::Log | Self::Log2 | Self::Log10 => away_from_zero(&args[0]),
            Self::Log1p => args[0].known_sign() == Sign::NonNegative,
            Self::Div => away_from_zero(&args[1]),
            Self::Powi(n) => *n >= 0 || away_from_zero(&args[0]),
            Self::Neg
            | Self::Rounded
            | Self::Square
            | Self::Sqrt
            | Self::Rsqrt
            | Self::Abs
            | Self::Sign
            | Self::Xlogx
            | Self::Sin
            | Self::Cos
            | Self::Tan
            | Self::Asin
            | Self::Acos
            | Self::Atan
            | Self::Tanh
            | Self::Sigmoid
            | Self::Softplus
            | Self::Erf
            | Self::Erfc
            | Self::Acosh
            | Self::Asinh
            | Self::Cbrt
            | Self::Hypot
            | Self::Logaddexp
            | Self::Magnitude
            | Self::SphericalBessel(_)
            | Self::Matern(_)
            | Self::Step
            | Self::Relu
            | Self::Round
            | Self::Floor
            | Self::Ceil
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::StrongMul
            | Self::FlushedMul
            | Self::StrongFlushedMul
            | Self::Maximum
            | Self::Minimum
            | Self::Atan2
            | Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual
            | Self::Clamp
            | Self::IfElse
            | Self::MaskWhere
            | Self::Random => true,
            _ => false,
        }
    }

    /// A lower bound of all results that are not NaN; $-\infty$ if none is known.
    pub fn lower_bound(&self, args: &[Expr]) -> f64 {
        let known = match self {
            Self::Add => args[0].lower_bound() + args[1].lower_bound(),
            Self::Mul => match (args[0].as_const(), args[1].as_const()) {
                (Some(factor), _) if factor > 0.0 => factor * args[1].lower_bound(),
                (_, Some(factor)) if factor > 0.0 => args[0].lower_bound() * factor,
                _ => f64::NEG_INFINITY,
            },
            Self::Cosh => 1.0,
            Self::Maximum => args[0].lower_bound().max(args[1].lower_bound()),
            _ => f64::NEG_INFINITY,
        };
        match self.sign_of(&args.iter().map(Expr::known_sign).collect::<Vec<_>>()) {
            Sign::NonNegative => known.max(0.0),
            _ => known,
        }
    }
}

macro_rules! scalar_ops {
    (
        ($d:tt, $hash:tt $cube:tt, $math:ident, $rounding:ident)
        unary { $(
            $(#[doc = $udoc:literal])*
            $U:ident $(($up:ident : $upt:ident))? => $umethod:ident, $unotation:expr,
                domain: $udomain:expr,
                host: |$ux:ident| $uhost:expr,
                $(tile: |$utx:ident| $utile:expr, $(within: |$uwx:ident| $uwithin:expr,)?)?
                grad: |$ugx:ident, $ugy:ident| $ugrad:expr,
                bounds: |$ubx:ident| $ubounds:expr,
                cube: |$ucx:ident| $ucube:expr;
        )+ }
        binary { $(
            $(#[doc = $bdoc:literal])*
            $B:ident => $bmethod:ident, $bnotation:expr,
                domain: $bdomain:expr,
                host: |$ba:ident, $bb:ident| $bhost:expr,
                $(tile: |$bta:ident, $btb:ident| $btile:expr,)?
                grad: |$bga:ident, $bgb:ident, $bgy:ident| [$bgrada:expr, $bgradb:expr],
                bounds: |$bba:ident, $bbb:ident| $bbounds:expr,
                cube: |$bca:ident, $bcb:ident| $bcube:expr;
        )+ }
        ternary { $(
            $(#[doc = $tdoc:literal])*
            $T:ident => $tmethod:ident, $tnotation:expr,
                domain: $tdomain:expr,
                host: |$ta:ident, $tb:ident, $tc:ident| $thost:expr,
                $(tile: |$tta:ident, $ttb:ident, $ttc:ident| $ttile:expr,)?
                grad: |$tga:ident, $tgb:ident, $tgc:ident, $tgy:ident|
                    [$tgrada:expr, $tgradb:expr, $tgradc:expr],
                bounds: |$tba:ident, $tbb:ident, $tbc:ident| $tbounds:expr,
                cube: |$tca:ident, $tcb:ident, $tcc:ident| $tcube:expr;
        )+ }
    ) => {
        /// A scalar function, applied component by component.
        ///
        #[doc = include_str!("operations.md")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ScalarOp {
            $( $(#[doc = $udoc])* $U $(($upt))?, )+
            $( $(#[doc = $bdoc])* $B, )+
            $( $(#[doc = $tdoc])* $T, )+
        }

        impl ScalarOp {
            /// Number of arguments.
            pub fn arity(&self) -> usize {
                match self {
                    $( Self::$U $(($up))? => { $( let _ = $up; )? 1 } )+
                    $( Self::$B => 2, )+
                    $( Self::$T => 3, )+
                }
            }

            /// The name: that of the method.
            pub fn name(&self) -> &'static str {
                match self {
                    $( Self::$U $(($up))? => { $( let _ = $up; )? stringify!($umethod) } )+
                    $( Self::$B => stringify!($bmethod), )+
                    $( Self::$T => stringify!($tmethod), )+
                }
            }

            /// The documentation: what is computed.
            pub fn doc(&self) -> &'static str {
                match self {
                    $( Self::$U $(($up))? => {
                        $( let _ = $up; )?
                        concat!($($udoc, "\n"),*)
                    } )+
                    $( Self::$B => concat!($($bdoc, "\n"),*), )+
                    $( Self::$T => concat!($($tdoc, "\n"),*), )+
                }
            }

            /// How the operation is written.
            pub fn notation(&self) -> Notation {
                match self {
                    $( Self::$U $(($up))? => { $( let _ = $up; )? $unotation } )+
                    $( Self::$B => $bnotation, )+
                    $( Self::$T => $tnotation, )+
                }
            }

            /// Where tests sample the operation.
            pub fn domain(&self) -> Domain {
                match *self {
                    $( Self::$U $(($up))? => { $( let _ = $up; )? $udomain } )+
                    $( Self::$B => $bdomain, )+
                    $( Self::$T => $tdomain, )+
                }
            }

            /// The value in `f64`: the reference for every kernel.
            pub fn host(&self, args: &[f64]) -> f64 {
                match *self {
                    $( Self::$U $(($up))? => { let $ux = args[0]; $uhost } )+
                    $( Self::$B => { let ($ba, $bb) = (args[0], args[1]); $bhost } )+
                    $( Self::$T => {
                        let ($ta, $tb, $tc) = (args[0], args[1], args[2]);
                        $thost
                    } )+
                }
            }

            /// The partial derivatives with respect to each argument, where `y` is this operation
            /// applied to `args`.
            pub fn partials(&self, args: &[Expr], y: &Expr) -> Vec<Partial> {
                match *self {
                    $( Self::$U $(($up))? => {
                        let ($ugx, $ugy) = (&args[0], y);
                        let _ = ($ugx, $ugy);
                        vec![Partial::from($ugrad)]
                    } )+
                    $( Self::$B => {
                        let ($bga, $bgb, $bgy) = (&args[0], &args[1], y);
                        let _ = ($bga, $bgb, $bgy);
                        vec![Partial::from($bgrada), Partial::from($bgradb)]
                    } )+
                    $( Self::$T => {
                        let ($tga, $tgb, $tgc, $tgy) = (&args[0], &args[1], &args[2], y);
                        let _ = ($tga, $tgb, $tgc, $tgy);
                        vec![Partial::from($tgrada), Partial::from($tgradb), Partial::from($tgradc)]
                    } )+
                }
            }

            /// The interval of the values for arguments in these intervals.
            pub(crate) fn bounds(&self, args: &[Interval], $rounding: Rounding) -> Interval {
                match *self {
                    $( Self::$U $(($up))? => {
                        let $ubx = &args[0];
                        $ubounds
                    } )+
                    $( Self::$B => {
                        let ($bba, $bbb) = (&args[0], &args[1]);
                        $bbounds
                    } )+
                    $( Self::$T => {
                        let ($tba, $tbb, $tbc) = (&args[0], &args[1], &args[2]);
                        $tbounds
                    } )+
                }
            }

            /// One operation of each kind, for tests that walk the catalogue; operations with a
            /// parameter appear with several values of it.
            pub fn all() -> Vec<Self> {
                let mut all = Vec::new();
                $( scalar_ops!(@samples all, $U $(, $upt)?); )+
                $( all.push(Self::$B); )+
                $( all.push(Self::$T); )+
                all
            }
        }

        impl fmt::Display for ScalarOp {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())?;
                match self {
                    $( Self::$U $(($up))? => {
                        $( write!(f, "[{}]", $up)?; )?
                        Ok(())
                    } )+
                    _ => Ok(()),
                }
            }
        }

        impl Expr {
            $(
                $(#[doc = $udoc])*
                pub fn $umethod(&self $(, $up: $upt)?) -> Expr {
                    Expr::scalar(ScalarOp::$U $(($up))?, vec![self.clone()])
                }
            )+
        }

        /// Evaluates `op` in a kernel; operations of fewer arguments ignore the others.
        #[cfg(feature = "cubecl")]
        // The attribute comes from the same place as the rows: `#[cube]` adds an argument that the
        // code of the rows must see, and names of different origin don't see each other.
        $hash $cube
        pub(crate) fn apply<F: Float, N: Size>(
            a: Vector<F, N>,
            b: Vector<F, N>,
            c: Vector<F, N>,
            #[comptime] op: ScalarOp,
            #[comptime] $math: Math,
        ) -> Vector<F, N> {
            match op {
                $( ScalarOp::$U $(($up))? => { let $ucx = a; $ucube } )+
                $( ScalarOp::$B => { let $bca = a; let $bcb = b; $bcube } )+
                $( ScalarOp::$T => { let $tca = a; let $tcb = b; let $tcc = c; $tcube } )+
            }
        }

        /// Applies `op` to each of the arguments in code that compilers turn into vector instructions; returns false if
        /// its row has no such code. Operations of fewer arguments ignore the others.
        #[inline(always)]
        fn apply_vectors<T: Real, M: Arithmetic>(
            op: ScalarOp,
            out: &mut [T],
            [a, b, c]: [&[T]; 3],
            $math: M,
        ) -> bool {
            // One length for all, so that no index is checked in loops.
            let len = out.len();
            let (a, b, c) = (&a[..len], &b[..len], &c[..len]);
            match op {
                $( $( ScalarOp::$U { .. } => {
                    for k in 0..len {
                        let $utx = a[k];
                        out[k] = $utile;
                    }
                    true
                } )? )+
                $( $( ScalarOp::$B => {
                    for k in 0..len {
                        let ($bta, $btb) = (a[k], b[k]);
                        out[k] = $btile;
                    }
                    true
                } )? )+
                $( $( ScalarOp::$T => {
                    for k in 0..len {
                        let ($tta, $ttb, $ttc) = (a[k], b[k], c[k]);
                        out[k] = $ttile;
                    }
                    true
                } )? )+
                _ => false,
            }
        }

        /// Whether the code of `apply_vectors` is right for all of these arguments.
        #[inline(always)]
        fn suits_vectors<T: Real>(op: ScalarOp, a: &[T]) -> bool {
            match op {
                $( $( $( ScalarOp::$U => {
                    let mut suits = true;
                    for x in a {
                        let $uwx = *x;
                        suits &= $uwithin;
                    }
                    suits
                } )? )? )+
                _ => true,
            }
        }

        /// Calls `callback!` with a row `[docs] method Variant;` for each operation of two arguments.
        #[macro_export]
        macro_rules! binary_methods {
            ($d callback:ident) => {
                $d callback! { $( [$(#[doc = $bdoc])*] $bmethod $B; )+ }
            };
        }

        /// Calls `callback!` with a row `[docs] method Variant;` for each operation of three arguments.
        #[macro_export]
        macro_rules! ternary_methods {
            ($d callback:ident) => {
                $d callback! { $( [$(#[doc = $tdoc])*] $tmethod $T; )+ }
            };
        }

        /// Calls `callback!` with a row `[docs] method (parameter: type);` for each unary operation.
        #[macro_export]
        macro_rules! unary_methods {
            ($d callback:ident) => {
                $d callback! { $( [$(#[doc = $udoc])*] $umethod $(($up: $upt))?; )+ }
            };
        }
    };

    (@samples $all:ident, $U:ident) => { $all.push(Self::$U); };
    (@samples $all:ident, $U:ident, i32) => {
        $all.extend([-3, -2, -1, 0, 1, 2, 3, 4, 7].map(Self::$U));
    };
    (@samples $all:ident, $U:ident, u32) => { $all.extend([0, 1, 2, 5].map(Self::$U)); };
}

const REAL: Domain = Domain::new(&[(-3.0, 3.0), (-3.0, 3.0), (-3.0, 3.0)], &[0.0, 1.0, -1.0]);
const POSITIVE: Domain = Domain::new(&[(1e-2, 4.0), (1e-2, 4.0)], &[1.0, 1e-6, 1e6]);
const NONZERO: Domain = Domain::new(&[(-3.0, 3.0), (0.5, 3.0)], &[1.0, -1.0]);
/// Angles of several turns.
const ANGLE: Domain = Domain::new(
    &[(-20.0, 20.0)],
    &[
        0.0, 0.5, -1e3, 8191.0, 1e4, 65535.0, -1e5, 1e7, -1e9, 1e20, 3.4e38,
    ],
)
.scale(1.0);
/// From minus one to one.
const COSINE: Domain = Domain::new(&[(-0.99, 0.99)], &[0.0, 1.0, -1.0, 0.5, -0.5, 1e-6]);
/// Where exponentials are of use.
const EXPONENT: Domain = Domain::new(&[(-10.0, 10.0)], &[0.0, 1.0, -80.0, 80.0, 1e-6, -1e-3]);

scalar_ops! {
    ($, #[cube], math, rounding)
    unary {
        /// The opposite, $-x$.
        Neg => negate, Notation::Prefix("-"),
            domain: REAL,
            host: |x| -x,
            tile: |x| -x,
            grad: |x, y| Expr::constant(-1.0),
            bounds: |a| a.negated(),
            cube: |x| -x;

        /// The same value, rounded before anything else is done with it. Without this, a product that is added to
        /// something is not rounded on devices with fused multiplication and addition. The difference of two rounded
        /// scores is that of the scores as they are, however large these are.
        Rounded => rounded, Notation::Call,
            domain: REAL,
            host: |x| x,
            tile: |x| x,
            grad: |x, y| Expr::constant(1.0),
            bounds: |a| a.clone(),
            cube: |x| math::rounded(x, math);

        /// The square, $x^2$.
        Square => square, Notation::Call,
            domain: REAL,
            host: |x| x * x,
            tile: |x| x * x,
            grad: |x, y| 2.0 * x.clone(),
            bounds: |a| rounding.square(a),
            cube: |x| x * x;

        /// The integer power $x^n$ by repeated multiplication; any base, $x^0 = 1$.
        Powi(n: i32) => powi, Notation::Call,
            domain: NONZERO,
            host: |x| x.powi(n),
            grad: |x, y| match n {
                0 => Expr::constant(0.0),
                1 => Expr::constant(1.0),
                2 => 2.0 * x.clone(),
                _ => n as f64 * x.powi(n - 1),
            },
            bounds: |a| rounding.powi(a, n),
            cube: |x| math::powi(x, n);

        /// The square root; NaN below zero. Its derivative at zero is defined as 0, so that norms
        /// can be differentiated at the origin.
        Sqrt => sqrt, Notation::Call,
            domain: POSITIVE,
            host: |x| x.sqrt(),
            tile: |x| x.sqrt(),
            grad: |x, y| 0.5 * x.rsqrt(),
            bounds: |a| rounding.increasing_within(a, 2.5, Expr::sqrt),
            cube: |x| x.sqrt();

        /// The reciprocal square root $x^{-1/2}$; defined as 0 at zero, NaN below.
        Rsqrt => rsqrt, Notation::Call,
            domain: POSITIVE,
            host: |x| if x == 0.0 { 0.0 } else { 1.0 / x.sqrt() },
            tile: |x| lane::rsqrt(x),
            grad: |x, y| -0.5 * y.powi(3),
            bounds: |a| rounding.rsqrt(a),
            cube: |x| math::rsqrt(x);

        /// The cube root, of any sign. Its derivative at zero is defined as 0.
        Cbrt => cbrt, Notation::Call,
            domain: Domain::new(&[(-3.0, 3.0)], &[0.0, 1.0, -1.0, 27.0, 1e-6, 1e6, 1e-30, -1e30]),
            host: |x| x.cbrt(),
            // The square of the reciprocal root of the square is 0 at 0.
            grad: |x, y| (1.0 / 3.0) * y.square().rsqrt().square(),
            bounds: |a| rounding.increasing(a, 1.0, Expr::cbrt),
            cube: |x| elementary::cbrt(x, math);

        /// The reciprocal $1 / x$.
        Recip => recip, Notation::Call,
            domain: NONZERO,
            host: |x| 1.0 / x,
            tile: |x| T::ONE / x,
            grad: |x, y| -y.square(),
            bounds: |a| rounding.recip(a),
            cube: |x| math::constant_vector::<F, N>(1.0) / x;

        /// The absolute value; its derivative at zero is 0.
        Abs => abs, Notation::Call,
            domain: REAL,
            host: |x| x.abs(),
            tile: |x| x.abs(),
            grad: |x, y| x.sign(),
            bounds: |a| a.abs(),
            cube: |x| x.abs();

        /// The sign: -1, 0 or 1; NaN for NaN. Its derivative is 0.
        Sign => sign, Notation::Call,
            domain: REAL.jumping(),
            host: |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x },
            tile: |x| lane::sign(x),
            grad: |x, y| Expr::constant(0.0),
            bounds: |a| a.map(Expr::sign),
            cube: |x| math::sign(x);

        /// The exponential $e^x$. In F32, on a CPU and on CUDA, the argument may be rounded once more where it
        /// is the result of arithmetic that rounds.
        Exp => exp, Notation::Call,
            domain: EXPONENT,
            host: |x| x.exp(),
            tile: |x| x.exp(math),
            grad: |x, y| y.clone(),
            bounds: |a| rounding.exp(a),
            cube: |x| math::exp(x, math);

        /// The power $2^x$, exact for integers. In F32 on a CPU a polynomial whose results below $2^{-126}$ are 0
        /// or lose precision; on CUDA the card's instruction.
        Exp2 => exp2, Notation::Call,
            domain: EXPONENT,
            host: |x| x.exp2(),
            tile: |x| x.exp2(math),
            grad: |x, y| std::f64::consts::LN_2 * y.clone(),
            bounds: |a| rounding.exp2(a),
            cube: |x| elementary::exp2(x, math);

        /// The natural logarithm; $-\infty$ at zero, NaN below.
        Log => log, Notation::Call,
            domain: POSITIVE,
            host: |x| x.ln(),
            tile: |x| x.log(math),
            grad: |x, y| x.recip(),
            bounds: |a| rounding.increasing_within(a, 1.3, Expr::log),
            cube: |x| elementary::log(x, math);

        /// The logarithm to base 2, exact for powers of 2; $-\infty$ at zero, NaN below.
        Log2 => log2, Notation::Call,
            domain: POSITIVE,
            host: |x| x.log2(),
            grad: |x, y| std::f64::consts::LOG2_E * x.recip(),
            bounds: |a| rounding.increasing_within(a, 1.4, Expr::log2),
            cube: |x| elementary::log2(x, math);

        /// The logarithm to base 10; $-\infty$ at zero, NaN below.
        Log10 => log10, Notation::Call,
            domain: POSITIVE,
            host: |x| x.log10(),
            grad: |x, y| std::f64::consts::LOG10_E * x.recip(),
            bounds: |a| rounding.increasing_within(a, 1.6, Expr::log10),
            cube: |x| elementary::log10(x, math);

        /// $e^x - 1$, exact for small $x$.
        Expm1 => expm1, Notation::Call,
            domain: EXPONENT,
            host: |x| x.exp_m1(),
            tile: |x| x.expm1(math),
            grad: |x, y| x.exp(),
            bounds: |a| rounding.expm1(a),
            cube: |x| elementary::expm1(x, math);

        /// $\log(1 + x)$, exact for small $x$; $-\infty$ at -1, NaN below.
        Log1p => log1p, Notation::Call,
            domain: Domain::new(&[(-0.9, 4.0)], &[0.0, 1e-6, -1e-6, 1e6, -1.0]),
            host: |x| x.ln_1p(),
            tile: |x| lane::log1p(math, x),
            grad: |x, y| (1.0 + x.clone()).recip(),
            bounds: |a| rounding.increasing_within(a, 1.5, Expr::log1p),
            cube: |x| elementary::log1p(x, math);

        /// $x \log x$; 0 at 0, NaN below. Its derivative at 0 is defined as 0.
        Xlogx => xlogx, Notation::Call,
            domain: POSITIVE,
            host: |x| if x == 0.0 { 0.0 } else { x * x.ln() },
            tile: |x| lane::xlogx(math, x),
            grad: |x, y| (x.log() + 1.0).zero_where(&x.equal_to(0.0)),
            bounds: |a| rounding.xlogx(a),
            cube: |x| select_many(
                x.equal(&math::constant_vector::<F, N>(0.0)),
                math::constant_vector::<F, N>(0.0),
                x * elementary::log(x, math)
            );

        /// The sine of an angle in radians. In F32 the error is below $1.2 \cdot 10^{-7}$ for every finite angle, and
        /// below $3 \cdot 10^{-7}$ as a shader. Angles from $2^{16}$ on, or from $2^{13}$ on where products are
        /// rounded, are reduced with integers (Payne and Hanek, 1983), on a CPU by the host's function, in a branch
        /// that other angles do not take. NaN for infinite angles.
        Sin => sin, Notation::Call,
            domain: ANGLE,
            host: |x| x.sin(),
            tile: |x| x.sin(math),
            within: |x| x.abs() < T::LARGE_ANGLE,
            grad: |x, y| x.cos(),
            bounds: |a| rounding.wave(a, 0.25, Expr::sin),
            cube: |x| elementary::sin(x, math);

        /// The cosine of an angle in radians, of any size as for `sin`.
        Cos => cos, Notation::Call,
            domain: ANGLE,
            host: |x| x.cos(),
            tile: |x| x.cos(math),
            within: |x| x.abs() < T::LARGE_ANGLE,
            grad: |x, y| -x.sin(),
            bounds: |a| rounding.wave(a, 0.0, Expr::cos),
            cube: |x| elementary::cos(x, math);

        /// The tangent of an angle in radians, of any size as for `sin`.
        Tan => tan, Notation::Call,
            domain: Domain::new(&[(-1.4, 1.4)], &[0.0, 0.5, 4.0, 1e7, -1e9, 1e20]).scale(1.0),
            host: |x| x.tan(),
            grad: |x, y| 1.0 + y.square(),
            bounds: |a| rounding.tan(a),
            cube: |x| elementary::tan(x, math);

        /// The arc sine, from $-\pi/2$ to $\pi/2$; NaN outside of -1 to 1. Its derivative at -1 and 1 is defined as
        /// 0.
        Asin => asin, Notation::Call,
            domain: COSINE,
            host: |x| x.asin(),
            grad: |x, y| (1.0 - x.square()).rsqrt(),
            bounds: |a| rounding.increasing_within(a, 2.1, Expr::asin),
            cube: |x| elementary::asin(x, math);

        /// The arc cosine, from 0 to $\pi$; NaN outside of -1 to 1. Its derivative at -1 and 1 is defined as 0.
        Acos => acos, Notation::Call,
            domain: COSINE.scale(1.0),
            host: |x| x.acos(),
            grad: |x, y| -(1.0 - x.square()).rsqrt(),
            bounds: |a| rounding.acos(a),
            cube: |x| elementary::acos(x, math);

        /// The arc tangent, from $-\pi/2$ to $\pi/2$.
        Atan => atan, Notation::Call,
            domain: Domain::new(&[(-5.0, 5.0)], &[0.0, 1.0, -1.0, 1e-6, 1e6]),
            host: |x| x.atan(),
            grad: |x, y| (1.0 + x.square()).recip(),
            bounds: |a| rounding.increasing(a, 1.3, Expr::atan),
            cube: |x| elementary::atan(x, math);

        /// The hyperbolic sine.
        Sinh => sinh, Notation::Call,
            domain: EXPONENT,
            host: |x| x.sinh(),
            tile: |x| lane::sinh(math, x),
            grad: |x, y| x.cosh(),
            bounds: |a| rounding.increasing(a, 3.6, Expr::sinh),
            cube: |x| elementary::sinh(x, math);

        /// The hyperbolic cosine.
        Cosh => cosh, Notation::Call,
            domain: EXPONENT,
            host: |x| x.cosh(),
            tile: |x| lane::cosh(math, x),
            grad: |x, y| x.sinh(),
            bounds: |a| rounding.increasing(&a.abs(), 3.6, Expr::cosh),
            cube: |x| elementary::cosh(x, math);

        /// The hyperbolic tangent.
        Tanh => tanh, Notation::Call,
            domain: EXPONENT,
            host: |x| x.tanh(),
            tile: |x| x.tanh(math),
            grad: |x, y| 1.0 - y.square(),
            bounds: |a| rounding.increasing(a, 1.1, Expr::tanh),
            cube: |x| elementary::tanh(x, math);

        /// The inverse hyperbolic cosine, at least 0; NaN below 1, where its derivative is defined as 0.
        Acosh => acosh, Notation::Call,
            domain: Domain::new(&[(1.0, 8.0)], &[1.0, 1.000001, 2.0, 1e6, 1e30]),
            // libm 0.2.16 has finite values for some numbers below -2.
            host: |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) },
            // Two roots, as the square of a large number is infinite.
            grad: |x, y| (x.clone() - 1.0).rsqrt() * (x.clone() + 1.0).rsqrt(),
            bounds: |a| rounding.acosh(a),
            cube: |x| elementary::acosh(x, math);

        /// The inverse hyperbolic sine.
        Asinh => asinh, Notation::Call,
            domain: Domain::new(&[(-8.0, 8.0)], &[0.0, 1.0, -1.0, 1e-6, 1e6, -1e30, 1e-30]),
            host: |x| libm::asinh(x),
            grad: |x, y| x.compare(ScalarOp::Hypot, &Expr::constant(1.0)).recip(),
            bounds: |a| rounding.increasing(a, 1.5, Expr::asinh),
            cube: |x| elementary::asinh(x, math);

        /// The inverse hyperbolic tangent; infinite at -1 and 1, NaN outside.
        Atanh => atanh, Notation::Call,
            domain: Domain::new(&[(-0.99, 0.99)], &[0.0, 0.5, -0.5, 1e-6, 0.9999999, 1.0, -1.0]),
            host: |x| libm::atanh(x),
            grad: |x, y| ((1.0 - x.clone()) * (1.0 + x.clone())).recip(),
            bounds: |a| rounding.increasing_within(a, 1.7, Expr::atanh),
            cube: |x| elementary::atanh(x, math);

        /// The logistic function $1 / (1 + e^{-x})$.
        Sigmoid => sigmoid, Notation::Call,
            domain: EXPONENT,
            host: |x| 1.0 / (1.0 + (-x).exp()),
            tile: |x| lane::sigmoid(math, x),
            grad: |x, y| y.clone() * (-x.clone()).sigmoid(),
            bounds: |a| rounding.rising(a, 1.7, Expr::sigmoid),
            cube: |x| elementary::sigmoid(x, math);

        /// $\log(1 + e^x)$.
        Softplus => softplus, Notation::Call,
            domain: EXPONENT,
            host: |x| if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() },
            tile: |x| lane::softplus(math, x),
            grad: |x, y| x.sigmoid(),
            bounds: |a| rounding.rising(a, 2.2, Expr::softplus),
            cube: |x| elementary::softplus(x, math);

        /// The error function $\frac{2}{\sqrt\pi} \int_0^x e^{-t^2} dt$.
        Erf => erf, Notation::Call,
            domain: Domain::new(&[(-4.5, 4.5)], &[0.0, 0.9, -0.9, 1e-6, 2.0, 3.5, 6.0]),
            host: |x| libm::erf(x),
            tile: |x| x.erf(math),
            grad: |x, y| std::f64::consts::FRAC_2_SQRT_PI * (-x.square()).exp(),
            bounds: |a| rounding.increasing(a, 1.4, Expr::erf),
            cube: |x| elementary::erf(x, math);

        /// The complement of the error function, $1 - \mathrm{erf}\, x$, with an error relative to the value
        /// also where that is tiny.
        Erfc => erfc, Notation::Call,
            domain: Domain::new(&[(-4.5, 9.0)], &[0.0, 0.5, -0.5, 1e-6, 0.51, 2.0, 6.0, -20.0]),
            host: |x| libm::erfc(x),
            grad: |x, y| -std::f64::consts::FRAC_2_SQRT_PI * (-x.square()).exp(),
            bounds: |a| rounding.erfc(a),
            cube: |x| special::erfc(x, math);

        /// The logarithm of the absolute value of the gamma function, $\log |\Gamma(x)|$; infinite at 0, -1, -2
        /// and so on. For negative arguments the error is in units of the largest of 1, the value and
        /// $\log \Gamma(|x|)$: between the poles are zeros whose digits cancel.
        Lgamma => lgamma, Notation::Call,
            domain: Domain::new(
                &[(0.01, 12.0)],
                &[0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 1.000001, 1.999999, 1e-6, 30.0, 1e6, 1e30, -0.25, -0.5, -1.5]
            ),
            host: |x| libm::lgamma(x),
            grad: |x, y| x.digamma(),
            bounds: |a| rounding.lgamma(a),
            cube: |x| special::lgamma(x, math);

        /// The polygamma function $\psi^{(n)}$, the derivative of order $n + 1$ of $\log \Gamma$; `digamma` for
        /// $n = 0$. At negative integers NaN for even $n$, $\infty$ for odd $n$. In F32 for $n$ up to 30; for
        /// negative arguments of even $n$ the error is in units of the largest of 1 and the parts that cancel.
        Polygamma(n: u32) => polygamma, Notation::Call,
            domain: Domain::new(&[(0.05, 8.0)], &[1.0, 2.0, 3.0, 30.0, 1e-3, 1.4616321, -0.5, -1.5, -2.25, 1e6])
                .scale(if n == 0 { 1.0 } else { 0.0 }),
            host: |x| polygamma(n, x),
            grad: |x, y| x.polygamma(n + 1),
            bounds: |a| rounding.polygamma(a, n),
            cube: |x| special::polygamma(x, n, math);

        /// The spherical Bessel function $j_n$; `sinxdivx` and its derivatives.
        SphericalBessel(n: u32) => spherical_bessel, Notation::Call,
            domain: Domain::new(&[(-12.0, 12.0)], &[0.0, 1.0, -1.0, 1e-3, 2.0, 3.0]).scale(1.0),
            host: |x| spherical_bessel(n, x),
            grad: |x, y| match n {
                0 => -x.spherical_bessel(1),
                _ => (n as f64 * x.spherical_bessel(n - 1)
                    - (n + 1) as f64 * x.spherical_bessel(n + 1)) / (2 * n + 1) as f64,
            },
            bounds: |a| rounding.spherical_bessel(a, n),
            cube: |x| elementary::spherical_bessel(x, n, math);

        /// The Matérn function of order $n$ of a square $x = s^2 \ge 0$: $e^{-s}$ for $n = 0$, $(1 + s) e^{-s}$ for
        /// $n = 1$, $(1 + s + s^2 / 3) e^{-s}$ for $n = 2$; NaN below 0. Its derivative is $-1 / (4 n - 2)$ times the
        /// function of order $n - 1$, so that derivatives by points exist where points coincide. The derivative of
        /// order 0 at 0 is infinite, and defined as 0.
        Matern(n: u32) => matern, Notation::Call,
            domain: Domain::new(&[(1e-2, 9.0)], &[0.0, 1.0, 1e-6, 100.0]),
            host: |x| {
                let s = if x > 1e12 { 1e6 } else { x.sqrt() };
                matern_coefficients(n).iter().rev().fold(0.0, |sum, c| sum * s + c) * (-s).exp()
            },
            grad: |x, y| match n {
                0 => -0.5 * (y.clone() * x.rsqrt()),
                _ => (-1.0 / (4.0 * n as f64 - 2.0)) * x.matern(n - 1),
            },
            bounds: |a| rounding.matern(a, n),
            cube: |x| elementary::matern(x, n, math);

        /// 0 below zero, 1 from zero on; NaN for NaN. Its derivative is 0.
        Step => step, Notation::Call,
            domain: REAL.jumping(),
            host: |x| if x >= 0.0 { 1.0 } else if x < 0.0 { 0.0 } else { x },
            tile: |x| lane::step(x),
            grad: |x, y| Expr::constant(0.0),
            bounds: |a| a.map(Expr::step),
            cube: |x| math::step(x);

        /// The positive part, $\max(x, 0)$; NaN for NaN. Its derivative at 0 is 0.
        Relu => relu, Notation::Call,
            domain: REAL,
            host: |x| if x < 0.0 { 0.0 } else { x },
            tile: |x| if x < T::ZERO { T::ZERO } else { x },
            grad: |x, y| Expr::scalar(ScalarOp::Greater, vec![x.clone(), Expr::constant(0.0)]),
            bounds: |a| a.map(Expr::relu),
            cube: |x| select_many(
                x.less_than(&math::constant_vector::<F, N>(0.0)),
                math::constant_vector::<F, N>(0.0),
                x
            );

        /// The nearest integer; of two that are equally near, the even one. Its derivative is 0.
        Round => round, Notation::Call,
            domain: REAL.jumping(),
            host: |x| x.round_ties_even(),
            tile: |x| x.round(),
            grad: |x, y| Expr::constant(0.0),
            bounds: |a| a.map(Expr::round),
            cube: |x| x.round();

        /// A power of $2^{32}$ near $|x|$: $2^{32 k}$ with an integer $k$ such that $|x| / 2^{32 k}$ is between
        /// $2^{-16}$ and $2^{16}$; 1 at 0 and infinities, NaN for NaN. At the ends of the range it is the last power
        /// whose reciprocal is normal, $2^{\pm 96}$ in F32, $2^{\pm 992}$ in F64. Products and quotients with it are
        /// exact, and the squares of numbers that are divided by it stay within the range. Its derivative is 0.
        Magnitude => magnitude, Notation::Call,
            domain: Domain::new(&[(-3.0, 3.0)], &[0.0, 1.0, 1e-5, -1e6, 1e20, 1e-20, -3e25, 3e-25]).jumping(),
            host: |x| magnitude(x),
            tile: |x| lane::magnitude(x),
            grad: |x, y| Expr::constant(0.0),
            bounds: |a| rounding.magnitude(a),
            cube: |x| elementary::magnitude(x, math);

        /// The next integer that is not larger. Its derivative is 0.
        Floor => floor, Notation::Call,
            domain: REAL.jumping(),
            host: |x| x.floor(),
            tile: |x| x.floor(),
            grad: |x, y| Expr::constant(0.0),
            bounds: |a| a.map(Expr::floor),
            cube: |x| x.floor();

        /// The next integer that is not smaller. Its derivative is 0.
        Ceil => ceil, Notation::Call,
            domain: REAL.jumping(),
            host: |x| x.ceil(),
            tile: |x| x.ceil(),
            grad: |x, y| Expr::constant(0.0),
            bounds: |a| a.map(Expr::ceil),
            cube: |x| x.ceil();
    }
    binary {
        /// The sum $a + b$.
        Add => add, Notation::Infix("+"),
            domain: REAL,
            host: |a, b| a + b,
            tile: |a, b| a + b,
            grad: |a, b, y| [Expr::constant(1.0), Expr::constant(1.0)],
            bounds: |a, b| rounding.add(a, b),
            cube: |a, b| a + b;

        /// The difference $a - b$.
        Sub => sub, Notation::Infix("-"),
            domain: REAL,
            host: |a, b| a - b,
            tile: |a, b| a - b,
            grad: |a, b, y| [Expr::constant(1.0), Expr::constant(-1.0)],
            bounds: |a, b| rounding.add(a, &b.negated()),
            cube: |a, b| a - b;

        /// The product $a b$.
        Mul => mul, Notation::Infix("*"),
            domain: REAL,
            host: |a, b| a * b,
            tile: |a, b| a * b,
            grad: |a, b, y| [b.clone(), a.clone()],
            bounds: |a, b| rounding.mul(a, b, |a, b| a.clone() * b.clone()),
            cube: |a, b| a * b;

        /// The product $a b$, but 0 where $a$ is 0, even if $b$ is infinite or NaN (a "strong zero"). Derivatives use
        /// it, so that what does not matter to a value does not matter to its derivative.
        StrongMul => strong_mul, Notation::Call,
            domain: REAL,
            host: |a, b| if a == 0.0 { 0.0 } else { a * b },
            tile: |a, b| lane::strong_mul(a, b),
            grad: |a, b, y| [b.clone(), a.clone()],
            bounds: |a, b| rounding.mul(a, b, |a, b| a.compare(ScalarOp::StrongMul, b)),
            cube: |a, b| math::strong_mul::<F, N>(a, b, false, math);

        /// The product $a b$ with a value $b$ that is often close to 0. Kernels for CPUs and the host replace it by 0
        /// where it is less than $2^{16}$ times the least normal number, because a CPU takes tens of times as long for
        /// numbers that are not normal, and products with the result are to be normal, too. Derivatives multiply
        /// cotangents by exponentials with it.
        FlushedMul => flushed_mul, Notation::Call,
            domain: REAL,
            host: |a, b| a * b,
            tile: |a, b| a * lane::flushed(b, a),
            grad: |a, b, y| [b.clone(), a.clone()],
            bounds: |a, b| rounding.mul(a, b, |a, b| a.clone() * b.clone()).or_zero(),
            cube: |a, b| a * math::flushed::<F, N>(b, a, math);

        /// The strong product of a cotangent $a$ and a value $b$ that is often close to 0. Small products are replaced by
        /// 0 like those of `flushed_mul`.
        StrongFlushedMul => strong_flushed_mul, Notation::Call,
            domain: REAL,
            host: |a, b| if a == 0.0 { 0.0 } else { a * b },
            tile: |a, b| lane::strong_mul(a, lane::flushed(b, a)),
            grad: |a, b, y| [b.clone(), a.clone()],
            bounds: |a, b| rounding.mul(a, b, |a, b| a.compare(ScalarOp::StrongMul, b)).or_zero(),
            cube: |a, b| math::strong_mul::<F, N>(a, b, true, math);

        /// The quotient $a / b$. If it is computed for each pair and $b$ does not depend on both axes, it is the
        /// product with the reciprocal of $b$, which is infinite for $|b| < 2.9 \cdot 10^{-39}$ in F32.
        Div => div, Notation::Infix("/"),
            domain: NONZERO,
            host: |a, b| a / b,
            tile: |a, b| a / b,
            grad: |a, b, y| [b.recip(), -(y.clone() / b.clone())],
            bounds: |a, b| rounding.div(a, b),
            cube: |a, b| a / b;

        /// The larger of two values; NaN if either is. At ties both derivatives are 1/2.
        Maximum => maximum, Notation::Call,
            domain: REAL,
            host: |a, b| if a > b || a.is_nan() { a } else { b },
            tile: |a, b| lane::maximum(a, b),
            grad: |a, b, y| [above(a, b), above(b, a)],
            bounds: |a, b| a.maximum(b),
            cube: |a, b| math::maximum(a, b);

        /// The smaller of two values; NaN if either is. At ties both derivatives are 1/2.
        Minimum => minimum, Notation::Call,
            domain: REAL,
            host: |a, b| if a < b || a.is_nan() { a } else { b },
            tile: |a, b| lane::minimum(a, b),
            grad: |a, b, y| [above(b, a), above(a, b)],
            bounds: |a, b| a.minimum(b),
            cube: |a, b| math::minimum(a, b);

        /// The power $a^b$; NaN for a negative base, unless the exponent is an integer. 1 for $b = 0$. Derivatives
        /// that are infinite at $a = 0$ although the value is finite are defined as 0.
        Powf => powf, Notation::Infix("**"),
            domain: Domain::new(&[(0.05, 4.0), (-3.0, 3.0)], &[0.0, 1.0, 2.0, -3.0, 1e4]),
            host: |a, b| a.powf(b),
            grad: |a, b, y| [
                // 0 also at b = 0, where a^(b - 1) may be infinite.
                (b.clone() * a.powf(&(b.clone() - 1.0))).zero_where(&steep_power(a, b)),
                (y.clone() * a.log()).zero_where(&a.equal_to(0.0))
            ],
            bounds: |a, b| rounding.powf(a, b),
            cube: |a, b| elementary::powf(a, b, math);

        /// The length of the hypotenuse, $\sqrt{a^2 + b^2}$, without overflow or underflow of the squares;
        /// infinite if a side is. Its derivatives at the origin are defined as 0.
        Hypot => hypot, Notation::Call,
            domain: Domain::new(&[(-3.0, 3.0), (-3.0, 3.0)], &[0.0, 1.0, -1.0, 1e30, -1e-30]),
            host: |a, b| a.hypot(b),
            // Two factors, as the reciprocal of a large number loses digits.
            grad: |a, b, y| [
                a.clone() * y.rsqrt() * y.rsqrt(),
                b.clone() * y.rsqrt() * y.rsqrt()
            ],
            bounds: |a, b| rounding.hypot(a, b),
            cube: |a, b| elementary::hypot(a, b, math);

        /// $\log(e^a + e^b)$; infinities count as they are. At ties, also of infinities, both derivatives are
        /// 1/2.
        Logaddexp => logaddexp, Notation::Call,
            domain: Domain::new(&[(-10.0, 10.0), (-10.0, 10.0)], &[0.0, 1.0, -80.0, 80.0, 1e4]).scale(1.0),
            host: |a, b| if a == b { a + std::f64::consts::LN_2 } else { a.max(b) + (-(a - b).abs()).exp().ln_1p() },
            tile: |a, b| lane::logaddexp(math, a, b),
            grad: |a, b, y| [
                difference_or_tie(a, b).sigmoid(),
                difference_or_tie(b, a).sigmoid()
            ],
            bounds: |a, b| rounding.logaddexp(a, b),
            cube: |a, b| elementary::logaddexp(a, b, math);

        /// The angle of the point $(x, y)$, from $-\pi$ to $\pi$, where this is $y$ and the argument
        /// is $x$. Its derivatives at the origin are defined as 0.
        Atan2 => atan2, Notation::Call,
            domain: Domain::new(&[(-3.0, 3.0), (-3.0, 3.0)], &[0.0, 1.0, -1.0]).scale(1.0),
            host: |y, x| y.atan2(x),
            grad: |a, b, y| [
                b.clone() * inverse_square(a, b),
                -(a.clone() * inverse_square(a, b))
            ],
            bounds: |y, x| rounding.atan2(y, x),
            cube: |y, x| elementary::atan2(y, x, math);

        /// The remainder $x - m \lfloor x / m \rfloor$, with the sign of $m$, as NumPy's `mod`.
        Modulo => modulo, Notation::Infix("mod"),
            domain: Domain::new(&[(-3.0, 3.0), (0.5, 3.0)], &[1.0, -1.0]).jumping().scale(3.0),
            host: |x, m| {
                let rest = x % m;
                if rest != 0.0 && (rest < 0.0) != (m < 0.0) { rest + m } else { rest }
            },
            grad: |x, m, y| [
                Expr::constant(1.0),
                -(x.clone() / m.clone()).floor()
            ],
            bounds: |x, m| rounding.modulo(x, m),
            cube: |x, m| elementary::modulo(x, m);

        /// 1 where a value is equal to another, else 0; 0 if either is NaN. Its derivative is 0.
        Equal => equal, Notation::Infix("=="),
            domain: REAL.jumping(),
            host: |a, b| f64::from(a == b),
            tile: |a, b| lane::truth(a == b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            bounds: |a, b| a.equal(b),
            cube: |a, b| select_many(
                a.equal(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is not equal to another, else 0; 1 if either is NaN. Its derivative is 0.
        NotEqual => not_equal, Notation::Infix("!="),
            domain: REAL.jumping(),
            host: |a, b| f64::from(a != b),
            tile: |a, b| lane::truth(a != b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            bounds: |a, b| a.equal(b).not(),
            cube: |a, b| select_many(
                a.equal(&b),
                math::constant_vector::<F, N>(0.0),
                math::constant_vector::<F, N>(1.0)
            );

        /// 1 where a value is less than another, else 0; 0 if either is NaN. Its derivative is 0.
        Less => less, Notation::Infix("<"),
            domain: REAL.jumping(),
            host: |a, b| f64::from(a < b),
            tile: |a, b| lane::truth(a < b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            bounds: |a, b| a.less(b),
            cube: |a, b| select_many(
                a.less_than(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is at most another, else 0; 0 if either is NaN. Its derivative is 0.
        LessEqual => less_equal, Notation::Infix("<="),
            domain: REAL.jumping(),
            host: |a, b| f64::from(a <= b),
            tile: |a, b| lane::truth(a <= b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            bounds: |a, b| a.less_equal(b),
            cube: |a, b| select_many(
                a.less_equal(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is greater than another, else 0; 0 if either is NaN. Its derivative is 0.
        Greater => greater, Notation::Infix(">"),
            domain: REAL.jumping(),
            host: |a, b| f64::from(a > b),
            tile: |a, b| lane::truth(a > b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            bounds: |a, b| b.less(a),
            cube: |a, b| select_many(
                a.greater_than(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is at least another, else 0; 0 if either is NaN. Its derivative is 0.
        GreaterEqual => greater_equal, Notation::Infix(">="),
            domain: REAL.jumping(),
            host: |a, b| f64::from(a >= b),
            tile: |a, b| lane::truth(a >= b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            bounds: |a, b| b.less_equal(a),
            cube: |a, b| select_many(
                a.greater_equal(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );
    }
    ternary {
        /// The value, or the bound that it exceeds: $\min(\max(x, a), b)$, which is $b$ if $a > b$;
        /// NaN if any is. At the bounds the derivative is that of the value.
        Clamp => clamp, Notation::Call,
            domain: Domain::new(&[(-3.0, 3.0), (-2.0, -0.5), (0.5, 2.0)], &[0.0, 1.0]),
            host: |x, low, high| {
                let x = if x > low || x.is_nan() { x } else { low };
                if x < high || x.is_nan() { x } else { high }
            },
            tile: |x, low, high| lane::minimum(lane::maximum(x, low), high),
            grad: |x, low, high, y| [
                x.compare(ScalarOp::GreaterEqual, low) * x.compare(ScalarOp::LessEqual, high),
                x.compare(ScalarOp::Less, low) * low.compare(ScalarOp::LessEqual, high),
                x.compare(ScalarOp::Greater, high).maximum(&low.compare(ScalarOp::Greater, high))
            ],
            bounds: |x, low, high| x.maximum(low).minimum(high),
            cube: |x, low, high| math::minimum(math::maximum(x, low), high);

        /// `a` where this is at least 0, else `b` (also for NaN). The value that is not taken does not count: it and
        /// its derivatives may be infinite or NaN, and the gradient of its operands is 0 there.
        IfElse => if_else, Notation::Call,
            domain: Domain::new(&[(-3.0, 3.0), (-3.0, 3.0), (-3.0, 3.0)], &[0.0, 1.0]).jumping(),
            host: |x, a, b| if x >= 0.0 { a } else { b },
            tile: |x, a, b| if x >= T::ZERO { a } else { b },
            grad: |x, a, b, y| [
                Expr::constant(0.0),
                Partial::Unless(Expr::scalar(
                    ScalarOp::IfElse,
                    vec![x.clone(), Expr::constant(0.0), Expr::constant(1.0)]
                )),
                Partial::Unless(x.compare(ScalarOp::GreaterEqual, &Expr::constant(0.0)))
            ],
            bounds: |x, a, b| x.if_else(a, b),
            cube: |x, a, b| select_many(
                x.greater_equal(&math::constant_vector::<F, N>(0.0)),
                a,
                b
            );

        /// The value where `mask` is 0, `source` where it is not (as for NaN). The value that is not taken does not
        /// count: it and its derivatives may be infinite or NaN, and the gradient of its operands is 0 there.
        MaskWhere => mask_where, Notation::Call,
            domain: Domain::new(&[(-3.0, 3.0), (0.5, 3.0), (-3.0, 3.0)], &[0.0, 1.0]).jumping(),
            host: |a, mask, source| if mask == 0.0 { a } else { source },
            tile: |a, mask, source| if mask == T::ZERO { a } else { source },
            grad: |a, mask, source, y| [
                Partial::Unless(mask.clone()),
                Expr::constant(0.0),
                Partial::Unless(mask.equal_to(0.0))
            ],
            bounds: |a, mask, source| a.mask_where(mask, source),
            cube: |a, mask, source| select_many(
                mask.equal(&math::constant_vector::<F, N>(0.0)),
                a,
                source
            );

        /// A number that looks random, uniform in $[0, 1)$ in steps of $2^{-24}$: a function of three whole numbers,
        /// such as a seed and the indices of row and column, the same on every device. Arguments are rounded to whole
        /// numbers less than $2^{32}$ in size, and their signs do not count; NaN if any is NaN or infinite. Its
        /// derivative is 0. (The hash function pcg3d of Jarzynski and Olano, "Hash functions for GPU rendering",
        /// 2020.)
        Random => random, Notation::Call,
            domain: Domain::new(
                &[(0.0, 1e6), (0.0, 3e4), (0.0, 3e4)], &[0.0, 1.0, -1.0, 77.0, 16777215.0]
            ).jumping(),
            host: |a, b, c| random::random_on_host([a, b, c]),
            tile: |a, b, c| T::of(random::random_on_host([a.double(), b.double(), c.double()])),
            grad: |a, b, c, y| [Expr::constant(0.0), Expr::constant(0.0), Expr::constant(0.0)],
            bounds: |a, b, c| Interval::random([a, b, c]),
            cube: |a, b, c| random::random(a, b, c, math);
    }
}

/// Applies `op` to each of the arguments on the host; operations of fewer arguments ignore the others.
///
/// An operation without code for vectors is computed in `f64`, value by value, and so are arguments for which this code
/// is not right.
#[inline(always)]
pub(crate) fn apply_on_host<T: Real, M: Arithmetic>(
    op: ScalarOp,
    out: &mut [T],
    args: [&[T]; 3],
    math: M,
) {
    let done = apply_vectors(op, out, args, math);
    if done && suits_vectors(op, args[0]) {
        return;
    }
    let [a, b, c] = args;
    for (k, out) in out.iter_mut().enumerate() {
        if !done || !suits_vectors(op, &a[k..k + 1]) {
            *out = T::of(op.host(&[a[k].double(), b[k].double(), c[k].double()]));
        }
    }
}

impl Expr {
    /// 1 where this is `value`, else 0.
    pub(crate) fn equal_to(&self, value: f64) -> Expr {
        self.compare(ScalarOp::Equal, &Expr::constant(value))
    }

    pub(super) fn compare(&self, op: ScalarOp, other: &Expr) -> Expr {
        Expr::scalar(op, vec![self.clone(), other.clone()])
    }

    /// The value where `mask` is 0, else 0, also where the value is not finite.
    pub(crate) fn zero_where(&self, mask: &Expr) -> Expr {
        let zero = Expr::constant(0.0);
        Expr::scalar(ScalarOp::MaskWhere, vec![self.clone(), mask.clone(), zero])
    }

    pub(super) fn maximum(&self, other: &Expr) -> Expr {
        self.compare(ScalarOp::Maximum, other)
    }

    pub(super) fn minimum(&self, other: &Expr) -> Expr {
        self.compare(ScalarOp::Minimum, other)
    }

    /// The power with an exponent that need not be an integer.
    pub fn powf(&self, exponent: &Expr) -> Expr {
        Expr::scalar(ScalarOp::Powf, vec![self.clone(), exponent.clone()])
    }

    /// The derivative of the logarithm of the gamma function.
    pub fn digamma(&self) -> Expr {
        self.polygamma(0)
    }

    /// $\sin x / x$, 1 at zero.
    pub fn sinxdivx(&self) -> Expr {
        self.spherical_bessel(0)
    }
}

/// 1 where $a > b$, 1/2 where they are equal, else 0.
fn above(a: &Expr, b: &Expr) -> Expr {
    0.5 * (a.compare(ScalarOp::Greater, b) + a.compare(ScalarOp::GreaterEqual, b))
}

/// Not 0 where the derivative of $a^b$ by $a$ is taken as 0, though $b a^{b - 1}$ is not.
fn steep_power(a: &Expr, b: &Expr) -> Expr {
    let zero = Expr::constant(0.0);
    let root =
        b.compare(ScalarOp::Greater, &zero) * b.compare(ScalarOp::Less, &Expr::constant(1.0));
    b.equal_to(0.0) + root * a.equal_to(0.0)
}

/// $1 / (a^2 + b^2)$, 0 where that is infinite.
fn inverse_square(a: &Expr, b: &Expr) -> Expr {
    (a.square() + b.square()).rsqrt().square()
}

/// $a - b$, 0 where they are equal infinities.
fn difference_or_tie(a: &Expr, b: &Expr) -> Expr {
    let difference = a.clone() - b.clone();
    // NaN is not equal to itself. Finite ties are left alone, as the derivative there is not 0.
    let undefined = difference.compare(ScalarOp::NotEqual, &difference);
    difference.zero_where(&(undefined * a.compare(ScalarOp::Equal, b)))
}

/// $x + k$, which for $k = 0$ keeps the sign of a zero $x$.
fn shifted(x: f64, k: u32) -> f64 {
    if k == 0 { x } else { x + k as f64 }
}

/// $\psi^{(n)}(x)$ by recurrence and an asymptotic expansion.
fn polygamma(n: u32, x: f64) -> f64 {
    if x < 0.0 {
        let (sin, cos) = (std::f64::consts::PI * (x - x.round())).sin_cos();
        // A pole. On its two sides are infinities of opposite signs for even `n`, and of the same sign for odd `n`.
        if sin == 0.0 {
            return if n.is_multiple_of(2) {
                f64::NAN
            } else {
                f64::INFINITY
            };
        }
        let cotangent = cos / sin;
        let coefficients = cotangent_derivative(n);
        let p = coefficients
            .iter()
            .rev()
            .fold(0.0, |sum, c| sum * cotangent + c);
        let value = polygamma(n, 1.0 - x);
        return if n.is_multiple_of(2) {
            value - p
        } else {
            -value - p
        };
    }
    let tail = |z: f64, rest: &[f64]| rest.iter().rev().fold(0.0, |sum, c| sum * z * z + c) * z * z;
    if n == 0 {
        // The coefficients of order 1, integrated.
        let rest = Expansion::new(1, true).rest;
        let rest = rest
            .iter()
            .enumerate()
            .map(|(k, c)| c / (2 * (k + 1)) as f64);
        let w = x + 15.0;
        let sum: f64 = (0..15).rev().map(|k| 1.0 / shifted(x, k)).sum();
        return w.ln() - 0.5 / w - tail(1.0 / w, &rest.collect::<Vec<_>>()) - sum;
    }
    let expansion = Expansion::new(n, true);
    let power = -(n as i32);
    let terms = (0..expansion.terms).rev();
    let sum: f64 = terms.map(|k| shifted(x, k).powi(power - 1)).sum();
    let w = x + expansion.terms as f64;
    let rest = 1.0 / n as f64 + 0.5 / w + tail(1.0 / w, &expansion.rest);
    (sum + w.powi(power) * rest) * expansion.factor
}

/// The power of $2^{32}$ near $|x|$.
fn magnitude(x: f64) -> f64 {
    if x == 0.0 || x.is_infinite() {
        return 1.0;
    }
    if x.is_nan() {
        return x;
    }
    let exponent = (x.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    2f64.powi(32 * (exponent + 16).div_euclid(32).clamp(-31, 31))
}

/// $j_n(x)$: a series near zero, the recurrence upwards elsewhere.
fn spherical_bessel(n: u32, x: f64) -> f64 {
    if x.is_infinite() {
        return 0.0;
    }
    if x.abs() < n as f64 + 2.0 {
        let first: f64 = (0..n).map(|k| x / (2 * k + 3) as f64).product();
        let mut term = first;
        let mut sum = first;
        for k in 1..40 {
            term *= -0.5 * x * x / (k as f64 * (2 * n + 2 * k + 1) as f64);
            sum += term;
        }
        return sum;
    }
    let (mut last, mut value) = (x.cos() / x, x.sin() / x);
    for k in 0..n {
        (last, value) = (value, (2 * k + 1) as f64 / x * value - last);
    }
    value
}
