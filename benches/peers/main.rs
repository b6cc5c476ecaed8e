//! Compares this library with its peers, on the device that `BURN_DEVICE` selects: `cargo xtask bench peers`, which
//! also installs the peers and makes a table of the results. Without `--python` only this library is measured.

mod cases;
mod deployments;
mod roofline;
mod worker;

use std::{
    env,
    error::Error,
    fmt, fs,
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use burn::prelude::*;
use clap::Parser;
use cpu_time::ProcessTime;
use serde::Serialize;

use cases::{Case, Data, Output, cases, error, prepare};
use deployments::prepare_deployed;
use roofline::Roofline;
use worker::{GPU_PEERS, PEERS, Worker};

#[derive(Parser)]
struct Options {
    /// Only measure how fast the processor multiplies and takes exponentials
    #[arg(long)]
    roofline: bool,
    /// Only a few cases, in about five minutes
    #[arg(long)]
    quick: bool,
    /// Only workloads whose names begin with one of these, separated by commas. A comma before a space is part of a
    /// name
    #[arg(long)]
    only: Option<String>,
    /// The Python interpreter that has the peers installed
    #[arg(long)]
    python: Option<PathBuf>,
    /// Only these peers, separated by commas
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// An empty folder for what peers compile, for the arrays that are sent to them, and for files of columns
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// The file for the results, with one JSON object a line
    #[arg(long)]
    json: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// The number of turns of each contender, the seconds of a turn, and the seconds of samples after which a contender
/// gets no further turn.
#[derive(Clone, Copy)]
struct Budget {
    rounds: usize,
    turn: f64,
    total: f64,
}

/// The times of one contender.
struct Times {
    first: f64,
    error: f64,
    samples: Vec<f64>,
}

impl Times {
    /// The times of a contender that has been called once.
    fn new(first: f64, error: f64) -> Self {
        Self {
            first,
            error,
            samples: Vec::new(),
        }
    }

    fn wants_more(&self, budget: &Budget) -> bool {
        self.samples.is_empty() || self.samples.iter().sum::<f64>() < budget.total
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let device = Device::default();
    let gpu = is_gpu(&device);
    // The roofline is measured on the processor, so it says nothing about a GPU.
    let roofline = if gpu { None } else { Roofline::measure() };
    match &roofline {
        Some(Roofline { fma, exp2 }) => println!(
            "all cores, F32: {:.1} G multiply-adds/s, {:.1} G exponentials/s",
            fma / 1e9,
            exp2 / 1e9
        ),
        None => println!("no roofline for this device"),
    }
    if options.roofline {
        return Ok(());
    }
    println!("device: {device:?}");
    // Cargo says where the package is; without cargo it is where it was when this was built.
    let package = env::var_os("CARGO_MANIFEST_DIR");
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let script = Path::new(&package).join("benches/peers/peers.py");
    let mut workers = Vec::new();
    let scratch = options
        .scratch
        .clone()
        .unwrap_or_else(|| env::temp_dir().join(format!("burn-lazy-bench-{}", std::process::id())));
    fs::create_dir_all(&scratch)?;
    if let Some(python) = &options.python {
        for name in if gpu { &GPU_PEERS[..] } else { &PEERS } {
            if options.peers.is_empty() || options.peers.iter().any(|peer| peer == name) {
                workers.push(Worker::start(name, gpu, python, &script, &scratch)?);
            }
        }
    }
    let budget = match options.quick {
        true => Budget {
            rounds: 3,
            turn: 0.2,
            total: 3.0,
        },
        false => Budget {
            rounds: 5,
            turn: 0.3,
            total: 5.0,
        },
    };
    let mut file = options.json.map(fs::File::create).transpose()?;
    for case in cases(gpu) {
        let wanted = match &options.only {
            Some(only) => names(only).any(|name| case.workload.starts_with(name)),
            None => !options.quick || case.quick,
        };
        if !wanted {
            continue;
        }
        for row in measure(&case, &device, &mut workers, &budget, &roofline, &scratch)? {
            println!("{row}");
            if let Some(file) = &mut file {
                writeln!(file, "{}", serde_json::to_string(&row)?)?;
            }
        }
    }
    Ok(())
}

/// The names in a list that is separated by commas. A comma before a space is part of a name.
fn names(list: &str) -> impl Iterator<Item = &str> {
    let mut from = 0;
    let commas = list.match_indices(',').map(|(at, _)| at);
    let ends = commas.filter(|at| !list[at + 1..].starts_with(' '));
    ends.chain([list.len()]).map(move |end| {
        let name = &list[from..end];
        from = end + 1;
        name
    })
}

/// Whether the device is an NVIDIA card, on which some peers can run, too.
fn is_gpu(device: &Device) -> bool {
    format!("{device:?}").contains("Cuda(")
}

/// The measurement of a case, alone or compared with one peer.
#[derive(Clone, Debug, Serialize)]
struct Row {
    workload: String,
    m: usize,
    n: usize,
    d: usize,
    dv: usize,
    k: usize,
    dtype: &'static str,
    device: String,
    /// The median time of a call.
    seconds: f64,
    pairs_per_s: f64,
    first_call_s: f64,
    /// The processor time of all threads of the process, including threads that wait by spinning.
    first_call_cpu_s: f64,
    rel_err: f64,
    peer: Option<&'static str>,
    peer_seconds: Option<f64>,
    peer_first_call_s: Option<f64>,
    peer_rel_err: Option<f64>,
    /// The time of the peer divided by the time of this library.
    ratio: Option<f64>,
    /// The least time by the measured rates of the machine, divided by the time of this library.
    limit_share: Option<f64>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workload,
            m,
            n,
            d,
            dv,
            k,
            seconds,
            first_call_s,
            first_call_cpu_s,
            rel_err,
            ..
        } = self;
        write!(f, "{workload}, {m} x {n}, D = {d}, Dv = {dv}, K = {k}: ")?;
        if let (Some(peer), Some(ratio)) = (self.peer, self.ratio) {
            return write!(f, "{ratio:.2} times as fast as {peer}");
        }
        write!(
            f,
            "{:.3} ms, first {:.1} ms ({:.1} of the processor), {:.2} G pairs/s, error {rel_err:.1e}",
            seconds * 1e3,
            first_call_s * 1e3,
            first_call_cpu_s * 1e3,
            self.pairs_per_s / 1e9
        )?;
        match self.limit_share {
            Some(share) => write!(f, ", {:.0} % of the limit", share * 100.0),
            None => Ok(()),
        }
    }
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

/// Measures a case in turns on this library and on every peer that knows the case.
fn measure(
    case: &Case,
    device: &Device,
    workers: &mut [Worker],
    budget: &Budget,
    roofline: &Option<Roofline>,
    scratch: &Path,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let data = Data::new(case);
    // The difference to one device is often smaller than the noise, which shorter turns share out evenly.
    let budget = &match case.deployment {
        Some(_) => Budget {
            rounds: 5 * budget.rounds,
            turn: budget.turn / 5.0,
            total: 2.0 * budget.total,
        },
        None => *budget,
    };
    let call = match case.deployment {
        Some(deployment) => prepare_deployed(deployment, case, &data, scratch),
        None => prepare(case, &data, device),
    };
    let timed = |call: &dyn Fn() -> Output| {
        let start = Instant::now();
        let out = call();
        out.wait();
        (start.elapsed().as_secs_f64(), out)
    };
    let repeated = |call: &dyn Fn() -> Output, samples: &mut Vec<f64>| {
        let start = Instant::now();
        loop {
            samples.push(timed(call).0);
            if start.elapsed().as_secs_f64() > budget.turn || samples.len() > 1000 {
                break;
            }
        }
    };
    // Waits until threads that spin for new work have stopped, because they would take time from the next turn.
    let pause = || thread::sleep(Duration::from_millis(200));
    device.sync()?;
    pause();
    let processor = ProcessTime::now();
    let (first, out) = timed(&*call);
    let first_call_cpu_s = processor.elapsed().as_secs_f64();
    let mut own = Times::new(first, error(case, &data, &out.host()));
    // The same case on one device that holds all operands.
    let mut beside = case.deployment.map(|deployment| {
        let call = prepare(case, &data, &deployment.local(device));
        let (first, out) = timed(&*call);
        let times = Times::new(first, error(case, &data, &out.host()));
        (deployment.beside(), call, times)
    });
    let mut peers = Vec::new();
    for worker in workers.iter_mut().filter(|_| case.compared) {
        if let Some((first, out)) = worker.prepare(case, &data, scratch)? {
            let times = Times::new(first, error(case, &data, &out));
            peers.push((worker, times));
        }
    }
    for _ in 0..budget.rounds {
        pause();
        if own.wants_more(budget) {
            repeated(&*call, &mut own.samples);
        }
        if let Some((_, call, times)) = &mut beside
            && times.wants_more(budget)
        {
            pause();
            repeated(&**call, &mut times.samples);
        }
        for (worker, times) in &mut peers {
            // A call of more than a minute is not repeated. Compilation takes less, so most of its time is computation.
            if times.first > 60.0 && times.samples.is_empty() {
                times.samples.push(times.first);
            }
            if times.wants_more(budget) {
                pause();
                times.samples.extend(worker.run(budget.turn)?);
            }
        }
    }
    let seconds = median(&own.samples);
    let limit = roofline.as_ref().zip(case.operations());
    let row = Row {
        workload: case.workload.clone(),
        m: case.m,
        n: case.n,
        d: case.d,
        dv: case.dv,
        k: case.k,
        dtype: case.type_name(),
        device: format!("{device:?}"),
        seconds,
        pairs_per_s: case.pairs() / seconds,
        first_call_s: own.first,
        first_call_cpu_s,
        rel_err: own.error,
        peer: None,
        peer_seconds: None,
        peer_first_call_s: None,
        peer_rel_err: None,
        ratio: None,
        limit_share: limit.map(|(roofline, operations)| {
            roofline.seconds(operations.map(|count| count * case.pairs())) / seconds
        }),
    };
    let compared = |(peer, times): (&'static str, &Times)| {
        let peer_seconds = median(&times.samples);
        Row {
            peer: Some(peer),
            peer_seconds: Some(peer_seconds),
            peer_first_call_s: Some(times.first),
            peer_rel_err: Some(times.error),
            ratio: Some(peer_seconds / seconds),
            ..row.clone()
        }
    };
    let others = beside.iter().map(|(name, _, times)| (*name, times));
    let peers = peers.iter().map(|(worker, times)| (worker.name, times));
    let rows: Vec<Row> = others.chain(peers).map(compared).collect();
    Ok(std::iter::once(row).chain(rows).collect())
}
