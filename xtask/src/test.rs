//! `cargo xtask test`: every check of the project.

use std::env;
use std::ffi::OsString;
use std::time::Instant;

use clap::Args;

use crate::summary::{Outcome, Row, Tally, table};
use crate::{llvm, process, targets, vulkan, web};

/// The features of the tests and the examples: one set, so that one build serves both.
pub const FEATURES: &str = "cpu,wgpu";
/// The same where there is no LLVM to link.
const FEATURES_WITHOUT_LLVM: &str = "wgpu";
/// What the other targets take has features of its own, too.
pub const LIBRARIES: &str = "--workspace --exclude xtask --exclude burn-lazy-targets";
/// CubeCL's shader compilers recurse with the nesting of a kernel, in unoptimised builds deeper
/// than the default stack of a thread.
const DEEP_STACK: (&str, &str) = ("RUST_MIN_STACK", "16777216");

#[derive(Args)]
pub struct Options {
    /// Count a step that cannot run here as failed, not as skipped; also on when CI=true
    #[arg(long)]
    strict: bool,
    /// Compile the kernels for devices that the machine lacks, too: a build of its own
    #[arg(long)]
    targets: bool,
    /// Only steps whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// What the machine must have for a step.
#[derive(Clone, Copy)]
enum Need {
    Nothing,
    Llvm,
    Vulkan,
    Web,
    Targets,
}

struct Step {
    name: &'static str,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, &'static str)>,
    need: Need,
    /// Whether the validation layer of Vulkan watches.
    validated: bool,
}

/// What the set-up could not provide, as the reason why.
struct Missing {
    llvm: Option<String>,
    vulkan: Option<String>,
    validation: Option<String>,
    web: Option<String>,
    targets: Option<String>,
}

impl Missing {
    fn of(&self, need: Need) -> Option<&str> {
        match need {
            Need::Nothing => None,
            Need::Llvm => self.llvm.as_deref(),
            Need::Vulkan => self.vulkan.as_deref(),
            Need::Web => self.web.as_deref(),
            Need::Targets => self.targets.as_deref(),
        }
    }
}

/// Runs every step, also after a failure; whether all passed. The last line printed is the count.
pub fn run(options: &Options) -> bool {
    let strict = options.strict || env::var("CI").is_ok_and(|value| value == "true");
    let (missing, tools) = set_up(options.targets);
    let features = if missing.llvm.is_some() {
        FEATURES_WITHOUT_LLVM
    } else {
        FEATURES
    };
    let mut steps = steps(features, options.targets, tools.as_ref());
    if let Some(only) = &options.only {
        steps.retain(|step| step.name.contains(only.as_str()));
    }
    let count = steps.len();
    let rows: Vec<Row> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            println!("\n==> [{}/{count}] {}", index + 1, step.name);
            let start = Instant::now();
            let outcome = match missing.of(step.need) {
                Some(reason) => unavailable(reason, strict),
                None => run_step(step, &missing, strict),
            };
            Row {
                name: step.name,
                outcome,
                time: start.elapsed(),
            }
        })
        .collect();

    print!("\n{}", table(&rows));
    let tally = Tally::of(rows.iter().map(|row| row.outcome));
    println!("{tally}");
    tally.failed == 0
}

fn set_up(other_targets: bool) -> (Missing, Option<targets::Tools>) {
    println!("==> set-up");
    let say = |message: &str| println!("{message}");
    let reason = |error: anyhow::Error| {
        let reason = format!("{error:#}");
        eprintln!("{reason}");
        reason
    };
    let llvm = llvm::ensure(&say).err().map(reason);
    let vulkan = vulkan::ensure(&say).err().map(reason);
    let validation = vulkan::ensure_validation(&say).err().map(reason);
    let web = web::ensure(&say).err().map(reason);
    let (tools, targets) = match other_targets.then(|| targets::Tools::ensure(&say)) {
        Some(Ok(tools)) => (Some(tools), None),
        Some(Err(error)) => (None, Some(reason(error))),
        None => (None, None),
    };
    let missing = Missing {
        llvm,
        vulkan,
        validation,
        web,
        targets,
    };
    (missing, tools)
}

fn unavailable(reason: &str, strict: bool) -> Outcome {
    if strict {
        eprintln!("failed, as this cannot run here: {reason}");
        Outcome::Failed
    } else {
        println!("skipped: {reason}");
        Outcome::Skipped
    }
}

