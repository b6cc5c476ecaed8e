//! Compiles the kernels with the compilers of devices that this machine need not have, and analyses the result.
//! `cargo xtask test` and `cargo xtask sass` run it with the tools that it needs.

mod corpus;
mod devices;
mod emit;
mod record;
mod sass;
mod table;
mod tools;

use std::{
    collections::BTreeMap,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use burn_lazy_kernels::{LaunchError, Precision};
use clap::{Parser, Subcommand};
use cubecl::ir::AddressType;

use corpus::Case;
use devices::Device;
use emit::Language;
use record::{Hashes, Record};
use sass::Isa;
use tools::{Clang, Compiled, Job, Nvidia, Tools};

#[derive(Parser)]
#[command(about = "Compiles the kernels for devices that are not here")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The folder `nvidia` of the Python packages with NVRTC, ptxas and nvdisasm
    #[arg(long, global = true)]
    nvidia: Option<PathBuf>,
    /// A Clang with the target AMDGPU
    #[arg(long, global = true, requires = "amd_libraries")]
    clang: Option<PathBuf>,
    /// The folder with AMD's device libraries as bitcode
    #[arg(long, global = true)]
    amd_libraries: Option<PathBuf>,
    /// The validator of the SPIR-V tools
    #[arg(long, global = true)]
    spirv_val: Option<PathBuf>,
    /// The folder in which the results of compilers are kept; beside the folder of this program if not given
    #[arg(long, global = true)]
    cache: Option<PathBuf>,
    /// Only kernels whose name contains this
    #[arg(long, global = true, default_value = "")]
    only: String,
}

