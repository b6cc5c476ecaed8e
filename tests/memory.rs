//! What training keeps in the memory of the device. Alone in this program, as other tests would count.
#![cfg(all(
    any(feature = "cpu", feature = "wgpu", feature = "vulkan"),
    feature = "autodiff"
))]

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{Axis, LazyTensor};

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
    let device = Device::default().autodiff();
    if !format!("{device:?}").contains("Cube(") {
        // Backends on the host give memory back to the allocator of the program, and have no pool to look at.
        return;
    }
    let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Default, &device);

    // Few rows or few columns, so that pairs are few and numbers many.
    let million = 1_000_000;
    for (m, n) in [(million, 3), (3, million)] {
        device.memory_cleanup();
        let before = usage(&device).bytes_reserved;
        let (x, y, b) = (random([m, 3]), random([n, 3]), random([n, 1]));
        let gradients = step(&x, &y, &b);
        let most = usage(&device).bytes_reserved - before;
        // The operands, the result and the gradients.
        let numbers = 2 * (3 * m + 4 * n) + m;
        let limit = 10 * 4 * numbers as u64;
        assert!(
            most < limit,
            "{most} bytes for {m} x {n} pairs, at most {limit}"
        );
        drop((x, y, b, gradients));
    }

    // What a row adds to the gradient of a parameter is not stored for all rows; devices that give large
    // buffers back at once would not show it.
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
    // Enough that a leak of one allocation a step would show; `BURN_LAZY_STEPS=10000` takes more.
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
    // A device that runs behind may hold a few small buffers a little longer than at another time, however many steps
    // there were.
    const LATE: u64 = 8;
    let [(first, first_bytes), (last, last_bytes)] = [used[1], used[4]];
    assert!(
        last <= first + LATE && last_bytes <= first_bytes + 64 * LATE,
        "allocations and bytes after each quarter: {used:?}"
    );
}
