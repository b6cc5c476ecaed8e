//! `cargo xtask test`: every check of the project.

use std::env;
use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use clap::Args;

use crate::process::Source;
use crate::steps::{FEATURES, FEATURES_WITHOUT_LLVM, Need, Step, Way, steps};
use crate::summary::{Outcome, Row, Tally, table};
use crate::turns::{Turns, lock};
use crate::{bounds, llvm, process, standin, targets, vulkan, web, wrapper};

#[derive(Args)]
pub struct Options {
    /// Count a step that cannot run here as failed, not as skipped; also on when CI=true
    #[arg(long)]
    strict: bool,
    /// Also run what largely repeats other steps, which takes hours: all tests on each runtime, kernels as SPIR-V
    /// and on another card, all kernels of the corpus for devices that the machine lacks instead of some in each
    /// language, remote devices without fusion, and a build of the examples for browsers
    #[arg(long)]
    all: bool,
    /// Only steps whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// For each need that the set-up could not provide, the reason.
struct Missing {
    llvm: Option<String>,
    vulkan: Option<String>,
    validation: Option<String>,
    web: Option<String>,
    node: Option<String>,
    targets: Option<String>,
}

impl Missing {
    fn of(&self, need: Need) -> Option<&str> {
        match need {
            Need::Nothing => None,
            Need::Llvm => self.llvm.as_deref(),
            Need::Vulkan => self.vulkan.as_deref(),
            Need::Web => self.web.as_deref(),
            Need::Node => self.web.as_deref().or(self.node.as_deref()),
            Need::Targets => self.targets.as_deref(),
        }
    }
}

/// The number of steps that run at the same time. A runtime compiles all kernels of a process on one thread, so
/// that the tests of one runtime leave cores to the tests of another. Builds wait for each other by themselves.
const AT_A_TIME: usize = 2;

/// Runs every step, also after a failure, and returns whether all passed. The last line printed is the count.
pub fn run(options: &Options) -> bool {
    let strict = options.strict || env::var("CI").is_ok_and(|value| value == "true");
    let (missing, tools) = set_up();
    let features = if missing.llvm.is_some() {
        FEATURES_WITHOUT_LLVM
    } else {
        FEATURES
    };
    let mut steps = steps(features, options.all, tools.as_ref());
    if let Some(only) = &options.only {
        steps.retain(|step| step.name.contains(only.as_str()));
    }
    let count = steps.len();
    let turns = Turns::new(count, process::print);
    let rows = Mutex::new(Vec::new());
    let queue = Mutex::new(steps.iter().enumerate());
    let work = || {
        loop {
            // As the condition of the loop, this would hold the lock during the step.
            let Some((index, step)) = lock(&queue).next() else {
                break;
            };
            let say = |source: Source, line: &str| turns.say(index, source, line);
            let title = format!("\n==> [{}/{count}] {}", index + 1, step.name);
            say(Source::Stdout, &title);
            let start = Instant::now();
            let outcome = match missing.of(step.need) {
                Some(reason) => unavailable(reason, strict, &say),
                None => run_step(step, &missing, strict, &say),
            };
            turns.end(index);
            let row = Row {
                name: step.name,
                outcome,
                time: start.elapsed(),
            };
            lock(&rows).push((index, row));
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(work);
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|e| e.into_inner());
    rows.sort_by_key(|(index, _)| *index);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();

    print!("\n{}", table(&rows));
    let tally = Tally::of(rows.iter().map(|row| row.outcome));
    println!("{tally}");
    tally.failed == 0
}

fn set_up() -> (Missing, Option<targets::Tools>) {
    println!("==> set-up");
    let say = |message: &str| println!("{message}");
    let reason = |error: anyhow::Error| {
        let reason = format!("{error:#}");
        eprintln!("{reason}");
        reason
    };
    let llvm = llvm::ensure_gpu(&say).err().map(reason);
    let vulkan = vulkan::ensure(&say).err().map(reason);
    let validation = vulkan::ensure_validation(&say).err().map(reason);
    let web = web::ensure(&say).err().map(reason);
    let node = web::check_node().err().map(reason);
    let (tools, targets) = match targets::Tools::ensure(&say) {
        Ok(tools) => (Some(tools), None),
        Err(error) => (None, Some(reason(error))),
    };
    let missing = Missing {
        llvm,
        vulkan,
        validation,
        web,
        node,
        targets,
    };
    (missing, tools)
}

type Say<'a> = dyn Fn(Source, &str) + Sync + 'a;

fn unavailable(reason: &str, strict: bool, say: &Say) -> Outcome {
    if strict {
        let line = format!("failed, as this cannot run here: {reason}");
        say(Source::Stderr, &line);
        Outcome::Failed
    } else {
        say(Source::Stdout, &format!("skipped: {reason}"));
        Outcome::Skipped
    }
}

fn run_step(step: &Step, missing: &Missing, strict: bool, say: &Say) -> Outcome {
    let mut command = process::cargo();
    command
        .args(&step.arguments)
        .envs(step.variables.iter().copied());
    if stderr().is_terminal() {
        // Cargo does not see that its output goes to a terminal.
        command.env("CARGO_TERM_COLOR", "always");
    }
    let variables: String = step
        .variables
        .iter()
        .map(|(name, value)| format!("{name}={} ", process::quoted(value)))
        .collect();
    let line = format!("{variables}{}", process::display(&command));
    say(Source::Stdout, &line);
    let passed = match (&step.way, &missing.validation) {
        (Way::Plain, _) => process::stream(&mut command, say),
        (Way::Checked, _) => bounds::checked(&mut command, say),
        (Way::Standin(machine), _) => standin::run(&mut command, machine, say),
        (Way::Linted, _) => wrapper::linted(&mut command, say),
        (Way::Documented, _) => wrapper::documented(&mut command, say),
        (Way::Validated, None) => vulkan::validated(&mut command, say),
        (Way::Validated, Some(reason)) if strict => return unavailable(reason, strict, say),
        (Way::Validated, Some(reason)) => {
            let line = format!("without the validation layer: {reason}");
            say(Source::Stdout, &line);
            process::stream(&mut command, say)
        }
    };
    match passed {
        Ok(passed) => passed.into(),
        Err(error) => {
            say(Source::Stderr, &format!("{error:#}"));
            Outcome::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn what_runs_without_llvm_does_not_ask_for_it() {
        let missing = Missing {
            llvm: Some("out of reach".into()),
            vulkan: None,
            validation: None,
            web: None,
            node: None,
            targets: Some("no LLVM".into()),
        };
        for step in steps(FEATURES_WITHOUT_LLVM, true, None) {
            if missing.of(step.need).is_none() {
                let takes_cpu = |argument: &OsString| argument.to_string_lossy().contains("cpu");
                assert!(!step.arguments.iter().any(takes_cpu), "{}", step.name);
                assert!(!step.variables.iter().any(|(_, value)| *value == "cpu"));
            }
        }
    }

    #[test]
    fn a_missing_need_is_a_failure_only_when_strict() {
        let silent = |_: Source, _: &str| ();
        assert_eq!(unavailable("no driver", true, &silent), Outcome::Failed);
        assert_eq!(unavailable("no driver", false, &silent), Outcome::Skipped);
    }
}
