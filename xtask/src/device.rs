//! The backend that examples and benchmarks run on.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::{llvm, steps::FEATURES};

/// A backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// Plain Rust; needs only the default features
    #[default]
    Flex,
    /// The CPU runtime of CubeCL; needs LLVM
    Cpu,
    /// A graphics card through wgpu
    Wgpu,
}

impl Device {
    /// Sets up what a build for the device needs.
    pub fn ensure(self, say: &dyn Fn(&str)) -> Result<()> {
        match self {
            Self::Flex => Ok(()),
            // The same build serves both, so it needs LLVM for either.
            Self::Cpu | Self::Wgpu => llvm::ensure_gpu(say),
        }
    }

    /// Selects the device in a command of cargo that builds and runs. Examples and benchmarks have the same
    /// features, so that one build serves both. Tests have their own profile.
    pub fn select(self, command: &mut Command) {
        let name = match self {
            Self::Flex => "flex",
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
        };
        command.env("BURN_DEVICE", name);
        let features = match self {
            // The default features, and files of columns.
            Self::Flex => "mmap",
            Self::Cpu | Self::Wgpu => FEATURES,
        };
        command.args(["--features", features]);
    }
}
