//! Instructions on tiles.

use super::vector::{Instructions, Vectors};
use crate::{
    formula::catalogue::{ScalarOp, apply_on_host},
    math::lane::{Arithmetic, Real},
};

/// The values of some lanes.
#[derive(Clone, Copy, Debug)]
pub enum Lanes<'a, T> {
    /// One for each lane.
    Each(&'a [T]),
    /// The same for all.
    All(T),
}

/// $a b + c$, or $c - a b$.
pub struct MultiplyAdd<'a, T> {
    pub out: &'a mut [T],
    pub factors: [Lanes<'a, T>; 2],
    pub summand: Lanes<'a, T>,
    pub negated: bool,
}

/// $s + a b$ or $s - a b$ in the place of $s$.
pub struct Accumulate<'a, T> {
    pub sum: &'a mut [T],
    pub factors: [Lanes<'a, T>; 2],
    pub negated: bool,
}

/// A function of values that are one for each lane.
struct Function<'a, T> {
    out: &'a mut [T],
    op: ScalarOp,
    args: [&'a [T]; 3],
}

/// Arithmetic of two values, of which one may be the same for all lanes.
struct Pairwise<'a, T> {
    out: &'a mut [T],
    op: Simple,
    args: [Lanes<'a, T>; 2],
}

/// What takes so little that copies of its arguments would matter.
#[derive(Clone, Copy)]
enum Simple {
    Add,
    Sub,
    Mul,
}

/// `f` of two values in each lane.
#[inline(always)]
fn map2<T: Real>(out: &mut [T], a: Lanes<T>, b: Lanes<T>, f: impl Fn(T, T) -> T) {
    let len = out.len();
    match (a, b) {
        (Lanes::Each(a), Lanes::Each(b)) => {
            let (a, b) = (&a[..len], &b[..len]);
            for k in 0..len {
                out[k] = f(a[k], b[k]);
            }
        }
        (Lanes::Each(a), Lanes::All(b)) => {
            let a = &a[..len];
            for k in 0..len {
                out[k] = f(a[k], b);
            }
        }
        (Lanes::All(a), Lanes::Each(b)) => {
            let b = &b[..len];
            for k in 0..len {
                out[k] = f(a, b[k]);
            }
        }
        (Lanes::All(a), Lanes::All(b)) => out.fill(f(a, b)),
    }
}

/// `f` of what stands there and two values in each lane.
#[inline(always)]
fn update2<T: Real>(out: &mut [T], a: Lanes<T>, b: Lanes<T>, f: impl Fn(T, T, T) -> T) {
    let len = out.len();
    match (a, b) {
        (Lanes::Each(a), Lanes::Each(b)) => {
            let (a, b) = (&a[..len], &b[..len]);
            for k in 0..len {
                out[k] = f(out[k], a[k], b[k]);
            }
        }
        (Lanes::Each(a), Lanes::All(b)) => {
            let a = &a[..len];
            for k in 0..len {
                out[k] = f(out[k], a[k], b);
            }
        }
        (Lanes::All(a), Lanes::Each(b)) => {
            let b = &b[..len];
            for k in 0..len {
                out[k] = f(out[k], a, b[k]);
            }
        }
        (Lanes::All(a), Lanes::All(b)) => {
            for out in out {
                *out = f(*out, a, b);
            }
        }
    }
}

impl<T: Real> Vectors for MultiplyAdd<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        let [a, b] = self.factors;
        let len = self.out.len();
        match (self.summand, self.negated) {
            (Lanes::All(c), false) => map2(self.out, a, b, |a, b| math.fma(a, b, c)),
            (Lanes::All(c), true) => map2(self.out, a, b, |a, b| math.fma(-a, b, c)),
            (Lanes::Each(c), negated) => {
                self.out.copy_from_slice(&c[..len]);
                let sum = self.out;
                match negated {
                    false => update2(sum, a, b, |c, a, b| math.fma(a, b, c)),
                    true => update2(sum, a, b, |c, a, b| math.fma(-a, b, c)),
                }
            }
        }
    }
}

impl<T: Real> Vectors for Accumulate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        let [a, b] = self.factors;
        match self.negated {
            false => update2(self.sum, a, b, |c, a, b| math.fma(a, b, c)),
            true => update2(self.sum, a, b, |c, a, b| math.fma(-a, b, c)),
        }
    }
}

impl<T: Real> Vectors for Pairwise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, _math: M) {
        let [a, b] = self.args;
        match self.op {
            Simple::Add => map2(self.out, a, b, |a, b| a + b),
            Simple::Sub => map2(self.out, a, b, |a, b| a - b),
            Simple::Mul => map2(self.out, a, b, |a, b| a * b),
        }
    }
}

impl<T: Real> Vectors for Function<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        apply_on_host(self.op, self.out, self.args, math)
    }
}

/// A place for arguments that are the same for all lanes.
pub type Copies<T> = [Vec<T>; 3];

/// The function `op` of some lanes.
pub fn apply<T: Real>(
    instructions: Instructions,
    op: ScalarOp,
    out: &mut [T],
    args: [Lanes<T>; 3],
    copies: &mut Copies<T>,
) {
    let simple = match op {
        ScalarOp::Add => Some(Simple::Add),
        ScalarOp::Sub => Some(Simple::Sub),
        ScalarOp::Mul => Some(Simple::Mul),
        _ => None,
    };
    if let Some(op) = simple {
        let args = [args[0], args[1]];
        return instructions.run(Pairwise { out, op, args });
    }
    let len = out.len();
    let [x, y, z] = copies;
    let arity = op.arity();
    let first = each(args[0], x, len);
    let second = if arity > 1 {
        each(args[1], y, len)
    } else {
        first
    };
    let third = if arity > 2 {
        each(args[2], z, len)
    } else {
        first
    };
    let args = [first, second, third];
    instructions.run(Function { out, op, args });
}

/// A value for each lane.
fn each<'a, T: Real>(lanes: Lanes<'a, T>, copy: &'a mut Vec<T>, len: usize) -> &'a [T] {
    match lanes {
        Lanes::Each(values) => &values[..len],
        Lanes::All(value) => {
            copy.clear();
            copy.resize(len, value);
            copy
        }
    }
}

/// A product in each lane.
pub fn product<T: Real>(
    instructions: Instructions,
    factors: [Lanes<T>; 2],
    negated: bool,
    out: &mut [T],
) {
    instructions.run(MultiplyAdd {
        out,
        factors,
        summand: Lanes::All(-T::ZERO),
        negated,
    });
}
