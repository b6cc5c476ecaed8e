//! The backend that examples and benchmarks run on.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::{llvm, test::FEATURES};

/// A backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// Plain Rust, of the default features
    #[default]
    Flex,
    /// The CPU runtime of CubeCL, which takes LLVM
    Cpu,
    /// A graphics card through wgpu
    Wgpu,
}

impl Device {
    /// Sets up what a build for it takes.
    pub fn ensure(self, say: &dyn Fn(&str)) -> Result<()> {
        match self {
            Self::Flex => Ok(()),
            // One build serves both.
            Self::Cpu | Self::Wgpu => llvm::ensure_gpu(say),
        }
    }

    /// Selects it in a command of cargo that builds and runs. Examples and benchmarks have the same features, so that one
    /// build serves both. Tests have a profile of their own.
    pub fn select(self, command: &mut Command) {
        let name = match self {
            Self::Flex => "flex",
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
        };
        command.env("BURN_DEVICE", name);
        let features = match self {
            // The default ones, and files of columns.
            Self::Flex => "mmap",
            Self::Cpu | Self::Wgpu => FEATURES,
        };
        command.args(["--features", features]);
    }
}
