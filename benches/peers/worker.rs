//! The peers, each in its own process.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::cases::{Case, Data, Kind};

/// All peers, by their names in the script.
pub const PEERS: [&str; 8] = [
    "pykeops",
    "pykeops-native",
    "numpy",
    "scipy",
    "jax",
    "faiss",
    "sklearn",
    "sklearn-kdtree",
];

/// The peers that also run on a GPU.
pub const GPU_PEERS: [&str; 1] = ["pykeops"];

/// A running Python script.
pub struct Worker {
    pub name: &'static str,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the script and waits until it is ready. `folder` is an empty folder for what the peer compiles.
    pub fn start(
        name: &'static str,
        gpu: bool,
        python: &Path,
        script: &Path,
        folder: &Path,
    ) -> std::io::Result<Self> {
        let cache = folder.join(name);
        fs::create_dir_all(&cache)?;
        let mut command = Command::new(python);
        command.arg(script).arg(name).args(gpu.then_some("--gpu"));
        command.env("KEOPS_CACHE_FOLDER", cache);
        command
            .env("PYKEOPS_VERBOSE", "0")
            .env("KEOPS_VERBOSE", "0");
        if name == "pykeops-native" {
            command.env("CXXFLAGS", "-march=native -ffast-math");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut worker = Self {
            name,
            child,
            requests,
            answers,
        };
        worker.answer()?;
        worker.signal("-STOP")?;
        Ok(worker)
    }

    /// Sends a request and waits for the answer. The process is stopped in between requests, because threads of its
    /// libraries go on spinning after their work is done.
    fn ask(&mut self, request: &Value) -> std::io::Result<Value> {
        self.signal("-CONT")?;
        writeln!(self.requests, "{request}")?;
        self.requests.flush()?;
        let answer = self.answer();
        self.signal("-STOP")?;
        answer
    }

    fn signal(&self, signal: &str) -> std::io::Result<()> {
        if cfg!(unix) {
            let mut kill = Command::new("kill");
            kill.args([signal, &self.child.id().to_string()]).status()?;
        }
        Ok(())
    }

    fn answer(&mut self) -> std::io::Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let message = format!("{} has ended: its messages are above", self.name);
            return Err(std::io::Error::other(message));
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// The seconds of the first call and its result. `None` if the peer does not know the case.
    pub fn prepare(
        &mut self,
        case: &Case,
        data: &Data,
        folder: &Path,
    ) -> std::io::Result<Option<(f64, Vec<f64>)>> {
        let mut arrays = serde_json::Map::new();
        for array in data.arrays() {
            let file = folder.join(array.name);
            let bytes: Vec<u8> = match case.double {
                true => array.values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                false => {
                    let singles = array.values.iter().map(|x| *x as f32);
                    singles.flat_map(f32::to_le_bytes).collect()
                }
            };
            fs::write(&file, bytes)?;
            let description = json!({"file": file, "shape": array.shape});
            arrays.insert(array.name.into(), description);
        }
        let out = folder.join("out");
        let alpha = match case.kind {
            Kind::Solve { alpha, .. } => alpha,
            _ => 0.0,
        };
        let answer = self.ask(&json!({
            "do": "prepare",
            "kind": case.kind.name(),
            "m": case.m,
            "n": case.n,
            "d": case.d,
            "dv": case.dv,
            "k": case.k,
            "batch": case.batch,
            "alpha": alpha,
            "tolerance": case.tolerance,
            "dtype": case.type_name(),
            "arrays": arrays,
            "out": out,
        }))?;
        let Some(first) = answer["first"].as_f64() else {
            return Ok(None);
        };
        let bytes = fs::read(out)?;
        let numbers = bytes.chunks_exact(8);
        let numbers = numbers.map(|b| f64::from_le_bytes(b.try_into().expect("of eight bytes")));
        Ok(Some((first, numbers.collect())))
    }

    /// Repeats the prepared call for about `budget` seconds, at least once.
    pub fn run(&mut self, budget: f64) -> std::io::Result<Vec<f64>> {
        let answer = self.ask(&json!({"do": "run", "budget": budget}))?;
        let samples = answer["samples"].as_array();
        let samples = samples.map(|s| s.iter().filter_map(Value::as_f64).collect());
        samples.ok_or_else(|| std::io::Error::other("an answer without samples"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
