//! Developer tasks, run as `cargo xtask COMMAND`.

mod debian;
mod demo;
mod llvm;
mod process;
mod reference;
mod summary;
mod targets;
mod test;
mod vulkan;

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
    /// Set up what the CPU runtime needs, then build and run the examples on it
    Demo(demo::Options),
    /// Run every check: format, lints, documentation, and the tests on each runtime
    Test(test::Options),
    /// Measure the accuracy of all functions anew and write the page that lists them
    Reference,
    /// Print what the kernels cost as machine code of an H100, which need not be here
    Sass {
        /// Also write it to this file, as lines of JSON
        #[arg(long)]
        json: Option<PathBuf>,
        /// Only kernels whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
    /// Run the benchmarks on the CPU runtime
    Bench {
        /// The benchmark: gaussian or solve
        #[arg(long, default_value = "gaussian")]
        name: String,
        /// Passed on to the benchmark program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let passed = match Cli::parse().command {
        Command::Demo(options) => Ok(demo::run(&options)),
        Command::Test(options) => Ok(test::run(&options)),
        Command::Reference => reference::run(),
        Command::Sass { json, only } => targets::sass(json.as_deref(), only.as_deref()),
        Command::Bench { name, args } => bench(&name, &args),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(name: &str, args: &[String]) -> Result<bool> {
    llvm::ensure(&|message| eprintln!("{message}"))?;
    let mut command = process::cargo();
    // The profile and the features of the tests, so that nothing is built anew: what is measured is
    // code that is compiled at run time.
    command.args(["bench", "--profile", "dev", "--features", test::FEATURES]);
    command.args(["--bench", name, "--"]);
    command.args(args).env("BURN_DEVICE", "cpu");
    process::succeeds(&mut command)
}
