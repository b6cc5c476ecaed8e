//! The steps of `cargo xtask test`.

use std::ffi::OsString;
use std::path::Path;

use crate::chosen::{
    ALL_ON_CPU, ALL_ON_WGPU, AS_SPIRV, BACKEND_ON_STANDIN, CHECKED, KERNELS_ON_STANDIN, ON_CPU,
    ON_OTHER_CARD, ON_WGPU,
};
use crate::{bounds, standin, targets, web};

/// The features of the tests. All steps have the same features, so that one build serves all of them. Examples and
/// benchmarks on compiled devices have these features, too.
pub const FEATURES: &str = if cfg!(target_os = "linux") {
    "cpu,cuda,wgpu,ndarray,mmap,remote-server,remote-websocket"
} else {
    // There is no stand-in for NVIDIA's driver here, so `cuda` is left out.
    "cpu,wgpu,ndarray,mmap,remote-server,remote-websocket"
};

/// The features of the tests where there is no LLVM to link.
pub const FEATURES_WITHOUT_LLVM: &str = "wgpu,ndarray,mmap,remote-server,remote-websocket";

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

/// What the machine must have for a step.
#[derive(Clone, Copy)]
pub enum Need {
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

pub struct Step {
    pub name: &'static str,
    pub arguments: Vec<OsString>,
    pub variables: Vec<(&'static str, &'static str)>,
    pub need: Need,
    pub way: Way,
}

/// How the command of a step runs.
pub enum Way {
    Plain,
    /// The validation layer of Vulkan checks it.
    Validated,
    /// Its kernels check their indices.
    Checked,
    /// It runs on the stand-in for NVIDIA's driver, which represents this card.
    Standin(standin::Machine),
    /// Clippy takes the place of the compiler.
    Linted,
    /// Rustdoc documents each library before it tests its snippets.
    Documented,
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
        way: Way::Standin(standin::Machine {
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
pub fn steps(features: &str, all: bool, tools: Option<&targets::Tools>) -> Vec<Step> {
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
        way: Way::Plain,
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
        // This step builds what the steps after it use.
        step(
            "tests, host",
            // Without examples, which the lints check and the demo runs, because linking them takes minutes.
            "test {libraries} --lib --tests --features {features} --no-fail-fast",
            &[("BURN_DEVICE", "flex"), ("BURN_LAZY_ENGINE", "host")],
            Need::Nothing,
        ),
        Step {
            way: Way::Linted,
            ..step(
                "lints",
                "test {libraries} --all-targets --features {features} --no-run",
                &[],
                Need::Nothing,
            )
        },
        Step {
            way: Way::Documented,
            ..step(
                "documentation and its snippets",
                "test {libraries} --doc --features {features}",
                &[("BURN_DEVICE", "flex"), ("BURN_LAZY_ENGINE", "host")],
                Need::Nothing,
            )
        },
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
            way: Way::Validated,
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
        way: Way::Checked,
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
