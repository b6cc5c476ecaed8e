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

    /// The values of all rows as one row, if they are in one piece.
    #[inline(always)]
    fn whole(self) -> Option<Lanes<'a, T>> {
        match self {
            Tile::Own(values) => Some(Lanes::Each(values)),
            Tile::All(value) => Some(Lanes::All(value)),
            Tile::Lanes(_) | Tile::Rows(_) => None,
        }
    }
}

/// Loops over the lanes of a row. It is a method, as it must be inlined to be compiled for the instructions at hand,
/// which nothing promises for a closure.
trait OnRows<T, const N: usize>: Copy {
    /// Computes the values of the lanes `out` from others.
    fn on_row<M: Arithmetic>(self, math: M, out: &mut [T], lanes: [Lanes<T>; N]);
}

/// Does `each` for each row of a tile with its values, or once for all where they are in one piece.
#[inline(always)]
fn by_rows<T: Real, M: Arithmetic, const N: usize>(
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

/// A function of values that are one for each lane.
struct Function<'a, T> {
    out: &'a mut [T],
    op: ScalarOp,
    args: [&'a [T]; 3],
}

/// Arithmetic of two values.
struct Pairwise<'a, T> {
    out: &'a mut [T],
    width: usize,
    op: Simple,
    args: [Tile<'a, T>; 2],
}

/// What takes so little that copies of its arguments would matter.
#[derive(Clone, Copy)]
enum Simple {
    Add,
    Sub,
    Mul,
}

/// `f` of what stands there and two values in each lane.
#[inline(always)]
fn update<T: Real>(out: &mut [T], [a, b]: [Lanes<T>; 2], f: impl Fn(T, T, T) -> T) {
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

/// `f` of two values in each lane.
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

/// The same, where the summand stands already.
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

/// What a term is made of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// $a b$.
    Product,
    /// $(a - b)^2$.
    Square,
}

/// A term of a sum.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a, T> {
    pub kind: Kind,
    pub args: [Tile<'a, T>; 2],
    /// Whether it is subtracted.
    pub negated: bool,
}

/// The sum of terms and `summand`.
pub struct SumOfTerms<'a, T> {
    pub out: &'a mut [T],
    pub width: usize,
    pub terms: &'a [Term<'a, T>],
    pub summand: Tile<'a, T>,
}

/// Terms that are added in one pass over the lanes, so that sums are read and written once for all of them.
const AT_ONCE: usize = 4;

/// A number for each row, and a value for each lane: the arguments of a term whose order makes no difference.
#[derive(Clone, Copy)]
struct Mixed<'a, T> {
    /// The numbers, and how many of them a row is further on: one, or none where all rows have the same.
    numbers: (&'a [T], usize),
    /// The same for the values of lanes, of which a row has as many as there are lanes.
    lanes: (&'a [T], usize),
}

impl<'a, T: Copy> Mixed<'a, T> {
    #[inline(always)]
    fn of(args: &'a [Tile<'a, T>; 2], width: usize) -> Option<Self> {
        let (number, lanes) = match args {
            [number @ (Tile::Rows(_) | Tile::All(_)), lanes] => (number, lanes),
            [lanes, number] => (number, lanes),
        };
        let numbers = match number {
            Tile::Rows(numbers) => (*numbers, 1),
            Tile::All(number) => (std::slice::from_ref(number), 0),
            Tile::Own(_) | Tile::Lanes(_) => return None,
        };
        let lanes = match lanes {
            Tile::Own(values) => (*values, width),
            Tile::Lanes(values) => (*values, 0),
            Tile::Rows(_) | Tile::All(_) => return None,
        };
        Some(Self { numbers, lanes })
    }
}

/// Terms that differ in their arguments only, each of a number and a value for each lane.
struct Alike<'a, T> {
    kind: Kind,
    negated: bool,
    terms: [Mixed<'a, T>; AT_ONCE],
    count: usize,
}

