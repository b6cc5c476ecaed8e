//! Measures the time of a layer, forward and backward, and by how much the peak memory of the process grows: `cargo run
//! -p burn-lazy-nn --example costs -- LAYER [POINTS]`. Without a layer it lists the layers.

use std::time::Instant;

use burn::{
    prelude::*,
    tensor::{Distribution, activation::softmax},
};
use burn_lazy_nn::{
    attention::Attention,
    gp::{ExactGpConfig, LikelihoodOptions},
    kernel::{Kernel, MaternConfig, ScaleConfig, Smoothness},
    loss::{ChamferLossConfig, MmdLossConfig, SamplesLossConfig},
    regression::{FalkonConfig, KernelRidgeConfig},
};

/// The name of the layer, the default number of points, and a function that runs the layer with a number of points.
type Layer = (&'static str, usize, fn(usize, &Device));

const LAYERS: [Layer; 9] = [
    ("attention", 4096, attention),
    ("attention-stored", 4096, stored_attention),
    ("sinkhorn", 5000, sinkhorn),
    ("mmd", 10_000, mmd),
    ("chamfer", 10_000, chamfer),
    ("likelihood", 1000, likelihood),
    ("prediction", 1000, prediction),
    ("ridge", 5000, ridge),
    ("falkon", 20_000, falkon),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = arguments.first().map_or("", String::as_str);
    let Some((_, points, layer)) = LAYERS.iter().find(|(name, ..)| *name == wanted) else {
        let names = LAYERS.map(|(name, points, _)| format!("{name} ({points} points)"));
        println!("Layers: {}", names.join(", "));
        return;
    };
    let points = arguments
        .get(1)
        .map_or(*points, |own| own.parse().expect("a number of points"));
    let device = Device::default().autodiff();
    // The first call also does what a process does only once, so a small call comes first.
    layer(64, &device);
    let before = peak_memory();
    let start = Instant::now();
    layer(points, &device);
    let seconds = start.elapsed().as_secs_f64();
    match before.zip(peak_memory()) {
        Some((before, after)) => {
            let more = (after - before) as f64 / 1024.0;
            println!("{wanted} of {points} points: {seconds:.2} s, {more:.0} MiB");
        }
        None => println!("{wanted} of {points} points: {seconds:.2} s"),
    }
}

/// The peak memory of the process in KiB, on systems that report it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Computes the gradients of a loss by the tensors `of`, and reads them back.
fn backward(loss: Tensor<1>, of: &[&Tensor<2>]) {
    let gradients = loss.backward();
    for tensor in of {
        if let Some(gradient) = tensor.grad(&gradients) {
            let _ = gradient.into_data();
        }
    }
}

fn uniform(rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    Tensor::random([rows, columns], Distribution::Uniform(0.0, 1.0), device)
}

fn queries_keys_values(points: usize, device: &Device) -> [Tensor<2>; 3] {
    [(); 3].map(|()| uniform(points, 64, device).require_grad())
}

fn attention(points: usize, device: &Device) {
    let parts = queries_keys_values(points, device);
    let [q, k, v] = parts.clone().map(|part| part.unsqueeze::<4>());
    let out = Attention::new().forward(q, k, v);
    backward(out.sum(), &parts.each_ref());
}

fn stored_attention(points: usize, device: &Device) {
    let parts = queries_keys_values(points, device);
    let [q, k, v] = parts.clone();
    let weights = softmax(q.matmul(k.transpose()) / 8.0, 1);
    backward(weights.matmul(v).sum(), &parts.each_ref());
}

fn clouds(points: usize, device: &Device) -> [Tensor<2>; 2] {
    let x = uniform(points, 3, device).require_grad();
    [x, uniform(points, 3, device) + 0.2]
}

fn sinkhorn(points: usize, device: &Device) {
    let [x, y] = clouds(points, device);
    let loss = SamplesLossConfig::sinkhorn().init();
    backward(loss.forward(x.clone(), y), &[&x]);
}

fn mmd(points: usize, device: &Device) {
    let [x, y] = clouds(points, device);
    let loss = MmdLossConfig::new().init();
    backward(loss.forward(x.clone(), y), &[&x]);
}

fn chamfer(points: usize, device: &Device) {
    let [x, y] = clouds(points, device);
    let loss = ChamferLossConfig::new().init();
    backward(loss.forward(x.clone(), y), &[&x]);
}

/// Random points, and noisy values of a smooth function at them.
fn data(points: usize, device: &Device) -> [Tensor<2>; 2] {
    let x = uniform(points, 2, device);
    let t = (x.clone() * 6.0).sin().sum_dim(1);
    let noise = Tensor::random([points, 1], Distribution::Normal(0.0, 0.1), device);
    [x, t + noise]
}

fn kernel(device: &Device) -> impl Kernel + use<> {
    let matern = MaternConfig::new(Smoothness::FiveHalves)
        .with_length_scale(0.3)
        .init(device);
    ScaleConfig::new().with_variance(1.0).init(matern, device)
}

fn likelihood(points: usize, device: &Device) {
    let [x, t] = data(points, device);
    let x = x.require_grad();
    let process = ExactGpConfig::new().init(kernel(device), device);
    let value = process.log_marginal_likelihood(x.clone(), t, &LikelihoodOptions::new());
    backward(value, &[&x]);
}

fn prediction(points: usize, device: &Device) {
    let [x, t] = data(points, device);
    let process = ExactGpConfig::new().init(kernel(device), device);
    let posterior = process.condition(x, t);
    let at = uniform(100, 2, device);
    let _ = posterior.mean(at.clone()).into_data();
    let _ = posterior.variance(at).into_data();
}

fn ridge(points: usize, device: &Device) {
    let [x, t] = data(points, device);
    let fitted = KernelRidgeConfig::new(1e-2).fit(kernel(device), x, t);
    let _ = fitted.predict(uniform(100, 2, device).inner()).into_data();
}

fn falkon(points: usize, device: &Device) {
    let [x, t] = data(points, device);
    let centers = points.min(500);
    let fitted = FalkonConfig::new(centers, 1e-6).fit(kernel(device), x, t);
    let _ = fitted.predict(uniform(100, 2, device).inner()).into_data();
}
