//! `cargo xtask demo`: runs the examples, on Burn's backend Flex or on another one.

use std::io::{IsTerminal, stderr, stdout};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::device::Device;
use crate::process::{self, Source};
use crate::summary::{Outcome, Tally};

/// The examples, in the order in which they run: first the examples of the library, then the examples of its
/// layers.
const EXAMPLES: [Example; 14] = [
    Example {
        takes_size: true,
        ..example("burn-lazy", "tutorial")
    },
    example("burn-lazy", "regression"),
    example("burn-lazy", "knn_digits"),
    example("burn-lazy", "neighbours"),
    example("burn-lazy", "streaming"),
    example("burn-lazy", "gmm_fit"),
    example("burn-lazy", "shooting"),
    example("burn-lazy", "solve"),
    example("burn-lazy-nn", "attention"),
    example("burn-lazy-nn", "gp_regression"),
    example("burn-lazy-nn", "gradient_flow"),
    example("burn-lazy-nn", "co2"),
    example("burn-lazy-nn", "kriging"),
    example("burn-lazy-nn", "attention_memory"),
];

struct Example {
    package: &'static str,
    name: &'static str,
    /// Whether the example takes `--rows` and `--cols`.
    takes_size: bool,
}

const fn example(package: &'static str, name: &'static str) -> Example {
    Example {
        package,
        name,
        takes_size: false,
    }
}

#[derive(Args)]
pub struct Options {
    /// The backend that they run on
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// Rows of the kernel matrix in the tutorial
    #[arg(long, value_name = "M")]
    rows: Option<usize>,
    /// Columns of the kernel matrix in the tutorial
    #[arg(long, value_name = "N")]
    cols: Option<usize>,
}

impl Options {
    fn arguments(&self, example: &Example) -> Vec<String> {
        let mut arguments = Vec::new();
        if example.takes_size {
            for (option, value) in [("--rows", self.rows), ("--cols", self.cols)] {
                if let Some(value) = value {
                    arguments.extend([option.to_owned(), value.to_string()]);
                }
            }
        }
        arguments
    }
}

/// Runs every example and returns whether all passed. The last line printed is the count of passed and failed ones.
pub fn run(options: &Options) -> bool {
    let progress = Progress::new();
    progress.stage("set-up");
    let tally = match options.device.ensure(&|message| progress.say(message)) {
        Ok(()) => {
            progress.done();
            let outcome = |example| Outcome::from(run_example(&progress, example, options));
            Tally::of(EXAMPLES.iter().map(outcome))
        }
        Err(error) => {
            progress.error(&format!("set-up failed: {error:#}"));
            Tally {
                failed: EXAMPLES.len(),
                ..Tally::default()
            }
        }
    };
    progress.finish();
    println!("{tally}");
    tally.failed == 0
}

fn run_example(progress: &Progress, example: &Example, options: &Options) -> bool {
    let name = example.name;
    let command = |verb: &str| {
        let mut command = process::cargo();
        command.args([verb, "--package", example.package, "--example", name]);
        options.device.select(&mut command);
        command
    };
    let mut build = command("build");
    let mut run = command("run");
    run.arg("--quiet");
    let arguments = options.arguments(example);
    if !arguments.is_empty() {
        run.arg("--").args(arguments);
    }
    let mut passed = true;
    for (stage, command) in [("build", &mut build), ("run", &mut run)] {
        // A run after a failed build would only print the errors of the build again.
        if passed {
            progress.stage(&format!("{stage} {name}"));
            passed = progress.run(command).unwrap_or_else(|error| {
                progress.error(&format!("{error:#}"));
                false
            });
            if !passed {
                progress.error(&format!("{stage} of {name} failed"));
            }
        }
        progress.done();
    }
    passed
}

/// The progress of the run: a bar below the output on a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new() -> Self {
        let bar = (stdout().is_terminal() && stderr().is_terminal()).then(|| {
            let stages = 1 + 2 * EXAMPLES.len() as u64;
            let style = ProgressStyle::with_template("{spinner} [{bar:20}] {elapsed} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(stages).with_style(style.progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar }
    }

    fn stage(&self, name: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(name.to_owned());
                bar.set_message(name.to_owned());
            }
            None => println!("==> {name}"),
        }
    }

    fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(message.to_owned()),
            None => println!("{message}"),
        }
    }

    fn error(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    /// Runs the command and streams its output, on a terminal above the bar. Lines in which cargo reports its own
    /// progress become the message of the bar.
    fn run(&self, command: &mut Command) -> Result<bool> {
        let Some(bar) = &self.bar else {
            return process::succeeds(command);
        };
        process::stream(command, |source, line| match (source, cargo_status(line)) {
            (Source::Stderr, Some(status)) => {
                bar.set_message(format!("{}: {status}", bar.prefix()));
            }
            (Source::Stderr, None) => bar.suspend(|| eprintln!("{line}")),
            (Source::Stdout, _) => bar.suspend(|| println!("{line}")),
        })
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The text of a line like `   Compiling burn v0.22.1`, where cargo prints the verb in twelve columns.
fn cargo_status(line: &str) -> Option<&str> {
    let (verb, rest) = line.split_at_checked(12)?;
    let verb = verb.trim_start();
    let is_verb = verb.starts_with(|c: char| c.is_ascii_uppercase())
        && verb.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_verb && rest.starts_with(' ')).then(|| line.trim())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn progress_lines_of_cargo_are_told_from_messages() {
        let status = "   Compiling burn v0.22.1";
        assert_eq!(cargo_status(status), Some("Compiling burn v0.22.1"));
        assert_eq!(
            cargo_status("    Finished `dev` profile"),
            Some("Finished `dev` profile")
        );
        for message in [
            "",
            "warning: unused variable",
            "   --> src/lib.rs:1:2",
            "error: could not compile",
            "            Some text",
            "Compiling x y z",
            "äöüäöüä",
        ] {
            assert_eq!(cargo_status(message), None, "{message}");
        }
    }

    #[test]
    fn each_example_is_a_program_of_its_package() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for Example { package, name, .. } in EXAMPLES {
            let folder = match package {
                "burn-lazy" => root.clone(),
                _ => root.join("nn"),
            };
            let file = folder.join(format!("examples/{name}.rs"));
            assert!(file.exists(), "{}", file.display());
        }
    }

    #[test]
    fn the_size_goes_to_the_examples_that_take_it() {
        let options = Options {
            device: Device::Flex,
            rows: Some(300),
            cols: None,
        };
        assert_eq!(options.arguments(&EXAMPLES[0]), ["--rows", "300"]);
        assert!(options.arguments(&EXAMPLES[1]).is_empty());
        let options = Options {
            device: Device::Flex,
            rows: Some(300),
            cols: Some(7),
        };
        assert_eq!(
            options.arguments(&EXAMPLES[0]),
            ["--rows", "300", "--cols", "7"]
        );
    }
}
