//! Tests of the memory that training and streams keep. They are alone in this program, because the allocations of other
//! tests would be counted, and run one at a time.
#![cfg(all(any_backend, feature = "autodiff"))]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{Axis, LazyTensor, stream};

/// The allocator of the system. It counts the bytes in use and the largest number so far.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the allocator of the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(
            IN_USE.fetch_add(layout.size(), Relaxed) + layout.size(),
            Relaxed,
        );
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Makes other tests wait until the guard is dropped.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// The most bytes that `run` allocates on the host beyond those before it, or the bytes that the device reserves,
/// whichever is more.
fn most_bytes(device: &Device, run: impl FnOnce()) -> usize {
    let reserved = || {
        device
            .memory_pool_usage()
            .map_or(0, |usage| usage.bytes_reserved)
    };
    let before = (IN_USE.load(Relaxed), reserved());
    MOST.store(before.0, Relaxed);
    run();
    device.sync().expect("the device runs");
    let on_device = reserved().saturating_sub(before.1) as usize;
    (MOST.load(Relaxed) - before.0).max(on_device)
}

/// Finds the nearest of `len` columns, and computes a gradient over all columns, in chunks.
fn reduce_columns(device: &Device, len: usize, chunk: usize) {
    let tracked = device.clone().autodiff();
    let x = Tensor::<2>::ones([4, 3], &tracked).require_grad();
    let columns = stream::from_fn(len, 3, |columns, out| {
        let numbers = columns.flat_map(|j| [j, j + 1, j + 2]);
        let values = out.iter_mut().zip(numbers);
        values.for_each(|(out, number)| *out = (number as f64 * 0.9 / len as f64) as f32);
        Ok(())
    });
    let over = || stream::over([&columns], device).chunk(chunk);
    let distance = |[y_j]: [LazyTensor; 1]| LazyTensor::vi(x.clone()).sqdist(y_j);
    let at: Tensor<2, Int> = over().argkmin(3, distance).expect("columns can be read");
    // One of the last columns is nearest. They are equal up to rounding.
    let nearest = at.into_data().iter::<i64>().next();
    assert!(
        nearest.is_some_and(|at| at >= len as i64 - 5),
        "{nearest:?}"
    );
    let loss = |a: Tensor<2>| a.sum();
    let (_, gradient) = over()
        .value_and_grad(&x)
        .logsumexp(|[y_j]| -distance([y_j]), loss)
        .expect("columns can be read");
    assert_eq!(gradient.dims(), [4, 3]);
}

#[test]
fn the_memory_of_a_stream_does_not_depend_on_the_number_of_columns() {
    let _turn = alone();
    let device = Device::default();
    let chunk = 1 << 12;
    let reduce = |len| reduce_columns(&device, len, chunk);
    // The first calls make what is kept afterwards: the kernels that merge four partial results, eight, and the last
    // three of eighty chunks.
    reduce(4 * chunk);
    reduce(17 * chunk);
    let few = most_bytes(&device, || reduce(4 * chunk));
    let many = most_bytes(&device, || reduce(80 * chunk));
    // The limit allows for two chunks and what is computed from one of them. All columns are 80 chunks. The runtime of
    // graphics cards keeps some kilobytes of each launch for a while.
    let bytes = chunk * 3 * 4;
    let most = match format!("{device:?}").contains("Wgpu") {
        true => 20 * bytes,
        false => few + 2 * bytes,
    };
    assert!(
        few < 12 * bytes && many < most,
        "{few} bytes for 4 chunks and {many} for 80 of {bytes} bytes each"
    );
}

#[test]
fn ten_million_columns_take_less_than_64_mib() {
    let _turn = alone();
    let device = Device::default();
    let chunk = 1 << 16;
    reduce_columns(&device, 3 * chunk, chunk);
    let most = most_bytes(&device, || reduce_columns(&device, 10_000_000, chunk));
    assert!(most < 64 << 20, "{most} bytes");
}

