//! Sums of terms that are made of two values each.

use super::{
    arithmetic::{Copied, Lanes, OnRows, Tile, by_rows, update},
    vector::Vectors,
};
use crate::math::lane::{Arithmetic, Real};

/// How a term is made of its two arguments.
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

/// Runs `$then` with `$add`, the function that adds a term of this kind and sign to a sum. The kind and sign are told
/// apart outside the loop in `$then`, so that the loop has no branch.
macro_rules! with_term {
    ($kind:expr, $negated:expr, $math:ident, |$add:ident| $then:expr) => {
        match ($kind, $negated) {
            (Kind::Product, false) => {
                let $add = |sum: T, a: T, b: T| $math.fma(a, b, sum);
                $then
            }
            (Kind::Product, true) => {
                let $add = |sum: T, a: T, b: T| $math.fma(-a, b, sum);
                $then
            }
            (Kind::Square, false) => {
                let $add = |sum: T, a: T, b: T| $math.fma(a - b, a - b, sum);
                $then
            }
            // Not the product of b - a and a - b: for equal a and b this is 0, but the opposite of the square is -0.
            (Kind::Square, true) => {
                let $add = |sum: T, a: T, b: T| $math.fma(-(a - b), a - b, sum);
                $then
            }
        }
    };
}

/// The most terms that are added in one pass over the lanes. A pass reads and writes the sums once for all of its
/// terms.
const AT_ONCE: usize = 4;

/// The arguments of a term of which one is a number for each row and the other has a value for each lane. Their order
/// makes no difference.
#[derive(Clone, Copy)]
struct Mixed<'a, T> {
    /// The numbers, and the distance from the number of a row to that of the next row: 1, or 0 if all rows have the
    /// same number.
    numbers: (&'a [T], usize),
    /// The values of the lanes, and the distance from those of a row to those of the next row: the number of lanes, or
    /// 0 if all rows have the same values.
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

/// Up to [`AT_ONCE`] terms of the same kind and sign, all with [`Mixed`] arguments.
struct Alike<'a, T> {
    kind: Kind,
    negated: bool,
    terms: [Mixed<'a, T>; AT_ONCE],
    count: usize,
}

impl<'a, T: Real> Alike<'a, T> {
    /// The first terms, as far as they are of the same kind and sign and have [`Mixed`] arguments, at most [`AT_ONCE`]
    /// of them. `None` if the first term has other arguments.
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

    /// Adds the terms to `sums`. If `from` is given, the sums start from it, whatever `sums` held before.
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
            with_term!(self.kind, self.negated, math, |add| {
                add_terms(sums, from, numbers, lanes, add)
            });
        }
    }
}

/// Adds terms to each of the sums, or to `from`. The loop over the lanes is around the loop over the terms, as
/// compilers turn it into vector instructions only in this order.
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

/// Adds a term, whatever the form of its arguments, to the sums.
impl<T: Real> OnRows<T, 2> for (Kind, bool) {
    #[inline(always)]
    fn on_row<M: Arithmetic>(self, math: M, sums: &mut [T], args: [Lanes<T>; 2]) {
        let (kind, negated) = self;
        with_term!(kind, negated, math, |add| update(sums, args, add));
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