#[derive(Subcommand)]
enum Command {
    /// Emit and compile every kernel of the corpus for every target
    Check {
        /// The table that the machine code is compared with
        #[arg(long)]
        table: Option<PathBuf>,
        /// The record that the text of the kernels and their plans are compared with
        #[arg(long)]
        record: Option<PathBuf>,
        /// Compile each formula and each reduction in one scheme and one type only
        #[arg(long)]
        brief: bool,
    },
    /// Write the record of the text of all kernels and of their plans
    Record { file: PathBuf },
    /// Print what the machine code for an H100 and an MI300X costs
    Sass {
        /// Also write it as lines of JSON
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Write the emitted kernels into a folder, uncompiled
    Emit { folder: PathBuf },
}

/// The result of compiling a kernel for a target.
struct Outcome {
    kernel: String,
    device: &'static str,
    language: Language,
    target: String,
    /// Whether it has a row in the table of what machine code costs.
    measured: bool,
    /// The hashes of its text and of its plan, if it could be emitted.
    hashes: Option<Hashes>,
    result: Result<table::Row>,
}

/// The devices and targets in the table of costs.
const MEASURED: [(&str, &str); 2] = [("h100", "sm_90"), ("mi300x", "gfx942")];
/// The kernels of a reduction, as [`Kernels::define`](burn_lazy_kernels::Kernels::define) orders them.
const KERNELS: [&str; 2] = ["reduce", "merge"];

fn main() -> ExitCode {
    let cli = Cli::parse();
    // CubeCL looks there for NVIDIA's library of mathematical functions.
    if let Some(folder) = cli.nvidia.as_deref().and_then(tools::toolkit) {
        // SAFETY: there is no other thread yet.
        unsafe { env::set_var("CUDA_PATH", folder) };
    }
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let start = Instant::now();
    let cache = match &cli.cache {
        Some(cache) => cache.clone(),
        None => {
            let program = env::current_exe()?;
            let target = program
                .ancestors()
                .nth(2)
                .context("a program has a folder")?;
            target.join("compiled-kernels")
        }
    };
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let tools = match cli.command {
        // These commands only emit kernels, so they need no compilers.
        Command::Record { .. } | Command::Emit { .. } => Tools {
            nvidia: None,
            clang: None,
            spirv_val: None,
            cache,
        },
        Command::Check { .. } | Command::Sass { .. } => {
            let clang = cli.clang.as_ref().zip(cli.amd_libraries.as_ref());
            Tools {
                nvidia: cli.nvidia.as_deref().map(Nvidia::new).transpose()?,
                clang: clang
                    .map(|(program, libraries)| Clang::new(program, libraries))
                    .transpose()?,
                spirv_val: cli.spirv_val.clone(),
                cache,
            }
        }
    };
    let devices = devices::all();
    let mut cases = corpus::cases();
    cases.retain(|case| case.name.contains(&cli.only));
    let brief = matches!(cli.command, Command::Check { brief: true, .. });
    cases.retain(|case| case.brief || !brief);
    if let Command::Emit { folder } = &cli.command {
        return emit_all(&devices, &cases, folder);
    }
    let sass = matches!(cli.command, Command::Sass { .. });
    let work: Vec<(&Device, &Case, Language)> = cases
        .iter()
        .flat_map(|case| devices.iter().map(move |device| (device, case)))
        .filter(|(device, case)| {
            let devices = MEASURED.map(|(device, _)| device);
            !sass || (case.measured() && devices.contains(&device.name))
        })
        .flat_map(|(device, case)| {
            device
                .languages
                .iter()
                .map(move |language| (device, case, *language))
        })
        .collect();
    let outcomes = compile_all(&tools, &work)?;
    let failures = outcomes
        .iter()
        .filter(|outcome| outcome.result.is_err())
        .count();
    // The table was made with one version of Clang. Other versions make other code.
    let clang = tools
        .clang
        .as_ref()
        .is_some_and(Clang::is_that_of_the_table);
    let rows: Vec<&table::Row> = outcomes
        .iter()
        .filter(|outcome| outcome.measured && (clang || outcome.language.isa() != Some(Isa::Gcn)))
        .filter_map(|outcome| outcome.result.as_ref().ok())
        .collect();
    let mut passed = failures == 0;
    match &cli.command {
        Command::Sass { json } => {
            print!("{}", table::render(&rows));
            if let Some(file) = json {
                fs::write(file, table::lines(&rows)?)
                    .with_context(|| format!("writing {}", file.display()))?;
            }
        }
        Command::Record { file } => {
            fs::write(file, recorded(&outcomes).lines()?)
                .with_context(|| format!("writing {}", file.display()))?;
        }
        Command::Check { table, record, .. } => {
            summarise(&tools, &outcomes);
            if let Some(file) = record {
                let text = fs::read_to_string(file)
                    .with_context(|| format!("reading {}", file.display()))?;
                let all = cli.only.is_empty() && !brief;
                let changes = recorded(&outcomes).compare(&Record::parse(&text)?, all);
                for change in &changes {
                    eprintln!("{change}");
                }
                passed &= changes.is_empty();
            }
            if let Some(file) = table.as_ref().filter(|_| tools.nvidia.is_some()) {
                let text = fs::read_to_string(file)
                    .with_context(|| format!("reading {}", file.display()))?;
                let changes = table::compare(&rows, &text, cli.only.is_empty() && !brief && clang)?;
                for change in &changes {
                    eprintln!("{change}");
                }
                passed &= changes.is_empty();
            }
        }
        Command::Emit { .. } => unreachable!("returned above"),
    }
    println!(
        "{failures} failures in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(passed)
}

/// Compiles the kernels of `work` on all cores.
fn compile_all(tools: &Tools, work: &[(&Device, &Case, Language)]) -> Result<Vec<Outcome>> {
    /// Compilers recurse with the nesting of a kernel, so they need a large stack.
    const STACK: usize = 256 << 20;
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    thread::scope(|scope| -> Result<()> {
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        for _ in 0..threads {
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some((device, case, language)) = work.get(index) else {
                            break;
                        };
                        let found = compile(tools, device, case, *language);
                        report(&found);
                        if let Ok(mut outcomes) = outcomes.lock() {
                            outcomes.insert(index, found);
                        }
                    }
                })?;
        }
        Ok(())
    })?;
    let outcomes = outcomes
        .into_inner()
        .map_err(|_| anyhow!("a thread panicked"))?;
    Ok(outcomes.into_values().flatten().collect())
}

/// The hashes of all kernels that were emitted.
fn recorded(outcomes: &[Outcome]) -> Record {
    let mut record = Record::default();
    for outcome in outcomes {
        if let Some(hashes) = &outcome.hashes {
            record.add(&outcome.kernel, outcome.device, outcome.language, hashes);
        }
    }
    record
}

