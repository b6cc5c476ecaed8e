//! Loops over the values of a tile that reductions take in.

use crate::{
    host::{
        arithmetic::{Lanes, Tile},
        vector::Vectors,
    },
    math::lane::{Arithmetic, Factor, Real, sum_of},
};

/// Number of values that are compared side by side.
const WIDE: usize = 64;

/// The sum of values.
pub struct SumOf<'a, T>(pub &'a [T]);

impl<T: Real> Vectors for SumOf<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) -> T {
        math.dot(self.0, Factor::All(T::ONE))
    }
}

/// The sum of the products of `len` lanes.
#[inline(always)]
fn sum_of_products<T: Real, M: Arithmetic>(math: M, factors: [Lanes<T>; 2], len: usize) -> T {
    match factors {
        [Lanes::Each(a), Lanes::Each(b)] => math.dot(&a[..len], Factor::Each(&b[..len])),
        [Lanes::Each(a), Lanes::All(b)] | [Lanes::All(b), Lanes::Each(a)] => {
            math.dot(&a[..len], Factor::All(b))
        }
        [Lanes::All(a), Lanes::All(b)] => sum_of(len, |sum, _| math.fma(a, b, sum)),
    }
}

/// The sum of the products of values.
pub struct SumOfProducts<'a, T>(pub [&'a [T]; 2]);

impl<T: Real> Vectors for SumOfProducts<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) -> T {
        let [a, b] = self.0;
        sum_of_products(math, [a, b].map(Lanes::Each), a.len())
    }
}

/// Calls `each` with each row and the sum of the products of its lanes.
pub struct SumsOfProducts<'a, T, F> {
    pub factors: [Tile<'a, T>; 2],
    pub width: usize,
    pub height: usize,
    pub each: F,
}

impl<T: Real, F: FnMut(usize, T)> Vectors for SumsOfProducts<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<M: Arithmetic>(mut self, math: M) {
        for row in 0..self.height {
            let factors = self.factors.map(|tile| tile.row(row, self.width));
            (self.each)(row, sum_of_products(math, factors, self.width));
        }
    }
}

/// The largest of `least` and the values that are not NaN.
pub struct LargestOf<'a, T> {
    pub values: &'a [T],
    pub least: T,
}

impl<T: Real> Vectors for LargestOf<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<M: Arithmetic>(self, _math: M) -> T {
        let larger = |a: T, b: T| if b > a { b } else { a };
        let mut most = [self.least; WIDE];
        let chunks = self.values.chunks_exact(WIDE);
        for (most, value) in most.iter_mut().zip(chunks.remainder()) {
            *most = larger(*most, *value);
        }
        for chunk in chunks {
            for (most, value) in most.iter_mut().zip(chunk) {
                *most = larger(*most, *value);
            }
        }
        // In pairs, as comparing one after the other would take longer than the loops above.
        let mut half = WIDE / 2;
        while half > 0 {
            for k in 0..half {
                most[k] = larger(most[k], most[k + half]);
            }
            half /= 2;
        }
        most[0]
    }
}

/// Writes $e^{f - m}$ of each value $f$, where $m$ is `maximum`, and returns the sum.
pub struct Exponentials<'a, T> {
    pub out: &'a mut [T],
    pub values: &'a [T],
    pub maximum: T,
}

impl<T: Real> Vectors for Exponentials<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) -> T {
        let len = self.out.len();
        let (out, values) = (&mut *self.out, &self.values[..len]);
        for k in 0..len {
            out[k] = (values[k] - self.maximum).exp(math);
        }
        math.dot(out, Factor::All(T::ONE))
    }
}

/// The number of values that are not 0. NaN is counted.
pub struct CountOf<'a, T>(pub &'a [T]);

impl<T: Real> Vectors for CountOf<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run<M: Arithmetic>(self, _math: M) -> u32 {
        let counted = |value: &T| u32::from(*value != T::ZERO);
        self.0.iter().map(counted).sum()
    }
}

/// Whether any value is less than `bound`, or greater if `largest`. If `or_equal`, values equal to `bound` count, too.
/// NaN always counts.
pub struct AnyBeyond<'a, T> {
    pub values: &'a [T],
    pub bound: T,
    pub largest: bool,
    pub or_equal: bool,
}

impl<T: Real> Vectors for AnyBeyond<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<M: Arithmetic>(self, _math: M) -> bool {
        let bound = self.bound;
        // All values are tested, without a stop at the first one beyond, so that the loop has no branch.
        let mut within = true;
        match (self.largest, self.or_equal) {
            (true, false) => self.values.iter().for_each(|x| within &= *x <= bound),
            (true, true) => self.values.iter().for_each(|x| within &= *x < bound),
            (false, false) => self.values.iter().for_each(|x| within &= *x >= bound),
            (false, true) => self.values.iter().for_each(|x| within &= *x > bound),
        }
        !within
    }
}

/// Writes the positions of the values that pass a test, and returns their number. `places` must have room for as many
/// as there are values.
pub struct Places<'a, T, F> {
    pub values: &'a [T],
    pub places: &'a mut [u32],
    /// Whether a value passes the test.
    pub is_one: F,
}

impl<T: Real, F: Fn(T) -> bool> Vectors for Places<'_, T, F> {
    type Output = usize;

    #[inline(always)]
    fn run<M: Arithmetic>(self, _math: M) -> usize {
        /// Number of values that are tested together, with a bit for each. Few values pass, so that most groups are
        /// skipped.
        const TOGETHER: usize = 32;
        let (is_one, places) = (self.is_one, self.places);
        let mut count = 0;
        let mut first = 0;
        let mut find = |values: &[T], first: usize| {
            let mut found = 0u32;
            for (bit, value) in values.iter().enumerate() {
                found |= u32::from(is_one(*value)) << bit;
            }
            while found != 0 {
                places[count] = first as u32 + found.trailing_zeros();
                count += 1;
                found &= found - 1;
            }
        };
        let chunks = self.values.chunks_exact(TOGETHER);
        let rest = chunks.remainder();
        for chunk in chunks {
            let mut any = false;
            for value in chunk {
                any |= is_one(*value);
            }
            if any {
                find(chunk, first);
            }
            first += TOGETHER;
        }
        find(rest, first);
        count
    }
}

/// The sum of the signed distances from a pivot.
pub struct SumOfDistances<'a, T> {
    pub values: &'a [T],
    pub pivot: T,
}

impl<T: Real> Vectors for SumOfDistances<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<M: Arithmetic>(self, _math: M) -> T {
        let (values, pivot) = (self.values, self.pivot);
        sum_of(values.len(), |sum, k| sum + (values[k] - pivot))
    }
}

/// The sum of the squared distances from a mean.
pub struct SumOfSquares<'a, T> {
    pub values: &'a [T],
    pub mean: T,
}

impl<T: Real> Vectors for SumOfSquares<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<M: Arithmetic>(self, math: M) -> T {
        let (values, mean) = (self.values, self.mean);
        sum_of(values.len(), |sum, k| {
            let distance = values[k] - mean;
            math.fma(distance, distance, sum)
        })
    }
}
