//! Developer tasks, run as `cargo xtask COMMAND`.

mod bench;
mod bounds;
mod chosen;
mod debian;
mod demo;
mod device;
mod fuzz;
mod gpu_bundle;
mod licences;
mod llvm;
mod process;
mod reference;
mod report;
mod standin;
mod steps;
mod summary;
mod targets;
mod test;
mod turns;
mod vulkan;
mod web;
mod wrapper;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer tasks of burn-lazy")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and run the examples, on Burn's backend Flex or on another one
    Demo(demo::Options),
    /// Run every check: format, lints, documentation, and the tests on each runtime
    Test(test::Options),
    /// Measure the accuracy of all functions anew and write the page that lists them
    Reference,
    /// Print what the kernels cost as machine code of an H100 and an MI300X; neither of them is needed
    Sass {
        /// Also write it to this file, as lines of JSON
        #[arg(long)]
        json: Option<PathBuf>,
        /// Only kernels whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
    /// Write the text of the kernels of the corpus in each language to a folder
    Emit {
        folder: PathBuf,
        /// Only kernels whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
    /// Write the record of the emitted text of all kernels and of their plans anew, after a change of either
    Record,
    /// Compare random formulas on the host engine with their definition in F64
    Fuzz(fuzz::Options),
    /// Check the licences of all packages that the libraries depend on
    Licences,
    /// Pack the tests, the benchmark and some examples for a machine with an NVIDIA card and no Rust
    GpuBundle,
    /// Run the benchmarks
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
}

fn main() -> ExitCode {
    let passed = wrapper::run().unwrap_or_else(run);
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command of the command line and returns whether it succeeded.
fn run() -> Result<bool> {
    match Cli::parse().command {
        Command::Demo(options) => Ok(demo::run(&options)),
        Command::Test(options) => Ok(test::run(&options)),
        Command::Reference => reference::run(),
        Command::Sass { json, only } => targets::sass(json.as_deref(), only.as_deref()),
        Command::Emit { folder, only } => targets::emit(&folder, only.as_deref()),
        Command::Record => targets::record(),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Licences => licences::run(),
        Command::GpuBundle => gpu_bundle::run(),
        Command::Bench { what } => bench::run(&what),
    }
}