/// Prints the failures.
fn report(outcomes: &[Outcome]) {
    for outcome in outcomes {
        if let Err(error) = &outcome.result {
            eprintln!(
                "FAILED {} in {} for {} ({}): {error:#}\n",
                outcome.kernel,
                outcome.language.name(),
                outcome.target,
                outcome.device
            );
        }
    }
}

/// Compiles the kernels of a case for the targets of a language. The result is empty if the device refuses the
/// case.
fn compile(tools: &Tools, device: &Device, case: &Case, language: Language) -> Vec<Outcome> {
    let outcome = |kernel: &str, target: &str, hashes, result| Outcome {
        kernel: format!("{}/{kernel}", case.name),
        device: device.name,
        language,
        target: target.to_string(),
        measured: case.measured()
            && kernel == KERNELS[0]
            && MEASURED.contains(&(device.name, target)),
        hashes,
        result,
    };
    let kernels = match case.kernels(device) {
        Ok(kernels) => kernels,
        Err(error) if may_refuse(device, &error) => return Vec::new(),
        Err(error) => return vec![outcome("plan", "any", None, Err(error.into()))],
    };
    let mut outcomes = Vec::new();
    for (kernel, name) in kernels.define(&device.properties).iter().zip(KERNELS) {
        let emitted = guarded(|| language.emit(&**kernel));
        let emitted = match emitted {
            Ok(emitted) => emitted,
            Err(error) => {
                outcomes.push(outcome(name, "any", None, Err(error)));
                continue;
            }
        };
        let hashes = Hashes::new(&emitted.source, language, kernels.plan());
        for target in language.targets() {
            let compiled = if tools.have(language) {
                guarded(|| {
                    tools.run(&Job {
                        source: emitted.source.clone(),
                        language,
                        target: target.clone(),
                    })
                })
            } else {
                Ok(Compiled::default())
            };
            let row = compiled.map(|compiled| {
                table::Row::new(
                    format!("{}/{name}", case.name),
                    format!("{target} {}", language.name()),
                    &compiled,
                    language.isa(),
                    emitted.shared_bytes,
                    kernels.plan(),
                    case.column_bytes(&kernels),
                )
            });
            outcomes.push(outcome(name, &target, Some(hashes.clone()), row));
        }
    }
    outcomes
}

/// Whether a device may refuse a reduction for this reason. All devices must support the type F32.
fn may_refuse(device: &Device, error: &LaunchError) -> bool {
    match error {
        LaunchError::Unsupported { precision, .. } => *precision != Precision::F32,
        LaunchError::TooLarge { .. } => !device.properties.supports_address(AddressType::U64),
        _ => false,
    }
}

/// The result of `f`, or an error if `f` panics.
fn guarded<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("panicked: {}", text.unwrap_or_default()))
    })
}

fn emit_all(devices: &[Device], cases: &[Case], folder: &Path) -> Result<bool> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for device in devices {
        for case in cases {
            let Ok(kernels) = case.kernels(device) else {
                continue;
            };
            for (kernel, name) in kernels.define(&device.properties).iter().zip(KERNELS) {
                for language in &device.languages {
                    let emitted = language.emit(&**kernel)?;
                    let case = case.name.replace('/', "-");
                    let extension = language.extension();
                    let file = format!("{case}-{name}-{}.{extension}", device.name);
                    fs::write(folder.join(file), emitted.source)?;
                }
            }
        }
    }
    Ok(true)
}

/// Prints how many kernels there were for each target, and how many failed.
fn summarise(tools: &Tools, outcomes: &[Outcome]) {
    let mut counts: BTreeMap<(String, &str, bool), (usize, usize)> = BTreeMap::new();
    for outcome in outcomes {
        let done = tools.have(outcome.language);
        let key = (outcome.target.clone(), outcome.language.name(), done);
        let count = counts.entry(key).or_default();
        count.0 += 1;
        count.1 += usize::from(outcome.result.is_err());
    }
    println!("target    emitted as  kernels  failed");
    for ((target, language, done), (kernels, failed)) in counts {
        let note = if done { "" } else { "  (emitted only)" };
        println!("{target:8}  {language:10}  {kernels:7}  {failed:6}{note}");
    }
}
