//! Instructions on tiles.

use super::vector::{Instructions, Vectors};
use crate::{
    formula::catalogue::{ScalarOp, apply_on_host},
    math::lane::{Arithmetic, Real, Separate},
};

/// The values of the lanes of a row.
#[derive(Clone, Copy, Debug)]
pub enum Lanes<'a, T> {
    /// One for each lane.
    Each(&'a [T]),
    /// The same for all.
    All(T),
}

impl<'a, T> Lanes<'a, T> {
    /// The same values as a tile of one row.
    pub fn tile(self) -> Tile<'a, T> {
        match self {
            Lanes::Each(values) => Tile::Own(values),
            Lanes::All(value) => Tile::All(value),
        }
    }
}

/// The values of a tile.
#[derive(Clone, Copy, Debug)]
pub enum Tile<'a, T> {
    /// One for each lane of each row, row by row.
    Own(&'a [T]),
    /// One for each lane, the same in all rows.
    Lanes(&'a [T]),
    /// One for each row.
    Rows(&'a [T]),
    /// The same everywhere.
    All(T),
}

impl<'a, T: Copy> Tile<'a, T> {
    /// The values of a row of `width` lanes.
    #[inline(always)]
    pub fn row(self, row: usize, width: usize) -> Lanes<'a, T> {
        match self {
            Tile::Own(values) => Lanes::Each(&values[row * width..][..width]),
            Tile::Lanes(values) => Lanes::Each(&values[..width]),
            Tile::Rows(values) => Lanes::All(values[row]),
            Tile::All(value) => Lanes::All(value),
        }
    }

    /// The values of all rows as one long row, if each lane of each row has a value in memory, or all values are the
    /// same.
    #[inline(always)]
    fn whole(self) -> Option<Lanes<'a, T>> {
        match self {
            Tile::Own(values) => Some(Lanes::Each(values)),
            Tile::All(value) => Some(Lanes::All(value)),
            Tile::Lanes(_) | Tile::Rows(_) => None,
        }
    }
}

/// Loops over the lanes of a row. This is a method and not a closure, as it must be inlined to be compiled for the
/// chosen instructions, and nothing promises that for a closure.
pub(super) trait OnRows<T, const N: usize>: Copy {
    /// Computes the values of the lanes `out` from those of the arguments.
    fn on_row<M: Arithmetic>(self, math: M, out: &mut [T], lanes: [Lanes<T>; N]);
}

/// Calls `each` for each row of a tile, or once for all rows if all arguments can be read as [one long
/// row](Tile::whole).
#[inline(always)]
pub(super) fn by_rows<T: Real, M: Arithmetic, const N: usize>(
    math: M,
    out: &mut [T],
    width: usize,
    tiles: [Tile<T>; N],
    each: impl OnRows<T, N>,
) {
    let whole = tiles.map(Tile::whole);
    if whole.iter().all(Option::is_some) {
        return each.on_row(math, out, whole.map(|lanes| lanes.expect("all are")));
    }
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        each.on_row(math, out, tiles.map(|tile| tile.row(row, width)));
    }
}

/// $a b + c$, or $c - a b$.
pub struct MultiplyAdd<'a, T> {
    pub out: &'a mut [T],
    pub width: usize,
    pub factors: [Tile<'a, T>; 2],
    pub summand: Tile<'a, T>,
    pub negated: bool,
}

/// $s + a b$ or $s - a b$ in the place of $s$.
pub struct Accumulate<'a, T> {
    pub sum: &'a mut [T],
    pub width: usize,
    pub factors: [Tile<'a, T>; 2],
    pub negated: bool,
}

/// A scalar function whose arguments have a value for each lane of each row.
struct Function<'a, T> {
    out: &'a mut [T],
    op: ScalarOp,
    args: [&'a [T]; 3],
}

/// An arithmetic operation on two values.
struct Pairwise<'a, T> {
    out: &'a mut [T],
    width: usize,
    op: Simple,
    args: [Tile<'a, T>; 2],
}

/// Operations so cheap that copies of their arguments would cost as much.
#[derive(Clone, Copy)]
enum Simple {
    Add,
    Sub,
    Mul,
}

