//! The backend that examples and benchmarks run on.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::llvm;
use crate::test::{self, FEATURES};

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

    /// Selects it in a command of cargo for one package.
    pub fn select(self, command: &mut Command, package: &str) {
        let features = match self {
            // The default ones, and files of columns.
            Self::Flex => "mmap",
            Self::Cpu | Self::Wgpu => FEATURES,
        };
        command.args(["--package", package, "--features", features]);
        self.set(command);
    }

    /// Selects it in a command of cargo that can take several packages, so that what the tests built is used.
    pub fn select_with_tests(self, command: &mut Command) {
        command.args(test::libraries());
        self.set(command);
    }

    /// Tells the program.
    fn set(self, command: &mut Command) {
        let name = match self {
            Self::Flex => "flex",
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
        };
        command.env("BURN_DEVICE", name);
    }
}