/// The gradients of a Gaussian sum by points and weights.
fn step(x: &Tensor<2>, y: &Tensor<2>, b: &Tensor<2>) -> [Tensor<2>; 3] {
    let leaves = [x, y, b].map(|t| t.clone().detach().require_grad());
    let [x, y, b] = leaves.clone();
    let kernel = (-LazyTensor::vi(x).sqdist(LazyTensor::vj(y))).exp();
    let gradients = kernel.matmul(b).square().sum().backward();
    leaves.map(|leaf| leaf.grad(&gradients).expect("it is tracked"))
}

/// The gradient of a sum of `d` waves by their frequencies.
fn frequencies(x: &Tensor<2>, y: &Tensor<2>, p: &Tensor<1>) -> Tensor<1> {
    let p = p.clone().detach().require_grad();
    let x_i = LazyTensor::vi(x.clone());
    let waves = (LazyTensor::pm(p.clone()) * x_i * LazyTensor::vj(y.clone())).sin();
    let out: Tensor<2> = waves.inner_sum().sum(Axis::J);
    p.grad(&out.sum().backward()).expect("it is tracked")
}

fn usage(device: &Device) -> burn::backend::MemoryPoolUsage {
    device.sync().expect("the device runs");
    device.memory_pool_usage().expect("it is reported")
}

#[test]
fn training_keeps_nothing_and_needs_memory_for_operands_only() {
    let _turn = alone();
    let device = Device::default().autodiff();
    if !format!("{device:?}").contains("Cube(") {
        // Backends on the host return memory to the allocator of the program, and have no pool to measure.
        return;
    }
    let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Default, &device);

    // Few rows or few columns, so that there are few pairs but many numbers.
    let million = 1_000_000;
    for (m, n) in [(million, 3), (3, million)] {
        device.memory_cleanup();
        let before = usage(&device).bytes_reserved;
        let (x, y, b) = (random([m, 3]), random([n, 3]), random([n, 1]));
        let gradients = step(&x, &y, &b);
        let most = usage(&device).bytes_reserved - before;
        // The numbers of the operands, the result and the gradients.
        let numbers = 2 * (3 * m + 4 * n) + m;
        let limit = 10 * 4 * numbers as u64;
        assert!(
            most < limit,
            "{most} bytes for {m} x {n} pairs, at most {limit}"
        );
        drop((x, y, b, gradients));
    }

    // The contributions of rows to the gradient of a parameter are not stored for all rows. Devices that return large
    // buffers at once would not show it if they were.
    let d = 64;
    device.memory_cleanup();
    let before = usage(&device).bytes_reserved;
    let (x, y) = (random([million, 1]), random([2, 1]));
    let p = Tensor::<1>::ones([d], &device);
    let gradient = frequencies(&x, &y, &p);
    let most = usage(&device).bytes_reserved - before;
    let limit = (million * d) as u64;
    assert!(
        most < limit,
        "{most} bytes for {million} rows and {d} components, at most {limit}"
    );
    drop((x, y, p, gradient));

    let (x, y, b) = (random([50, 3]), random([40, 3]), random([40, 1]));
    // Enough steps to show a leak of one allocation per step. `BURN_LAZY_STEPS=10000` sets more.
    let steps = std::env::var("BURN_LAZY_STEPS").map_or(800, |steps| {
        steps.parse::<usize>().expect("a number of steps")
    });
    let mut used = Vec::new();
    for k in 0..=steps {
        let gradients = step(&x, &y, &b);
        if k % (steps / 4) == 0 {
            drop(gradients);
            let usage = usage(&device);
            used.push((usage.number_allocs, usage.bytes_in_use));
        }
    }
    // A device that runs behind the host may hold a few small buffers a little longer. Their number does not depend on
    // the number of steps.
    const LATE: u64 = 8;
    let [(first, first_bytes), (last, last_bytes)] = [used[1], used[4]];
    assert!(
        last <= first + LATE && last_bytes <= first_bytes + 64 * LATE,
        "allocations and bytes after each quarter: {used:?}"
    );
}
