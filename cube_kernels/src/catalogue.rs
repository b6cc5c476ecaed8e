//! The catalogue of scalar functions: one row defines an operation completely.
//!
//! A row holds the name, the notation, the sample domain of the tests, the host reference in `f64`,
//! the partial derivatives as expressions and the kernel code. From the rows come the
//! [`ScalarOp`] enum, the methods of [`Expr`], the evaluation in kernels and on the host, the
//! derivative rules, the methods of the user-facing tensor type (through `unary_methods!`) and the
//! list that the tests walk. Adding an operation is adding a row.
//!
//! Operations that change the inner dimension are composed of the nodes of
//! [`Node`](crate::expr::Node), or are nodes themselves.

use std::fmt;

use cubecl::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    expr::Expr,
    kernel::math::{self, Math},
};

/// How an operation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// `name(x)`.
    Call,
    /// `(x + y)`.
    Infix(&'static str),
    /// `-x`.
    Prefix(&'static str),
}

/// Where an operation is sampled by tests: an interval for each argument, and singular points of
/// the first argument at which the value is still defined.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// Sampled intervals, one for each argument.
    pub intervals: &'static [(f64, f64)],
    /// Further values of every argument, such as zero, at which only the value is compared.
    pub edges: &'static [f64],
}

/// What is known of the sign of a value that is not NaN; that of a zero counts, as its reciprocal is
/// an infinity of that sign.
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

impl ScalarOp {
    /// The sign of the result, where it follows from those of the arguments; knowing it saves work
    /// in the kernels of some functions.
    pub fn sign_of(&self, args: &[Sign]) -> Sign {
        match self {
            Self::Square | Self::Abs | Self::Exp | Self::Rsqrt => Sign::NonNegative,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual => Sign::NonNegative,
            // The root of -0 is -0.
            Self::Sqrt if args[0] == Sign::NonNegative => Sign::NonNegative,
            Self::Powi(n) if n % 2 == 0 => Sign::NonNegative,
            Self::Powi(_) | Self::Recip => args[0],
            Self::Neg => -args[0],
            Self::Add if args[0] == args[1] => args[0],
            Self::Sub if args[0] == -args[1] => args[0],
            Self::Mul | Self::Div => match (args[0], args[1]) {
                (Sign::Unknown, _) | (_, Sign::Unknown) => Sign::Unknown,
                (a, b) if a == b => Sign::NonNegative,
                _ => Sign::NonPositive,
            },
            _ => Sign::Unknown,
        }
    }
}

