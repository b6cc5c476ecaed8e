//! Code that is compiled for several sets of vector instructions. The best set that the processor has is chosen at run
//! time.

use crate::math::lane::Arithmetic;
#[cfg(target_arch = "aarch64")]
use crate::math::lane::Fused;
#[cfg(not(target_arch = "aarch64"))]
use crate::math::lane::Separate;
#[cfg(target_arch = "x86_64")]
use crate::math::lane::{Middle, Wide};

/// Loops over tiles. The functions that they call must be inlined, so that these are compiled for the same
/// instructions.
pub trait Vectors {
    /// The result of the loops.
    type Output;

    /// Runs the loops.
    fn run<M: Arithmetic>(self, math: M) -> Self::Output;
}

/// The set of instructions that code is run with. It is always one that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instructions(Set);

/// The sets of instructions that code is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// AVX-512: vectors of 64 bytes.
    #[cfg(target_arch = "x86_64")]
    Wide,
    /// AVX2 with fused multiply-adds: vectors of 32 bytes.
    #[cfg(target_arch = "x86_64")]
    Middle,
    /// The instructions that the whole program is compiled for.
    Common,
}

impl Instructions {
    /// The best set that this processor has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let fused =
                std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            let wide = std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512vl")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512bw");
            if fused && wide {
                return Self(Set::Wide);
            }
            if fused {
                return Self(Set::Middle);
            }
        }
        Self(Set::Common)
    }

    /// All sets that this processor has, for tests and measurements.
    pub fn all() -> Vec<Self> {
        let all = [
            Set::Common,
            #[cfg(target_arch = "x86_64")]
            Set::Middle,
            #[cfg(target_arch = "x86_64")]
            Set::Wide,
        ];
        // A processor that has one of the sets has those before it, too.
        let best = Self::detect();
        let last = all.iter().position(|own| *own == best.0);
        let all = &all[..=last.expect("it is one of them")];
        all.iter().copied().map(Self).collect()
    }

    /// Runs the loops with these instructions.
    #[inline(always)]
    pub fn run<V: Vectors>(self, loops: V) -> V::Output {
        match self.0 {
            // SAFETY: `detect` has found these instructions.
            #[cfg(target_arch = "x86_64")]
            Set::Wide => unsafe { run_wide(loops) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Middle => unsafe { run_middle(loops) },
            Set::Common => run_common(loops),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
fn run_wide<V: Vectors>(loops: V) -> V::Output {
    // SAFETY: the caller has these instructions.
    loops.run(unsafe { Wide::new() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_middle<V: Vectors>(loops: V) -> V::Output {
    // SAFETY: the caller has these instructions.
    loops.run(unsafe { Middle::new() })
}

// All 64-bit ARM processors have a fused multiply-add.
#[cfg(target_arch = "aarch64")]
fn run_common<V: Vectors>(loops: V) -> V::Output {
    loops.run(Fused)
}

#[cfg(not(target_arch = "aarch64"))]
fn run_common<V: Vectors>(loops: V) -> V::Output {
    loops.run(Separate)
}
