//! Sums of products in vector registers. Compilers do not generate them from loops over single numbers, as that would
//! change the order of the additions.

use std::arch::x86_64::*;

use super::Factor;

/// Defines functions that add up products, each with a set of instructions. The arguments are the type of the numbers,
/// how many of them a vector has, and the functions that make a vector of zeros, repeat a number, load, multiply and
/// add, add, and add up the numbers of a vector.
macro_rules! dot {
    ($(
        $(#[$doc:meta])*
        $name:ident, $features:literal, $T:ty, $lanes:literal,
        ($zero:ident, $set:ident, $load:ident, $fma:ident, $add:ident, $total:ident);
    )*) => {$(
        $(#[$doc])*
        #[target_feature(enable = $features)]
        pub(super) fn $name(a: &[$T], b: Factor<$T>) -> $T {
            let len = a.len();
            // Four sums side by side, so that a multiply-add does not wait for the one before.
            let mut sums = [$zero(); 4];
            let mut k = 0;
            macro_rules! add_up {
                ($vector:expr) => {
                    while k + 4 * $lanes <= len {
                        for (n, sum) in sums.iter_mut().enumerate() {
                            let at = k + n * $lanes;
                            // SAFETY: the condition of the loop says that so many numbers follow.
                            *sum = $fma(unsafe { $load(a.as_ptr().add(at)) }, $vector(at), *sum);
                        }
                        k += 4 * $lanes;
                    }
                    while k + $lanes <= len {
                        // SAFETY: as above.
                        sums[0] = $fma(unsafe { $load(a.as_ptr().add(k)) }, $vector(k), sums[0]);
                        k += $lanes;
                    }
                };
            }
            match b {
                Factor::Each(b) => {
                    let b = &b[..len];
                    // SAFETY: `b` has as many numbers as `a`.
                    add_up!(|at| unsafe { $load(b.as_ptr().add(at)) });
                }
                Factor::All(b) => {
                    let b = $set(b);
                    add_up!(|_| b);
                }
            }
            let [first, second, third, fourth] = sums;
            let mut sum = $total($add($add(first, second), $add(third, fourth)));
            while k < len {
                let b = match b {
                    Factor::Each(b) => b[k],
                    Factor::All(b) => b,
                };
                sum = a[k].mul_add(b, sum);
                k += 1;
            }
            sum
        }
    )*};
}

/// The sum of the numbers of a vector.
#[inline]
#[target_feature(enable = "avx")]
fn total_single(vector: __m256) -> f32 {
    let four = _mm_add_ps(
        _mm256_castps256_ps128(vector),
        _mm256_extractf128_ps::<1>(vector),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The sum of the numbers of a vector.
#[inline]
#[target_feature(enable = "avx")]
fn total_double(vector: __m256d) -> f64 {
    let two = _mm_add_pd(
        _mm256_castpd256_pd128(vector),
        _mm256_extractf128_pd::<1>(vector),
    );
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}

dot! {
    /// The sum of products in F32 with AVX-512.
    wide_single, "avx2,fma,avx512f", f32, 16,
    (_mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_reduce_add_ps);
    /// The sum of products in F64 with AVX-512.
    wide_double, "avx2,fma,avx512f", f64, 8,
    (_mm512_setzero_pd, _mm512_set1_pd, _mm512_loadu_pd, _mm512_fmadd_pd, _mm512_add_pd, _mm512_reduce_add_pd);
    /// The sum of products in F32 with AVX2.
    middle_single, "avx2,fma", f32, 8,
    (_mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_fmadd_ps, _mm256_add_ps, total_single);
    /// The sum of products in F64 with AVX2.
    middle_double, "avx2,fma", f64, 4,
    (_mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_fmadd_pd, _mm256_add_pd, total_double);
}
