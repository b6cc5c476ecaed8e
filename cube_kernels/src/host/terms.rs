//! Sums of terms of which each is made of two values.

use super::{
    arithmetic::{Copied, Lanes, OnRows, Tile, by_rows, update},
    vector::Vectors,
};
use crate::math::lane::{Arithmetic, Real};

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

/// Does something with what adds a term of this kind and sign to a sum, so that its loop has no branch.
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
            // The opposite of a square of 0 is -0, as the product of b - a and a - b is not.
            (Kind::Square, true) => {
                let $add = |sum: T, a: T, b: T| $math.fma(-(a - b), a - b, sum);
                $then
            }
        }
    };
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
            with_term!(self.kind, self.negated, math, |add| {
                add_terms(sums, from, numbers, lanes, add)
            });
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
