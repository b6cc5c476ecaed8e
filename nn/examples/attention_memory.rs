//! Memory and time of attention against the length of the sequence, forward and backward, with and without stored
//! scores: `cargo run --release -p burn-lazy-nn --example attention_memory -- --length 4096 --picture memory.svg`.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    error::Error,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use burn::{
    prelude::*,
    tensor::{Distribution, activation::softmax},
};
use burn_lazy_nn::attention::Attention;
use common::{
    Checks, host, option, picture_file,
    plot::{self, Area, Drawn, PALETTE, prelude::*},
    tracking_device,
};

/// The allocator of the system, with a count of the bytes. Devices on the host allocate their tensors with it.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the allocator of the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ALLOCATED.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HEADS: usize = 2;
const DIM: usize = 32;

/// The time and the memory of one call.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    bytes: f64,
}

impl Cost {
    /// Measures one call. The memory is what the call needs in addition to what was allocated before.
    fn of(device: &Device, call: impl Fn()) -> Self {
        device.memory_cleanup();
        // Devices with memory of their own keep freed memory in a pool, so the growth of the pool is what a call needs.
        let reserved = || Some(device.memory_pool_usage()?.bytes_reserved);
        let before = (reserved(), ALLOCATED.load(Relaxed));
        MOST.store(before.1, Relaxed);
        let start = Instant::now();
        call();
        let bytes = match (reserved(), before.0) {
            (Some(after), Some(before)) => after.saturating_sub(before) as usize,
            _ => MOST.load(Relaxed) - before.1,
        };
        Self {
            seconds: start.elapsed().as_secs_f64(),
            bytes: bytes as f64,
        }
    }

    /// The least time and the least memory of several calls, after a first call that compiles.
    fn least(device: &Device, call: impl Fn()) -> Self {
        call();
        let costs = [(); 3].map(|()| Self::of(device, &call));
        let least = |of: fn(&Cost) -> f64| costs.iter().map(of).fold(f64::INFINITY, f64::min);
        Self {
            seconds: least(|cost| cost.seconds),
            bytes: least(|cost| cost.bytes),
        }
    }
}

/// Attention with all scores stored.
fn dense(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let scores = q.matmul(k.swap_dims(2, 3)) / (DIM as f64).sqrt();
    softmax(scores, 3).matmul(v)
}

fn lazy(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    Attention::new().forward(q, k, v)
}

type Form = fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>;
const FORMS: [(&str, Form); 2] = [("stored scores", dense), ("Attention", lazy)];

/// The costs for one length. The outer index is the form, the inner index is the pass: forward, then forward and
/// backward.
struct Row {
    length: usize,
    costs: [[Cost; 2]; 2],
}

/// Queries, keys and values, and the weights by which the output is multiplied before it is summed.
struct Problem {
    operands: [Tensor<4>; 3],
    weights: Tensor<4>,
}

impl Problem {
    fn new(length: usize, device: &Device) -> Self {
        let random = |_| {
            let shape = [1, HEADS, length, DIM];
            Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
        };
        Self {
            operands: [0, 1, 2].map(random).map(Tensor::require_grad),
            weights: random(3),
        }
    }

    /// The output, without gradients.
    fn forward(&self, form: Form) -> Tensor<4> {
        let [q, k, v] = self.operands.clone().map(Tensor::inner);
        form(q, k, v)
    }

    /// The gradients by all three operands.
    fn gradients(&self, form: Form) -> Vec<Tensor<4>> {
        let [q, k, v] = self.operands.clone();
        let gradients = (form(q, k, v) * self.weights.clone()).sum().backward();
        let by = |own: &Tensor<4>| own.grad(&gradients);
        self.operands.iter().filter_map(by).collect()
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let longest = match option("--length")? {
        Some(length) => length.parse::<usize>()?.max(128),
        None => 1024,
    };
    let device = tracking_device();
    device.seed(3);
    let mut checks = Checks::default();

    let problem = Problem::new(200, &device);
    let [stored, own] = FORMS.map(|(_, form)| (problem.forward(form), problem.gradients(form)));
    checks.close("output of 200 keys", &host(own.0), &host(stored.0), 1e-5);
    let [stored, own] = [stored.1, own.1].map(|all| host(Tensor::cat(all, 0)));
    checks.close("gradients", &own, &stored, 1e-4);

    println!("{HEADS} heads of {DIM} components; forward, then forward and backward");
    let lengths = std::iter::successors(Some(128), |length| Some(2 * length));
    let mut rows = vec![];
    for length in lengths.take_while(|length| *length <= longest) {
        let problem = Problem::new(length, &device);
        let finished = |tensors: Vec<Tensor<4>>| {
            drop(tensors);
            device.sync().expect("the device runs");
        };
        let costs = FORMS.map(|(_, form)| {
            [
                Cost::least(&device, || finished(vec![problem.forward(form)])),
                Cost::least(&device, || finished(problem.gradients(form))),
            ]
        });
        for ((name, _), costs) in FORMS.iter().zip(costs) {
            let text =
                |cost: Cost| format!("{:8.2} ms {:8.2} MiB", cost.seconds * 1e3, cost.bytes / MIB);
            println!("{length:6} {name:14} {} {}", text(costs[0]), text(costs[1]));
        }
        rows.push(Row { length, costs });
    }
    if let [.., last] = &rows[..] {
        let [stored, own] = last.costs.map(|costs| costs[1].bytes);
        let scores = (HEADS * last.length * last.length * 4) as f64;
        checks.check("stored scores take memory for them", stored > scores);
        checks.check(
            "`Attention` takes less than one matrix of scores",
            last.length < 512 || own < scores,
        );
    }
    if let Some(file) = picture_file()? {
        draw(&file, &rows)?;
    }
    Ok(checks.exit_code())
}

const MIB: f64 = 1024.0 * 1024.0;

/// Draws memory and time against the length.
fn draw(file: &Path, rows: &[Row]) -> Drawn {
    plot::picture(file, 380, |area| {
        let (left, right) = area.split_horizontally(plot::WIDTH / 2);
        let memory = "Memory beside the operands, MiB";
        draw_costs(&left, memory, rows, |cost| cost.bytes / MIB)?;
        draw_costs(&right, "Time, ms", rows, |cost| cost.seconds * 1e3)
    })
}

/// Draws one quantity against the length, on logarithmic axes.
fn draw_costs(area: &Area<'_>, title: &str, rows: &[Row], of: fn(&Cost) -> f64) -> Drawn {
    let all = rows.iter().flat_map(|row| row.costs.as_flattened()).map(of);
    let (least, most) = all.fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
    let lengths = rows.iter().map(|row| row.length as f64);
    let shortest = lengths.clone().fold(f64::INFINITY, f64::min);
    let longest = lengths.clone().fold(0.0, f64::max);
    // The legend takes the upper part.
    let ranges = [[shortest * 0.9, longest * 1.1], [least * 0.6, most * 25.0]];
    let mut chart = plot::logarithmic(area, title, ranges, "length")?;
    for (form, (name, _)) in FORMS.iter().enumerate() {
        for (pass, passes) in ["forward", "forward and backward"].iter().enumerate() {
            let style = PALETTE[1 - form].stroke_width(1 + 2 * pass as u32);
            let costs = rows.iter().map(|row| of(&row.costs[form][pass]));
            let line = LineSeries::new(lengths.clone().zip(costs), style);
            chart
                .draw_series(line.point_size(2))?
                .label(format!("{name}, {passes}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
    }
    plot::legend(&mut chart)
}