/// Sets each lane to `f` of its old value and two arguments.
#[inline(always)]
pub(super) fn update<T: Real>(out: &mut [T], [a, b]: [Lanes<T>; 2], f: impl Fn(T, T, T) -> T) {
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

/// Sets each lane to `f` of two arguments.
#[inline(always)]
fn map<T: Real>(out: &mut [T], args: [Lanes<T>; 2], f: impl Fn(T, T) -> T) {
    update(out, args, |_, a, b| f(a, b));
}

/// A product and a summand; the product may be subtracted.
#[derive(Clone, Copy)]
struct Product {
    negated: bool,
}

impl<T: Real> OnRows<T, 3> for Product {
    #[inline(always)]
    fn on_row<M: Arithmetic>(self, math: M, out: &mut [T], [a, b, c]: [Lanes<T>; 3]) {
        match c {
            Lanes::All(c) if self.negated => map(out, [a, b], |a, b| math.fma(-a, b, c)),
            Lanes::All(c) => map(out, [a, b], |a, b| math.fma(a, b, c)),
            Lanes::Each(c) => {
                out.copy_from_slice(&c[..out.len()]);
                self.on_row(math, out, [a, b]);
            }
        }
    }
}

/// The same, where `out` already holds the summand.
impl<T: Real> OnRows<T, 2> for Product {
    #[inline(always)]
    fn on_row<M: Arithmetic>(self, math: M, out: &mut [T], args: [Lanes<T>; 2]) {
        match self.negated {
            false => update(out, args, |c, a, b| math.fma(a, b, c)),
            true => update(out, args, |c, a, b| math.fma(-a, b, c)),
        }
    }
}

impl<T: Real> Vectors for MultiplyAdd<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        let [a, b] = self.factors;
        let negated = self.negated;
        let tiles = [a, b, self.summand];
        by_rows(math, self.out, self.width, tiles, Product { negated });
    }
}

impl<T: Real> Vectors for Accumulate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        let negated = self.negated;
        by_rows(
            math,
            self.sum,
            self.width,
            self.factors,
            Product { negated },
        );
    }
}

impl<T: Real> OnRows<T, 2> for Simple {
    #[inline(always)]
    fn on_row<M: Arithmetic>(self, _math: M, out: &mut [T], args: [Lanes<T>; 2]) {
        match self {
            Simple::Add => map(out, args, |a, b| a + b),
            Simple::Sub => map(out, args, |a, b| a - b),
            Simple::Mul => map(out, args, |a, b| a * b),
        }
    }
}

impl<T: Real> Vectors for Pairwise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        by_rows(math, self.out, self.width, self.args, self.op);
    }
}

impl<T: Real> Vectors for Function<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        apply_on_host(self.op, self.out, self.args, math)
    }
}

/// Room for copies of arguments that do not have a value in memory for each lane of each row.
pub type Copies<T> = [Vec<T>; 3];

/// Computes the function `op` of the values of tiles.
pub fn apply<T: Real>(
    instructions: Instructions,
    op: ScalarOp,
    (out, width): (&mut [T], usize),
    args: [Tile<T>; 3],
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
        return instructions.run(Pairwise {
            out,
            width,
            op,
            args,
        });
    }
    let len = out.len();
    let [x, y, z] = copies;
    let arity = op.arity();
    let first = each(args[0], x, len, width);
    let second = if arity > 1 {
        each(args[1], y, len, width)
    } else {
        first
    };
    let third = if arity > 2 {
        each(args[2], z, len, width)
    } else {
        first
    };
    let args = [first, second, third];
    instructions.run(Function { out, op, args });
}

/// The values of a tile, one for each lane of each row. They are written to `copy` if they are not in memory like
/// that.
fn each<'a, T: Real>(tile: Tile<'a, T>, copy: &'a mut Vec<T>, len: usize, width: usize) -> &'a [T] {
    if let Tile::Own(values) = tile {
        return &values[..len];
    }
    if copy.len() < len {
        copy.resize(len, T::ZERO);
    }
    let copy = &mut copy[..len];
    write(tile, copy, width);
    copy
}

/// Copies its argument.
#[derive(Clone, Copy)]
pub(super) struct Copied;

impl<T: Real> OnRows<T, 1> for Copied {
    #[inline(always)]
    fn on_row<M: Arithmetic>(self, _math: M, out: &mut [T], [lanes]: [Lanes<T>; 1]) {
        match lanes {
            Lanes::Each(values) => out.copy_from_slice(&values[..out.len()]),
            Lanes::All(value) => out.fill(value),
        }
    }
}

/// Writes the values of a tile, row by row.
pub fn write<T: Real>(tile: Tile<T>, out: &mut [T], width: usize) {
    by_rows(Separate, out, width, [tile], Copied);
}
