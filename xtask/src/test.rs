//! `cargo xtask test`: every check of the project.

use std::env;
use std::ffi::OsString;
use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use clap::Args;

use crate::chosen::{
    ALL_ON_CPU, ALL_ON_WGPU, AS_SPIRV, BACKEND_ON_STANDIN, CHECKED, KERNELS_ON_STANDIN, ON_CPU,
    ON_OTHER_CARD, ON_WGPU,
};
use crate::process::Source;
use crate::summary::{Outcome, Row, Tally, table};
use crate::turns::{Turns, lock};
use crate::{bounds, llvm, process, standin, targets, vulkan, web};

/// The features of the tests. All steps have the same features, so that one build serves all of them. Examples and
/// benchmarks on compiled devices have these features, too.
pub const FEATURES: &str = if cfg!(target_os = "linux") {
    "cpu,cuda,wgpu,ndarray,mmap,remote-server,remote-websocket"
} else {
    // There is no stand-in for NVIDIA's driver here, so `cuda` is left out.
    "cpu,wgpu,ndarray,mmap,remote-server,remote-websocket"
};
/// The features of the tests where there is no LLVM to link.
const FEATURES_WITHOUT_LLVM: &str = "wgpu,ndarray,mmap,remote-server,remote-websocket";
/// The packages that are built together. The stand-in for a driver shares few dependencies with them.
pub const LIBRARIES: &str = "--workspace --exclude xtask --exclude burn-lazy-standin";
/// The packages whose tests run kernels. The layers are left out: they are made of these. The program that compiles
/// kernels for other devices is included, so that shared dependencies have the same features as with [`LIBRARIES`].
const CORE: &str = "-p burn-lazy -p burn-lazy-kernels -p burn-lazy-targets";
/// CubeCL's shader compilers recurse with the nesting of a kernel. In unoptimised builds this takes more than the
/// default stack of a thread.
const DEEP_STACK: (&str, &str) = ("RUST_MIN_STACK", "16777216");
/// The CPU runtime compiles kernels on one thread, and its workers wait in a busy loop. So running one test at a
/// time takes no longer, and it leaves a core to the other step that runs at the same time.
const ONE_TEST: (&str, &str) = ("RUST_TEST_THREADS", "1");
/// Mesa's software Vulkan compiles each kernel with LLVM, and each kernel runs only once or twice. Without LLVM's
/// optimisations, a test that compiles many kernels takes two thirds of the time.
const PLAIN_CODE: (&str, &str) = ("GALLIVM_PERF", "nopt");

/// The packages and the features that the tests are built with, as arguments for cargo.
pub fn libraries() -> Vec<String> {
    let mut arguments: Vec<String> = LIBRARIES.split(' ').map(str::to_owned).collect();
    arguments.extend(["--features".to_owned(), with_targets(FEATURES)]);
    arguments
}

/// The features, with the feature of the program that compiles kernels for other devices where it can be built.
fn with_targets(features: &str) -> String {
    match cfg!(target_os = "linux") && features == FEATURES {
        true => format!("{features},{}", targets::FEATURE),
        false => features.to_owned(),
    }
}

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

/// What the machine must have for a step.
#[derive(Clone, Copy)]
enum Need {
    Nothing,
    Llvm,
    Vulkan,
    Web,
    /// [`Web`](Self::Web), and the program that runs its tests.
    Node,
    Targets,
}

/// Makes a step from a name, arguments of cargo, variables of the environment and a need.
type Make<'a> = dyn Fn(&'static str, &str, &[(&'static str, &'static str)], Need) -> Step + 'a;

