//! Measurements, each in its own process.

use std::{
    env,
    error::Error,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{cases::Case, memory};

/// The result of a call, on the device.
pub struct Outcome {
    /// The value of a loss or a likelihood, or a part of an output.
    pub value: Tensor<1>,
    /// A part of the gradients. `None` for calls without gradients.
    pub gradient: Option<Tensor<1>>,
}

/// A call that is measured, with its operands on the device.
pub type Call = Box<dyn Fn() -> Outcome>;

/// The measurements of one contender.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds of the first call.
    pub first: f64,
    /// Seconds of each later call. Empty if the first call took long.
    pub samples: Vec<f64>,
    pub value: Vec<f64>,
    pub gradient: Vec<f64>,
    /// The growth of the resident set from its size before the first call to its peak, in bytes.
    pub memory: Option<u64>,
}

impl Measured {
    /// The median of the times.
    pub fn seconds(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => self.first,
            count => (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0,
        }
    }
}

/// A first call that takes longer than this many seconds is not repeated.
const LONG: f64 = 30.0;

/// Calls once, then repeats the call for about `seconds` seconds.
pub fn measure(call: &dyn Fn() -> Outcome, seconds: f64) -> Measured {
    let device = Device::default();
    let timed = || {
        let start = Instant::now();
        let out = call();
        device.sync().expect("the device runs");
        (start.elapsed().as_secs_f64(), out)
    };
    device.sync().expect("the device runs");
    let before = memory::reset_peak();
    let (first, out) = timed();
    let mut samples = Vec::new();
    while first < LONG && (samples.len() < 3 || samples.iter().sum::<f64>() < seconds) {
        samples.push(timed().0);
    }
    let memory = before.and_then(|before| Some(memory::peak()?.saturating_sub(before)));
    let host = |tensor: Tensor<1>| tensor.into_data().iter::<f64>().collect();
    Measured {
        first,
        samples,
        value: host(out.value),
        gradient: out.gradient.map(host).unwrap_or_default(),
        memory,
    }
}

/// The program that runs a case.
pub enum Contender<'a> {
    /// This program, with the name of one of its ways to compute.
    Own(&'a str),
    /// A Python library.
    Python {
        name: &'a str,
        python: &'a Path,
        script: &'a Path,
    },
}

impl Contender<'_> {
    /// Runs the case in a fresh process.
    pub fn run(&self, case: &Case, seconds: f64) -> Result<Measured, Box<dyn Error>> {
        let (name, mut command) = match self {
            Self::Own(name) => (name, Command::new(env::current_exe()?)),
            Self::Python {
                name,
                python,
                script,
            } => {
                let mut command = Command::new(python);
                command.arg(script);
                (name, command)
            }
        };
        command.args(["--contender", name]);
        command.args(["--case", &serde_json::to_string(case)?]);
        command.args(["--seconds", &seconds.to_string()]);
        let output = command.stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        match (output.status.success(), text.lines().last()) {
            (true, Some(line)) => Ok(serde_json::from_str(line)?),
            _ => Err(format!("{name} has failed at {case}: its messages are above").into()),
        }
    }
}
