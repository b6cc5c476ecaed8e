//! `cargo xtask bench`: measures this library alone, or beside its peers, or only the rates of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::device::Device;
use crate::process::{self, capture};
use crate::{debian, report, steps};

pub const PYKEOPS: &str = "pykeops==2.3";
/// The peers. Their versions are fixed because their times are compared.
const PEERS: [&str; 7] = [
    PYKEOPS,
    "numpy==2.4.6",
    "scipy==1.17.1",
    "scikit-learn==1.9.1",
    "faiss-cpu==1.15.1",
    "jax[cpu]==0.10.2",
    "pot==0.9.7.post1",
];
/// The folder of their environment in the user's data. It is renamed when the peers change.
const ENVIRONMENT: &str = "burn-lazy/peers-2";

#[derive(Subcommand)]
pub enum What {
    /// This library
    Own(Arguments),
    /// This library in turns with pykeops, NumPy, SciPy, JAX, faiss and scikit-learn
    Peers(Arguments),
    /// The layers of `burn-lazy-nn` beside Burn's operations, NumPy, SciPy, JAX, scikit-learn and POT
    Layers(Selection),
    /// Multiply-adds and exponentials a second on all cores
    Roofline,
    /// Other schedules beside the one that is chosen: the figures behind `cube_kernels/src/plan/tuning.rs`
    Schedules {
        /// Only workloads whose names contain this
        #[arg(long)]
        only: Option<String>,
    },
    /// The table of results that were measured before
    Table {
        /// The file of results, with one JSON object a row
        json: PathBuf,
    },
}

/// The choice of what is measured.
#[derive(clap::Args)]
pub struct Selection {
    /// The backend that is measured
    #[arg(long, value_enum, default_value = "cpu")]
    device: Device,
    /// A few cases, in less than five minutes
    #[arg(long)]
    quick: bool,
    /// Only workloads or layers whose names begin with this: one name, or several with commas between them
    #[arg(long)]
    only: Option<String>,
    /// Only these peers
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// The file for the results, with one JSON object a row
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Selection {
    /// Adds the selection to the arguments of a program that measures. Its results go to the file `json`, if one is
    /// given.
    fn hand_on(&self, command: &mut Command, json: Option<&Path>) {
        if let Some(json) = json {
            command.arg("--json").arg(json);
        }
        if self.quick {
            command.arg("--quick");
        }
        if let Some(only) = &self.only {
            command.args(["--only", only]);
        }
        if !self.peers.is_empty() {
            command.args(["--peers", &self.peers.join(",")]);
        }
    }

    /// The features that the workloads need in addition to the features of the device. Those of remote devices are
    /// only added if remote workloads are selected, because they take some 300 more crates. Compiled devices have
    /// them anyway.
    fn features(&self) -> &'static str {
        let mut names = self.only.iter().flat_map(|only| only.split(','));
        match names.any(|name| name.starts_with("remote")) {
            true => "remote-server,remote-websocket",
            false => "",
        }
    }

    /// The file of the results, relative to the current folder.
    fn json(&self) -> Result<Option<PathBuf>> {
        let folder = std::env::current_dir()?;
        Ok(self.json.as_ref().map(|json| folder.join(json)))
    }
}

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// The file for a table of the results in Markdown
    #[arg(long)]
    table: Option<PathBuf>,
    /// The file for a plot of seconds over N, as SVG
    #[arg(long)]
    plot: Option<PathBuf>,
}

pub fn run(what: &What) -> Result<bool> {
    match what {
        What::Own(arguments) => measure(arguments, false),
        What::Peers(arguments) => measure(arguments, true),
        What::Layers(selection) => layers(selection),
        What::Roofline => {
            process::succeeds(benchmark("peers", Device::Flex, "")?.arg("--roofline"))
        }
        What::Schedules { only } => {
            process::succeeds(benchmark("schedules", Device::Cpu, "")?.args(only))
        }
        What::Table { json } => {
            print!("{}", report::table(&report::read(json)?));
            Ok(true)
        }
    }
}

fn say(message: &str) {
    eprintln!("{message}");
}

/// The command that runs a benchmark, with these features of the library in addition to those of the device.
fn benchmark(name: &str, device: Device, features: &str) -> Result<Command> {
    device.ensure(&say)?;
    let mut command = process::cargo();
    command.arg("bench");
    // The profile of the examples, so that little is built again: measured code is compiled at run time, or has its
    // own level of optimisation. Layers on the host are an exception, because Burn's own operations take a part of
    // their time and of their peers' time.
    if name != "layers" || device != Device::Flex {
        command.args(["--profile", "dev"]);
    }
    // Only the packages that are needed, because the dependencies of the others would be built for nothing.
    match name {
        "schedules" => command.args(steps::LIBRARIES.split(' ')),
        "layers" => command.args(["-p", "burn-lazy-nn"]),
        _ => command.args(["-p", "burn-lazy"]),
    };
    device.select(&mut command);
    if !features.is_empty() {
        command.args(["--features", features]);
    }
    command.args(["--bench", name, "--"]);
    Ok(command)
}

/// Measures the layers beside their peers.
fn layers(selection: &Selection) -> Result<bool> {
    let mut command = benchmark("layers", selection.device, "")?;
    command.arg("--python").arg(environment(&say)?);
    selection.hand_on(&mut command, selection.json()?.as_deref());
    process::succeeds(&mut command)
}

fn measure(arguments: &Arguments, peers: bool) -> Result<bool> {
    let selection = &arguments.selection;
    let mut command = benchmark("peers", selection.device, selection.features())?;
    let scratch = tempfile::tempdir()?;
    command.arg("--scratch").arg(scratch.path());
    if peers {
        command.arg("--python").arg(environment(&say)?);
    }
    let json = selection.json()?;
    let json = json.unwrap_or_else(|| scratch.path().join("results.jsonl"));
    selection.hand_on(&mut command, Some(&json));
    if !process::succeeds(&mut command)? {
        return Ok(false);
    }
    let rows = report::read(&json)?;
    let text = report::table(&rows);
    println!("\n{text}");
    if let Some(file) = &arguments.table {
        fs::write(file, &text).with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(file) = &arguments.plot {
        report::plot(&rows, file)?;
    }
    Ok(true)
}

/// The Python of the environment with the peers, which is set up if it is missing.
fn environment(say: &dyn Fn(&str)) -> Result<PathBuf> {
    let data = dirs::data_local_dir().context("no folder for user data: set HOME")?;
    let folder = data.join(ENVIRONMENT);
    let python = folder.join("bin/python");
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(python);
    }
    if capture(Command::new("c++").arg("--version")).is_err() {
        bail!("pykeops needs a C++ compiler, `c++`");
    }
    say(&format!("peers: installing {}", PEERS.join(", ")));
    create(&folder)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
    capture(pip.args(PEERS)).context("the peers could not be installed")?;
    fs::write(&complete, "").with_context(|| format!("writing {}", complete.display()))?;
    Ok(python)
}

/// Makes an empty environment. Debian's Python needs an additional package for this.
fn create(folder: &Path) -> Result<()> {
    let make = || {
        let mut python = Command::new("python3");
        capture(python.args(["-m", "venv", "--clear"]).arg(folder))
    };
    if make().is_ok() {
        return Ok(());
    }
    if debian::obstacle().is_none() {
        debian::install(&["python3-venv"]).context("no virtual environments of Python")?;
    }
    make().map(drop)
}
