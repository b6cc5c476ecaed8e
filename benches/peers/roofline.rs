//! Measures how fast this machine multiplies and takes exponentials in F32, on all cores.

use std::{thread, time::Instant};

/// Operations per second on all cores. Each number of a vector counts.
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// Fused multiplications and additions.
    pub fma: f64,
    /// Exponentials of base 2 with the accuracy of F32, by a polynomial.
    pub exp2: f64,
}

impl Roofline {
    /// Measures the rates. `None` if there is no code for the vector instructions of this machine.
    pub fn measure() -> Option<Self> {
        let [fma, exp2] = units()?;
        Some(Self {
            fma: rate(fma),
            exp2: rate(exp2),
        })
    }

    /// The least time in seconds of `fma` multiply-adds and `exp2` exponentials.
    pub fn seconds(&self, [fma, exp2]: [f64; 2]) -> f64 {
        fma / self.fma + exp2 / self.exp2
    }
}

/// Does an amount of work and returns the number of operations.
type Unit = fn() -> f64;

/// The best rate of a few tries of about a tenth of a second.
fn rate(unit: Unit) -> f64 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let try_once = || {
        let start = Instant::now();
        let operations: f64 = thread::scope(|scope| {
            let work = || {
                let mut operations = 0.0;
                while start.elapsed().as_secs_f64() < 0.1 {
                    operations += unit();
                }
                operations
            };
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            let counts = threads.into_iter().map(|t| t.join().expect("it counts"));
            counts.sum()
        });
        operations / start.elapsed().as_secs_f64()
    };
    (0..7).map(|_| try_once()).fold(0.0, f64::max)
}

#[cfg(target_arch = "x86_64")]
fn units() -> Option<[Unit; 2]> {
    if std::arch::is_x86_feature_detected!("avx512f") {
        // Sound, because the processor has the instructions.
        return Some([|| unsafe { avx512::fma() }, || unsafe { avx512::exp2() }]);
    }
    let avx2 =
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    avx2.then_some([|| unsafe { avx2::fma() }, || unsafe { avx2::exp2() }])
}

#[cfg(not(target_arch = "x86_64"))]
fn units() -> Option<[Unit; 2]> {
    None
}

/// The two loops for vectors of one width. Enough independent vectors hide the latency of an
/// operation.
#[cfg(target_arch = "x86_64")]
macro_rules! width {
    ($name:ident, $features:literal, $lanes:literal, $set:ident, $fma:ident, $add:ident, $sub:ident,
     $to_integer:ident, $to_float:ident, $shift:ident, $add_integer:ident) => {
        mod $name {
            use std::{arch::x86_64::*, hint::black_box};

            const ROUNDS: usize = 10_000;
            const CHAINS: usize = 12;

            #[target_feature(enable = $features)]
            pub fn fma() -> f64 {
                let factor = $set(black_box(0.999_999));
                let summand = $set(black_box(1e-6));
                let mut chains = [$set(black_box(1.0)); CHAINS];
                // Without an iterator: where little is optimised, `Range::next` is a call, around which all chains
                // are stored and loaded again.
                let mut left = ROUNDS;
                while left > 0 {
                    left -= 1;
                    // Written out, because compilers hardly unroll loops without optimisation.
                    chains = [
                        $fma(chains[0], factor, summand),
                        $fma(chains[1], factor, summand),
                        $fma(chains[2], factor, summand),
                        $fma(chains[3], factor, summand),
                        $fma(chains[4], factor, summand),
                        $fma(chains[5], factor, summand),
                        $fma(chains[6], factor, summand),
                        $fma(chains[7], factor, summand),
                        $fma(chains[8], factor, summand),
                        $fma(chains[9], factor, summand),
                        $fma(chains[10], factor, summand),
                        $fma(chains[11], factor, summand),
                    ];
                }
                black_box(chains);
                (ROUNDS * CHAINS * $lanes) as f64
            }

            #[target_feature(enable = $features)]
            pub fn exp2() -> f64 {
                let magic = $set(black_box(12_582_912.0));
                // Taylor's coefficients. Only the number of operations matters here, not their
                // accuracy.
                let c = [
                    1.333_355_8e-3,
                    9.618_129e-3,
                    5.550_411e-2,
                    2.402_265e-1,
                    6.931_472e-1,
                    1.0,
                ]
                .map(|c| $set(black_box(c)));
                let step = $set(black_box(1e-4));
                let start = $set(black_box(-3.3));
                let mut chains = [(start, $set(0.0)); 4];
                let mut left = ROUNDS;
                while left > 0 {
                    left -= 1;
                    let one = |(t, total)| {
                        let t = $add(t, step);
                        let shifted = $add(t, magic);
                        let rest = $sub(t, $sub(shifted, magic));
                        let p = $fma(c[0], rest, c[1]);
                        let p = $fma(p, rest, c[2]);
                        let p = $fma(p, rest, c[3]);
                        let p = $fma(p, rest, c[4]);
                        let p = $fma(p, rest, c[5]);
                        let exponent = $shift::<23>($to_integer(shifted));
                        let value = $to_float($add_integer($to_integer(p), exponent));
                        // Summing uses the result. Many processors add on other units than those
                        // that multiply.
                        (t, $add(total, value))
                    };
                    chains = [
                        one(chains[0]),
                        one(chains[1]),
                        one(chains[2]),
                        one(chains[3]),
                    ];
                }
                black_box(chains);
                (ROUNDS * 4 * $lanes) as f64
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
width!(
    avx512,
    "avx512f",
    16,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_castps_si512,
    _mm512_castsi512_ps,
    _mm512_slli_epi32,
    _mm512_add_epi32
);
#[cfg(target_arch = "x86_64")]
width!(
    avx2,
    "avx2,fma",
    8,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_castps_si256,
    _mm256_castsi256_ps,
    _mm256_slli_epi32,
    _mm256_add_epi32
);