struct Step {
    name: &'static str,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, &'static str)>,
    need: Need,
    /// Whether the validation layer of Vulkan checks the step.
    validated: bool,
    /// Whether kernels check their indices in this step.
    checked: bool,
    /// The card that the stand-in for NVIDIA's driver represents, if the step runs on it.
    standin: Option<standin::Machine>,
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
    let passed = match (step.validated, &missing.validation) {
        _ if step.checked => bounds::checked(&mut command, say),
        _ if let Some(machine) = &step.standin => standin::run(&mut command, machine, say),
        (true, None) => vulkan::validated(&mut command, say),
        (true, Some(reason)) if strict => return unavailable(reason, strict, say),
        (true, Some(reason)) => {
            let line = format!("without the validation layer: {reason}");
            say(Source::Stdout, &line);
            process::stream(&mut command, say)
        }
        (false, _) => process::stream(&mut command, say),
    };
    match passed {
        Ok(passed) => passed.into(),
        Err(error) => {
            say(Source::Stderr, &format!("{error:#}"));
            Outcome::Failed
        }
    }
}

/// The steps that run kernels of the CUDA runtime on the stand-in for its driver, with units in different orders
/// and with `all` also as a second card.
fn on_standin(step: &Make, toolkit: &Path, all: bool) -> Vec<Step> {
    let variables = [
        ("BURN_DEVICE", "cuda"),
        ("BURN_LAZY_RUNTIME", "cuda"),
        DEEP_STACK,
    ];
    let on = |name, tests: &str, [capability, order, approximate]: [&'static str; 3]| Step {
        standin: Some(standin::Machine {
            capability,
            order,
            approximate,
            toolkit: toolkit.to_owned(),
        }),
        ..step(
            name,
            &format!("test {{core}} --features {{features}} {tests}"),
            &variables,
            Need::Targets,
        )
    };
    let mut steps = vec![
        on(
            "kernels on a stand-in for CUDA, 9.0",
            &format!("--test kernels -- {KERNELS_ON_STANDIN}"),
            ["90", "alternating", "0"],
        ),
        on(
            "backend on a stand-in for CUDA",
            &format!("--test backend -- {BACKEND_ON_STANDIN}"),
            ["90", "backward", "0"],
        ),
    ];
    if all {
        steps.push(on(
            "kernels on a stand-in for CUDA, 8.0",
            &format!("--test kernels -- {ON_OTHER_CARD}"),
            ["80", "7", "1"],
        ));
    }
    steps
}