impl<'a, T: Real> Alike<'a, T> {
    /// As many of the first terms as are alike, at most [`AT_ONCE`]; none where the first one has other arguments.
    #[inline(always)]
    fn of(terms: &'a [Term<'a, T>], width: usize) -> Option<Self> {
        let first = &terms[0];
        let mut alike = Self {
            kind: first.kind,
            negated: first.negated,
            terms: [Mixed::of(&first.args, width)?; AT_ONCE],
            count: 1,
        };
        for term in terms.iter().take(AT_ONCE).skip(1) {
            let same = (term.kind, term.negated) == (alike.kind, alike.negated);
            match Mixed::of(&term.args, width) {
                Some(mixed) if same => {
                    alike.terms[alike.count] = mixed;
                    alike.count += 1;
                }
                _ => break,
            }
        }
        Some(alike)
    }

    /// Adds the terms to `sums`, or to `from` if it is given, whatever stands in `sums`.
    #[inline(always)]
    fn add<M: Arithmetic>(&self, math: M, sums: &mut [T], width: usize, from: Option<T>) {
        match self.count {
            1 => self.add_first::<M, 1>(math, sums, width, from),
            2 => self.add_first::<M, 2>(math, sums, width, from),
            3 => self.add_first::<M, 3>(math, sums, width, from),
            _ => self.add_first::<M, AT_ONCE>(math, sums, width, from),
        }
    }

    /// The same for the first `N` terms.
    #[inline(always)]
    fn add_first<M: Arithmetic, const N: usize>(
        &self,
        math: M,
        sums: &mut [T],
        width: usize,
        from: Option<T>,
    ) {
        for (row, sums) in sums.chunks_exact_mut(width).enumerate() {
            let mut numbers = [T::ZERO; N];
            let mut lanes: [&[T]; N] = [&[]; N];
            for n in 0..N {
                let Mixed {
                    numbers: (own, step),
                    lanes: (values, stride),
                } = self.terms[n];
                numbers[n] = own[row * step];
                lanes[n] = &values[row * stride..][..width];
            }
            match (self.kind, self.negated) {
                (Kind::Product, negated) => {
                    if negated {
                        numbers = numbers.map(|number| -number);
                    }
                    let add = |sum, a, b| math.fma(a, b, sum);
                    add_terms(sums, from, numbers, lanes, add);
                }
                (Kind::Square, false) => {
                    let add = |sum, a, b| math.fma(a - b, a - b, sum);
                    add_terms(sums, from, numbers, lanes, add);
                }
                (Kind::Square, true) => {
                    let add = |sum, a, b| math.fma(b - a, a - b, sum);
                    add_terms(sums, from, numbers, lanes, add);
                }
            }
        }
    }
}

/// Adds terms to each of the sums, or to `from`. A loop over the lanes around one over the terms, which compilers turn
/// into vector instructions; the other way round they do not.
#[inline(always)]
fn add_terms<T: Real, const N: usize>(
    sums: &mut [T],
    from: Option<T>,
    numbers: [T; N],
    lanes: [&[T]; N],
    add: impl Fn(T, T, T) -> T,
) {
    let len = sums.len();
    let lanes = lanes.map(|lanes| &lanes[..len]);
    match from {
        Some(from) => {
            for k in 0..len {
                let mut sum = from;
                for n in 0..N {
                    sum = add(sum, numbers[n], lanes[n][k]);
                }
                sums[k] = sum;
            }
        }
        None => {
            for k in 0..len {
                let mut sum = sums[k];
                for n in 0..N {
                    sum = add(sum, numbers[n], lanes[n][k]);
                }
                sums[k] = sum;
            }
        }
    }
}

/// A term whatever its arguments are, which is added to what stands there.
impl<T: Real> OnRows<T, 2> for (Kind, bool) {
    #[inline(always)]
    fn on_row<M: Arithmetic>(self, math: M, sums: &mut [T], args: [Lanes<T>; 2]) {
        match self {
            (Kind::Product, negated) => Product { negated }.on_row(math, sums, args),
            (Kind::Square, false) => update(sums, args, |sum, a, b| math.fma(a - b, a - b, sum)),
            (Kind::Square, true) => update(sums, args, |sum, a, b| math.fma(b - a, a - b, sum)),
        }
    }
}

impl<T: Real> Vectors for SumOfTerms<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) {
        let (sums, width) = (self.out, self.width);
        let mut from = match self.summand {
            Tile::All(value) => Some(value),
            summand => {
                by_rows(math, sums, width, [summand], Copied);
                None
            }
        };
        let mut terms = self.terms;
        while let [first, ..] = terms {
            let count = match Alike::of(terms, width) {
                Some(alike) => {
                    alike.add(math, sums, width, from);
                    alike.count
                }
                None => {
                    if let Some(value) = from {
                        sums.fill(value);
                    }
                    by_rows(math, sums, width, first.args, (first.kind, first.negated));
                    1
                }
            };
            from = None;
            terms = &terms[count..];
        }
        if let Some(value) = from {
            sums.fill(value);
        }
    }
}

/// A place for arguments that are not one for each lane of each row.
pub type Copies<T> = [Vec<T>; 3];

/// The function `op` of the values of a tile.
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

/// A value for each lane of each row.
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

/// A copy.
#[derive(Clone, Copy)]
struct Copied;

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
