//! Compares the layers with their peers, on the device that `BURN_DEVICE` selects: `cargo xtask bench layers`, which
//! also installs the peers. Without `--python` only the peers that are written with Burn are measured.
//!
//! Each contender runs each case in a fresh process, so that its memory can be measured.

mod cases;
mod contender;
mod data;
mod losses;
mod memory;
mod processes;
mod report;

use std::{
    env,
    error::Error,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use burn::prelude::*;
use clap::Parser;

use cases::{Case, cases};
use contender::{Contender, measure};
use report::Row;

#[derive(Parser)]
struct Options {
    /// Only a few small cases
    #[arg(long)]
    quick: bool,
    /// Only layers whose names begin with one of these, separated by commas
    #[arg(long)]
    only: Option<String>,
    /// The Python interpreter that has the peers installed
    #[arg(long)]
    python: Option<PathBuf>,
    /// Only these peers, separated by commas
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// The file for the results, with one JSON object a line
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only run this case, and print its measurement
    #[arg(long, hide = true, requires = "contender")]
    case: Option<String>,
    /// The contender that runs the case
    #[arg(long, hide = true, requires = "case")]
    contender: Option<String>,
    /// The number of seconds for which a call is repeated
    #[arg(long, hide = true, default_value_t = 3.0)]
    seconds: f64,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let (Some(case), Some(name)) = (&options.case, &options.contender) {
        let case: Case = serde_json::from_str(case)?;
        let call = case
            .call(name, &Device::default())
            .ok_or_else(|| format!("{name} does not know {case}"))?;
        let measured = measure(call.as_ref(), options.seconds);
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    compare(&options)
}

/// Runs all selected cases and prints a table.
fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    // Cargo says where the package is; without cargo it is where it was when this was built.
    let package = env::var_os("CARGO_MANIFEST_DIR");
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let script = Path::new(&package).join("benches/layers/peers.py");
    let mut file = options.json.as_ref().map(fs::File::create).transpose()?;
    println!("device: {:?}\n", Device::default());
    println!("{}", report::HEAD);
    for case in cases() {
        let wanted = match &options.only {
            Some(only) => only
                .split(',')
                .any(|name| case.layer.name().starts_with(name)),
            None => true,
        };
        if !wanted || (options.quick && !case.quick) {
            continue;
        }
        let seconds = if options.quick { 0.5 } else { options.seconds };
        let own = Contender::Own("burn-lazy-nn").run(&case, seconds)?;
        let mut rows = vec![Row::own(&case, &own)];
        println!("{}", rows[0]);
        for name in &case.peers {
            let is_chosen = options.peers.is_empty() || options.peers.contains(name);
            let contender = match (cases::OWN_PEERS.contains(&name.as_str()), &options.python) {
                (true, _) => Contender::Own(name),
                (false, Some(python)) => Contender::Python {
                    name,
                    python,
                    script: &script,
                },
                (false, None) => continue,
            };
            if is_chosen {
                let row = Row::peer(&case, name, &contender.run(&case, seconds)?, &own);
                println!("{row}");
                rows.push(row);
            }
        }
        if let Some(file) = &mut file {
            for row in rows {
                writeln!(file, "{}", serde_json::to_string(&row)?)?;
            }
        }
    }
    Ok(())
}