macro_rules! scalar_ops {
    (
        ($d:tt, $hash:tt $cube:tt, $math:ident)
        unary { $(
            $(#[$udoc:meta])*
            $U:ident $(($up:ident : $upt:ty))? => $umethod:ident, $unotation:expr,
                domain: $udomain:expr,
                host: |$ux:ident| $uhost:expr,
                grad: |$ugx:ident, $ugy:ident| $ugrad:expr,
                cube: |$ucx:ident| $ucube:expr;
        )+ }
        binary { $(
            $(#[$bdoc:meta])*
            $B:ident => $bmethod:ident, $bnotation:expr,
                domain: $bdomain:expr,
                host: |$ba:ident, $bb:ident| $bhost:expr,
                grad: |$bga:ident, $bgb:ident, $bgy:ident| [$bgrada:expr, $bgradb:expr],
                cube: |$bca:ident, $bcb:ident| $bcube:expr;
        )+ }
        ternary { $(
            $(#[$tdoc:meta])*
            $T:ident => $tmethod:ident, $tnotation:expr,
                domain: $tdomain:expr,
                host: |$ta:ident, $tb:ident, $tc:ident| $thost:expr,
                grad: |$tga:ident, $tgb:ident, $tgc:ident, $tgy:ident|
                    [$tgrada:expr, $tgradb:expr, $tgradc:expr],
                cube: |$tca:ident, $tcb:ident, $tcc:ident| $tcube:expr;
        )+ }
    ) => {
        /// A scalar function, applied component by component.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ScalarOp {
            $( $(#[$udoc])* $U $(($upt))?, )+
            $( $(#[$bdoc])* $B, )+
            $( $(#[$tdoc])* $T, )+
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
            pub fn partials(&self, args: &[Expr], y: &Expr) -> Vec<Expr> {
                match *self {
                    $( Self::$U $(($up))? => {
                        let ($ugx, $ugy) = (&args[0], y);
                        let _ = ($ugx, $ugy);
                        vec![$ugrad]
                    } )+
                    $( Self::$B => {
                        let ($bga, $bgb, $bgy) = (&args[0], &args[1], y);
                        let _ = ($bga, $bgb, $bgy);
                        vec![$bgrada, $bgradb]
                    } )+
                    $( Self::$T => {
                        let ($tga, $tgb, $tgc, $tgy) = (&args[0], &args[1], &args[2], y);
                        let _ = ($tga, $tgb, $tgc, $tgy);
                        vec![$tgrada, $tgradb, $tgradc]
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
                $(#[$udoc])*
                pub fn $umethod(&self $(, $up: $upt)?) -> Expr {
                    Expr::scalar(ScalarOp::$U $(($up))?, vec![self.clone()])
                }
            )+
        }

        /// Evaluates `op` in a kernel; operations of fewer arguments ignore the others.
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

        /// Calls `callback!` with a row `[docs] method Variant;` for each operation of two arguments.
        #[macro_export]
        macro_rules! binary_methods {
            ($d callback:ident) => {
                $d callback! { $( [$(#[$bdoc])*] $bmethod $B; )+ }
            };
        }

        /// Calls `callback!` with a row `[docs] method Variant;` for each operation of three arguments.
        #[macro_export]
        macro_rules! ternary_methods {
            ($d callback:ident) => {
                $d callback! { $( [$(#[$tdoc])*] $tmethod $T; )+ }
            };
        }

        /// Calls `callback!` with a row `[docs] method (parameter: type);` for each unary operation.
        #[macro_export]
        macro_rules! unary_methods {
            ($d callback:ident) => {
                $d callback! { $( [$(#[$udoc])*] $umethod $(($up: $upt))?; )+ }
            };
        }
    };

    (@samples $all:ident, $U:ident) => { $all.push(Self::$U); };
    (@samples $all:ident, $U:ident, $t:ty) => {
        $all.extend([-3, -2, -1, 0, 1, 2, 3, 4, 7].map(Self::$U));
    };
}

const REAL: Domain = Domain {
    intervals: &[(-3.0, 3.0), (-3.0, 3.0)],
    edges: &[0.0, 1.0, -1.0],
};
const POSITIVE: Domain = Domain {
    intervals: &[(1e-2, 4.0), (1e-2, 4.0)],
    edges: &[1.0, 1e-6, 1e6],
};
const NONZERO: Domain = Domain {
    intervals: &[(-3.0, 3.0), (0.5, 3.0)],
    edges: &[1.0, -1.0],
};

scalar_ops! {
    ($, #[cube], math)
    unary {
        /// The opposite, $-x$.
        Neg => negate, Notation::Prefix("-"),
            domain: REAL,
            host: |x| -x,
            grad: |x, y| Expr::constant(-1.0),
            cube: |x| -x;

        /// The square, $x^2$.
        Square => square, Notation::Call,
            domain: REAL,
            host: |x| x * x,
            grad: |x, y| 2.0 * x.clone(),
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
            cube: |x| math::powi(x, n);

        /// The square root; NaN below zero. Its derivative at zero is defined as 0, so that norms
        /// can be differentiated at the origin.
        Sqrt => sqrt, Notation::Call,
            domain: POSITIVE,
            host: |x| x.sqrt(),
            grad: |x, y| 0.5 * x.rsqrt(),
            cube: |x| x.sqrt();

        /// The reciprocal square root $x^{-1/2}$; defined as 0 at zero, NaN below.
        Rsqrt => rsqrt, Notation::Call,
            domain: POSITIVE,
            host: |x| if x == 0.0 { 0.0 } else { 1.0 / x.sqrt() },
            grad: |x, y| -0.5 * y.powi(3),
            cube: |x| math::rsqrt(x);

        /// The reciprocal $1 / x$.
        Recip => recip, Notation::Call,
            domain: NONZERO,
            host: |x| 1.0 / x,
            grad: |x, y| -y.square(),
            cube: |x| math::constant_vector::<F, N>(1.0) / x;

        /// The absolute value; its derivative at zero is 0.
        Abs => abs, Notation::Call,
            domain: REAL,
            host: |x| x.abs(),
            grad: |x, y| x.sign(),
            cube: |x| x.abs();

        /// The sign: -1, 0 or 1; NaN for NaN. Its derivative is 0.
        Sign => sign, Notation::Call,
            domain: REAL,
            host: |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x },
            grad: |x, y| Expr::constant(0.0),
            cube: |x| math::sign(x);

        /// The exponential $e^x$.
        Exp => exp, Notation::Call,
            domain: Domain { intervals: &[(-10.0, 10.0)], edges: &[0.0, 1.0, -80.0, 80.0] },
            host: |x| x.exp(),
            grad: |x, y| y.clone(),
            cube: |x| math::exp(x, math);

        /// The natural logarithm; $-\infty$ at zero, NaN below.
        Log => log, Notation::Call,
            domain: POSITIVE,
            host: |x| x.ln(),
            grad: |x, y| x.recip(),
            cube: |x| x.ln();
    }
    binary {
        /// The sum $a + b$.
        Add => add, Notation::Infix("+"),
            domain: REAL,
            host: |a, b| a + b,
            grad: |a, b, y| [Expr::constant(1.0), Expr::constant(1.0)],
            cube: |a, b| a + b;

        /// The difference $a - b$.
        Sub => sub, Notation::Infix("-"),
            domain: REAL,
            host: |a, b| a - b,
            grad: |a, b, y| [Expr::constant(1.0), Expr::constant(-1.0)],
            cube: |a, b| a - b;

        /// The product $a b$.
        Mul => mul, Notation::Infix("*"),
            domain: REAL,
            host: |a, b| a * b,
            grad: |a, b, y| [b.clone(), a.clone()],
            cube: |a, b| a * b;

        /// The quotient $a / b$.
        Div => div, Notation::Infix("/"),
            domain: NONZERO,
            host: |a, b| a / b,
            grad: |a, b, y| [b.recip(), -(y.clone() / b.clone())],
            cube: |a, b| a / b;

        /// The larger of two values; NaN if either is. At ties both derivatives are 1/2.
        Maximum => maximum, Notation::Call,
            domain: REAL,
            host: |a, b| if a > b || a.is_nan() { a } else { b },
            grad: |a, b, y| [
                0.5 * (1.0 + (a.clone() - b.clone()).sign()),
                0.5 * (1.0 + (b.clone() - a.clone()).sign())
            ],
            cube: |a, b| math::maximum(a, b);

        /// The smaller of two values; NaN if either is. At ties both derivatives are 1/2.
        Minimum => minimum, Notation::Call,
            domain: REAL,
            host: |a, b| if a < b || a.is_nan() { a } else { b },
            grad: |a, b, y| [
                0.5 * (1.0 + (b.clone() - a.clone()).sign()),
                0.5 * (1.0 + (a.clone() - b.clone()).sign())
            ],
            cube: |a, b| math::minimum(a, b);

        /// 1 where a value is equal to another, else 0; 0 if either is NaN. Its derivative is 0.
        Equal => equal, Notation::Infix("=="),
            domain: REAL,
            host: |a, b| f64::from(a == b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            cube: |a, b| select_many(
                a.equal(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is not equal to another, else 0; 1 if either is NaN. Its derivative is 0.
        NotEqual => not_equal, Notation::Infix("!="),
            domain: REAL,
            host: |a, b| f64::from(a != b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            cube: |a, b| select_many(
                a.equal(&b),
                math::constant_vector::<F, N>(0.0),
                math::constant_vector::<F, N>(1.0)
            );

        /// 1 where a value is less than another, else 0; 0 if either is NaN. Its derivative is 0.
        Less => less, Notation::Infix("<"),
            domain: REAL,
            host: |a, b| f64::from(a < b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            cube: |a, b| select_many(
                a.less_than(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is at most another, else 0; 0 if either is NaN. Its derivative is 0.
        LessEqual => less_equal, Notation::Infix("<="),
            domain: REAL,
            host: |a, b| f64::from(a <= b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            cube: |a, b| select_many(
                a.less_equal(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is greater than another, else 0; 0 if either is NaN. Its derivative is 0.
        Greater => greater, Notation::Infix(">"),
            domain: REAL,
            host: |a, b| f64::from(a > b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            cube: |a, b| select_many(
                a.greater_than(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );

        /// 1 where a value is at least another, else 0; 0 if either is NaN. Its derivative is 0.
        GreaterEqual => greater_equal, Notation::Infix(">="),
            domain: REAL,
            host: |a, b| f64::from(a >= b),
            grad: |a, b, y| [Expr::constant(0.0), Expr::constant(0.0)],
            cube: |a, b| select_many(
                a.greater_equal(&b),
                math::constant_vector::<F, N>(1.0),
                math::constant_vector::<F, N>(0.0)
            );
    }
    ternary {
        /// The value where `mask` is 0, `source` where it is not (as for NaN); what is not taken may
        /// be infinite or NaN.
        MaskWhere => mask_where, Notation::Call,
            domain: Domain { intervals: &[(-3.0, 3.0), (0.5, 3.0), (-3.0, 3.0)], edges: &[0.0, 1.0] },
            host: |a, mask, source| if mask == 0.0 { a } else { source },
            grad: |a, mask, source, y| [
                mask.equal_to(0.0),
                Expr::constant(0.0),
                1.0 - mask.equal_to(0.0)
            ],
            cube: |a, mask, source| select_many(
                mask.equal(&math::constant_vector::<F, N>(0.0)),
                a,
                source
            );
    }
}

impl Expr {
    /// 1 where this is `value`, else 0.
    fn equal_to(&self, value: f64) -> Expr {
        Expr::scalar(ScalarOp::Equal, vec![self.clone(), Expr::constant(value)])
    }
}
