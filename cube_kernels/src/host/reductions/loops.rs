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

/// Number of lanes of [`LeastOfLanes`].
pub const LANES: usize = 64;

/// The least value of each lane: lane $k$ has value $k$ and every [`LANES`]-th value after it. NaN is left out, and a
/// lane without values has infinity.
pub struct LeastOfLanes<'a, T>(pub &'a [T]);

impl<T: Real> Vectors for LeastOfLanes<'_, T> {
    type Output = [T; LANES];

    #[inline(always)]
    fn run<M: Arithmetic>(self, _math: M) -> [T; LANES] {
        let mut least = [T::INFINITY; LANES];
        for chunk in self.0.chunks(LANES) {
            for (least, value) in least.iter_mut().zip(chunk) {
                *least = if *value < *least { *value } else { *least };
            }
        }
        least
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
        let (is_one, places) = (self.is_one, self.places);
        let mut count = 0;
        let mut first = 0;
        let mut write = |mut passed: u32, first: usize| {
            while passed != 0 {
                places[count] = first as u32 + passed.trailing_zeros();
                count += 1;
                passed &= passed - 1;
            }
        };
        let (groups, rest) = self.values.as_chunks::<TOGETHER>();
        for group in groups {
            let mut flags = [0; TOGETHER];
            for (flag, value) in flags.iter_mut().zip(group) {
                *flag = u8::from(is_one(*value));
            }
            // Few values pass, so that most groups are skipped.
            if flags != [0; TOGETHER] {
                write(bits(&flags), first);
            }
            first += TOGETHER;
        }
        let passed = rest.iter().enumerate();
        let passed = passed.map(|(bit, value)| u32::from(is_one(*value)) << bit);
        write(passed.sum(), first);
        count
    }
}

/// Number of values that [`Places`] tests together.
const TOGETHER: usize = 32;

/// A bit for each flag, which is 0 or 1. The lowest bit is the first one.
#[inline(always)]
fn bits(flags: &[u8; TOGETHER]) -> u32 {
    /// Multiplied by it, the flag in byte $k$ of a word gets to bit $56 + k$. No two products of bits meet.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (words, _) = flags.as_chunks::<8>();
    let bytes = words.iter().enumerate().map(|(at, word)| {
        let gathered = u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56;
        (gathered as u32) << (8 * at)
    });
    bytes.sum()
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