fn run_step(step: &Step, missing: &Missing, strict: bool) -> Outcome {
    let mut command = process::cargo();
    command
        .args(&step.arguments)
        .envs(step.variables.iter().copied());
    let variables: String = step
        .variables
        .iter()
        .map(|(name, value)| format!("{name}={} ", process::quoted(value)))
        .collect();
    println!("{variables}{}", process::display(&command));
    let passed = match (step.validated, &missing.validation) {
        (true, None) => vulkan::validated(&mut command),
        (true, Some(reason)) if strict => return unavailable(reason, strict),
        (true, Some(reason)) => {
            println!("without the validation layer: {reason}");
            process::succeeds(&mut command)
        }
        (false, _) => process::succeeds(&mut command),
    };
    match passed {
        Ok(passed) => passed.into(),
        Err(error) => {
            eprintln!("{error:#}");
            Outcome::Failed
        }
    }
}

/// The steps, in the order in which they run.
///
/// The xtask has steps of its own. Built together with the libraries, it would switch on features
/// of dependencies that both share, and nearly everything would be built once for these steps and
/// again for the examples and for a plain `cargo test`.
fn steps(features: &str, other_targets: bool, tools: Option<&targets::Tools>) -> Vec<Step> {
    let step = |name, arguments: &str, variables: &[_], need| Step {
        name,
        arguments: arguments
            .replace("{libraries}", LIBRARIES)
            .replace("{features}", features)
            .replace("{targets}", targets::PACKAGE)
            .replace("{web}", web::TARGET)
            .split(' ')
            .map(OsString::from)
            .collect(),
        variables: variables.to_vec(),
        need,
        validated: false,
    };
    let mut steps = vec![
        step("format", "fmt --all --check", &[], Need::Nothing),
        step(
            "lints, xtask",
            "clippy -p xtask --all-targets -- -D warnings",
            &[],
            Need::Nothing,
        ),
        step("tests, xtask", "test -p xtask", &[], Need::Nothing),
        step(
            "lints",
            "clippy {libraries} --all-targets --features {features} -- -D warnings",
            &[],
            Need::Nothing,
        ),
        step(
            "documentation",
            "doc {libraries} --no-deps --features {features}",
            &[("RUSTDOCFLAGS", "-D warnings")],
            Need::Nothing,
        ),
        step(
            "tests, cpu",
            "test {libraries} --features {features}",
            &[("BURN_DEVICE", "cpu"), ("BURN_LAZY_RUNTIME", "cpu")],
            Need::Llvm,
        ),
        step(
            "tests, wgpu",
            "test {libraries} --features {features} --test *",
            &[
                ("BURN_DEVICE", "wgpu"),
                ("BURN_LAZY_RUNTIME", "wgpu"),
                DEEP_STACK,
            ],
            Need::Vulkan,
        ),
    ];
    // There is no Vulkan on macOS, where wgpu uses Metal.
    if !cfg!(target_os = "macos") {
        steps.push(Step {
            validated: true,
            ..step(
                "kernels, SPIR-V",
                "test -p burn-lazy-kernels --features vulkan --test *",
                &[("BURN_LAZY_RUNTIME", "vulkan"), DEEP_STACK],
                Need::Vulkan,
            )
        });
    }
    // It has no threads to run tests on, and a machine like this no browser.
    steps.push(step(
        "build, web",
        "check --target {web} --features webgpu --examples",
        &[],
        Need::Web,
    ));
    if !other_targets {
        return steps;
    }
    steps.extend([
        step(
            "lints, other targets",
            "clippy {targets} --all-targets -- -D warnings",
            &[],
            Need::Targets,
        ),
        step("tests, other targets", "test {targets}", &[], Need::Targets),
        step(
            "kernels, other targets",
            "run {targets} -- check --table",
            &[],
            Need::Targets,
        ),
    ]);
    if let (Some(tools), Some(step)) = (tools, steps.last_mut()) {
        step.arguments.push(targets::TABLE.into());
        step.arguments.extend(tools.arguments());
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_without_llvm_does_not_ask_for_it() {
        let missing = Missing {
            llvm: Some("out of reach".into()),
            vulkan: None,
            validation: None,
            web: None,
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
        assert_eq!(unavailable("no driver", true), Outcome::Failed);
        assert_eq!(unavailable("no driver", false), Outcome::Skipped);
    }
}
