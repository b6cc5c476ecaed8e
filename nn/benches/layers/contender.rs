//! Measurements, each in a process of its own.

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

/// What a call gives, on the device.
pub struct Outcome {
    /// The value of a loss or a likelihood, or a part of an output.
    pub value: Tensor<1>,
    /// A part of the gradients, where there are some.
    pub gradient: Option<Tensor<1>>,
}

/// A call that is measured, with its operands on the device.
pub type Call = Box<dyn Fn() -> Outcome>;

/// What was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds of the first call.
    pub first: f64,
    /// Seconds of those after it. There are none where the first call took long.
    pub samples: Vec<f64>,
    pub value: Vec<f64>,
    pub gradient: Vec<f64>,
    /// By how many bytes the resident set grew over its size before the first call, at most.
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

/// A first call longer than this is not repeated.
const LONG: f64 = 30.0;

/// Repeats a call for about so many seconds after a first one.
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

/// Who runs a case.
pub enum Contender<'a> {
    /// This program, by one of its names for a way to compute.
    Own(&'a str),
    /// A library of Python.
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