/// The steps, in the order in which they start.
///
/// The xtask has steps of its own. If it were built together with the libraries, it would switch on features of
/// shared dependencies. Then nearly everything would be built once for these steps and again for the examples and
/// for a plain `cargo test`.
fn steps(features: &str, all: bool, tools: Option<&targets::Tools>) -> Vec<Step> {
    let step = |name, arguments: &str, variables: &[_], need| Step {
        name,
        arguments: arguments
            .replace("{libraries}", LIBRARIES)
            .replace("{core}", CORE)
            .replace("{features}", &with_targets(features))
            .replace("{standin}", &format!("-p {}", standin::PACKAGE))
            .replace("{program}", targets::PROGRAM)
            .replace("{web}", web::TARGET)
            .split(' ')
            .map(OsString::from)
            .collect(),
        variables: variables.to_vec(),
        need,
        validated: false,
        checked: false,
        standin: None,
    };
    let (on_cpu, on_wgpu) = match all {
        true => (ALL_ON_CPU, ALL_ON_WGPU),
        false => (ON_CPU, ON_WGPU),
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
        step("licences", "run -p xtask -- licences", &[], Need::Nothing),
        step(
            "lints",
            "clippy {libraries} --all-targets --features {features} -- -D warnings",
            &[],
            Need::Nothing,
        ),
        step(
            "documentation",
            // With an example, the dependencies have the same features as in the step before, and are not checked
            // again.
            "doc {libraries} --no-deps --lib --example tutorial --features {features}",
            &[("RUSTDOCFLAGS", "-D warnings")],
            Need::Nothing,
        ),
        step(
            "tests, host",
            // Without examples, which the lints check and the demo runs, because linking them takes minutes.
            "test {libraries} --lib --tests --features {features} --no-fail-fast",
            &[("BURN_DEVICE", "flex"), ("BURN_LAZY_ENGINE", "host")],
            Need::Nothing,
        ),
        step(
            "tests, snippets",
            "test {libraries} --doc --features {features}",
            &[("BURN_DEVICE", "flex"), ("BURN_LAZY_ENGINE", "host")],
            Need::Nothing,
        ),
        step(
            "tests, cpu",
            &format!(
                "test {{core}} -p burn-lazy-remote --features {{features}} --no-fail-fast --test * -- {on_cpu}"
            ),
            &[
                ("BURN_DEVICE", "cpu"),
                ("BURN_LAZY_RUNTIME", "cpu"),
                ONE_TEST,
            ],
            Need::Llvm,
        ),
        step(
            "tests, wgpu",
            &format!("test {{core}} --features {{features}} --no-fail-fast --test * -- {on_wgpu}"),
            &[
                ("BURN_DEVICE", "wgpu"),
                ("BURN_LAZY_RUNTIME", "wgpu"),
                DEEP_STACK,
                PLAIN_CODE,
            ],
            Need::Vulkan,
        ),
    ];
    if all {
        steps.push(step(
            "tests, remote devices without fusion",
            "test -p burn-lazy-remote --no-default-features",
            &[],
            Need::Nothing,
        ));
    }
    if cfg!(target_os = "linux") {
        steps.extend([
            step(
                "lints, stand-in for CUDA",
                "clippy {standin} --all-targets -- -D warnings",
                &[],
                Need::Nothing,
            ),
            step(
                "tests, stand-in for CUDA",
                "test {standin}",
                &[],
                Need::Nothing,
            ),
        ]);
        // If the compiler is missing, the step reports this.
        let toolkit = tools.map(targets::Tools::toolkit).unwrap_or_default();
        steps.extend(on_standin(&step, &toolkit, all));
    }
    // macOS has no Vulkan: wgpu uses Metal there. Without this step, SPIR-V is validated, but does not run.
    if all && !cfg!(target_os = "macos") {
        // The tests are built once more with SPIR-V, in which shaders are then made wherever possible, instead of
        // WGSL.
        let arguments = format!(
            "test {{libraries}} --features {{features}},burn-lazy-kernels/vulkan --test kernels -- {AS_SPIRV}"
        );
        steps.push(Step {
            validated: true,
            ..step(
                "kernels, SPIR-V",
                &arguments,
                &[("BURN_LAZY_RUNTIME", "vulkan"), DEEP_STACK, PLAIN_CODE],
                Need::Vulkan,
            )
        });
    }
    // This only checks that the examples build for browsers. The next step runs the host engine, without a browser.
    if all {
        steps.push(step(
            "build, web",
            "check --target {web} --features webgpu --examples",
            &[],
            Need::Web,
        ));
    }
    steps.push(step(
        "kernels, web",
        "test -p burn-lazy-kernels --target {web} --test corpus",
        &[web::RUNNER],
        Need::Node,
    ));
    let mut kernels = step(
        "kernels, other targets",
        "test {libraries} --features {features} {program} check --table",
        &[],
        Need::Targets,
    );
    kernels.arguments.push(targets::TABLE.into());
    kernels
        .arguments
        .extend(["--record".into(), targets::RECORD.into()]);
    if !all {
        kernels.arguments.push("--brief".into());
    }
    if let Some(tools) = tools {
        kernels.arguments.extend(tools.arguments());
    }
    steps.push(kernels);
    // This is the last step because the workers of the CPU runtime wait in a busy loop: two processes that use it
    // at the same time slow each other down.
    steps.push(Step {
        checked: true,
        ..step(
            "kernels, indices checked",
            &format!(
                "test {{core}} --features {{features}} --test kernels -- --nocapture {CHECKED}"
            ),
            &[("BURN_LAZY_RUNTIME", "cpu"), bounds::VARIABLE],
            Need::Llvm,
        )
    });
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
