//! `cargo xtask fuzz`: compares random formulas of random sizes on the host engine with their definition in F64.

use std::num::NonZero;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::device::Device;
use crate::process::{self, capture};
use crate::steps;

/// The test that draws random formulas.
const TEST: &str = "on_device::host::random_formulas_on_the_host_match_the_reference";
/// The number of formulas that are drawn from one seed.
const AT_A_TIME: u64 = 5000;

#[derive(Args)]
pub struct Options {
    /// How many formulas are drawn
    #[arg(long, default_value_t = 1_000_000)]
    cases: u64,
    /// The first seed; each seed draws 5000 formulas
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

/// Runs the cases and returns whether all passed.
pub fn run(options: &Options) -> Result<bool> {
    Device::Cpu.ensure(&|message| println!("{message}"))?;
    // Builds first, so that the time of the first cases does not include the build.
    if !process::succeeds(command().arg("--no-run"))? {
        return Ok(false);
    }
    let bar = ProgressBar::new(options.cases);
    bar.set_style(
        ProgressStyle::with_template("[{bar:40}] {pos}/{len} formulas, {elapsed}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let (seed, left) = (AtomicU32::new(options.seed), AtomicU64::new(options.cases));
    let passed = AtomicBool::new(true);
    let work = || {
        while passed.load(Ordering::Relaxed) {
            let take = |left: u64| Some(left.saturating_sub(AT_A_TIME));
            let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            let cases = before.unwrap_or(0).min(AT_A_TIME);
            if cases == 0 {
                break;
            }
            let seed = seed.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = run_seed(seed, cases) {
                passed.store(false, Ordering::Relaxed);
                // `bar.println` would print nothing without a terminal.
                bar.suspend(|| eprintln!("seed {seed} of {cases} formulas fails: {error:#}"));
                break;
            }
            bar.inc(cases);
            if bar.is_hidden() {
                println!("seed {seed}: {cases} formulas passed");
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    bar.finish();
    println!(
        "seeds {} to {}",
        options.seed,
        seed.into_inner().saturating_sub(1)
    );
    Ok(passed.into_inner())
}

/// The command that builds the test, with the features of the tests.
fn command() -> Command {
    let mut command = process::cargo();
    command.arg("test").args(steps::libraries());
    command.args(["--test", "kernels"]);
    command
}

/// Runs `cases` formulas of a seed. The error contains the shortest formula that fails.
fn run_seed(seed: u32, cases: u64) -> Result<()> {
    let mut command = command();
    command.args(["--quiet", "--", "--exact", TEST, "--nocapture"]);
    command.env("BURN_LAZY_SEED", seed.to_string());
    command.env("BURN_LAZY_CASES", cases.to_string());
    capture(&mut command).map(drop)
}
