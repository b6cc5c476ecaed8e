//! Formulas and graphs on several devices in one process.

use std::thread;

use burn::{
    module::{Module, Param},
    optim::{GradientsAccumulator, GradientsParams, SgdConfig},
    prelude::*,
    tensor::DType,
};
use burn_lazy::{Axis, LazyTensor};

use super::support::{
    Random, assert_close, device, host, is_interpreted, other_device, skipped, tensor,
};

/// Tensors on one device from which a part of a loss is computed.
struct Part {
    x: Tensor<2>,
    y: Tensor<2>,
}

impl Part {
    fn on(device: &Device, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut points = |count: usize| {
            let values = random.vec(count * 2);
            tensor(&values, [count, 2], DType::F32, &device.clone().autodiff()).require_grad()
        };
        let (x, y) = (points(5), points(4));
        Self { x, y }
    }

    fn matrix(&self) -> LazyTensor {
        (-LazyTensor::vi(self.x.clone()).sqdist(LazyTensor::vj(self.y.clone()))).exp()
    }

    fn loss(&self) -> Tensor<1> {
        self.matrix().logsumexp::<2>(Axis::J).sin().sum()
    }

    fn gradients(&self, gradients: &burn::tensor::Gradients) -> Vec<f64> {
        let by = |leaf: &Tensor<2>| host(leaf.grad(gradients).expect("it is tracked"));
        [by(&self.x), by(&self.y)].concat()
    }
}

#[test]
fn a_graph_goes_from_one_device_to_another() {
    if device() == other_device() {
        return skipped("there is one device");
    }
    let home = device().autodiff();
    let run = |device: Device| {
        let part = Part::on(&home, 3);
        let first: Tensor<2> = part.matrix().sum(Axis::J);
        // The result of the first device becomes rows of a formula on the other device. The result of that is moved
        // back.
        let rows = first.clone().to_device(&device);
        let columns = part.y.clone().to_device(&device);
        let second = LazyTensor::vi(rows).sqdist(LazyTensor::vj(columns));
        let second: Tensor<2> = (-second).logsumexp(Axis::J);
        // CubeCL 0.11.3's CPU runtime passes its memory to Flex without a copy, and computes in place if a tensor has
        // no other owner. So the tensor that was moved is kept until the end.
        let loss = (second.to_device(&home) * first.clone()).sum();
        let gradients = part.gradients(&loss.backward());
        drop(first);
        gradients
    };
    let moved = run(other_device().autodiff());
    assert_close("gradients", &moved, &run(home.clone()), 1e-5);
}

#[test]
fn graphs_of_two_devices_do_not_meet() {
    // The devices have different values, so that gradients of the other device would be noticed.
    let places = [(device(), 4), (other_device(), 5)];
    let part = |(device, seed): &(Device, u64)| Part::on(device, *seed);
    let alone = places.each_ref().map(|place| {
        let part = part(place);
        part.gradients(&part.loss().backward())
    });
    // Both graphs are built before either backward pass.
    let parts = places.each_ref().map(part);
    let [first, second] = parts.each_ref().map(Part::loss);
    let second = parts[1].gradients(&second.backward());
    let first = parts[0].gradients(&first.backward());
    assert_close("the one built first", &first, &alone[0], 1e-6);
    assert_close("the one built last", &second, &alone[1], 1e-6);
    // The same with a thread for each device.
    let results: Vec<Vec<f64>> = thread::scope(|scope| {
        let started = places.each_ref().map(|place| {
            scope.spawn(move || {
                let part = part(place);
                let steps = if is_interpreted() { 20 } else { 3 };
                let mut last = Vec::new();
                for _ in 0..steps {
                    last = part.gradients(&part.loss().backward());
                }
                last
            })
        });
        started.map(|thread| thread.join().unwrap()).into()
    });
    assert_close("a thread", &results[0], &alone[0], 1e-6);
    assert_close("the other thread", &results[1], &alone[1], 1e-6);
}

#[test]
fn operands_of_two_devices_are_an_error_and_the_next_call_works() {
    let (own, other) = (device(), other_device());
    if own == other {
        return skipped("there is one device");
    }
    let part = Part::on(&own, 5);
    let away = part.y.clone().to_device(&other.autodiff());
    let error = LazyTensor::vi(part.x.clone())
        .try_sub(LazyTensor::vj(away))
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("device"), "{message}");
    assert!(host(part.loss())[0].is_finite());
}

/// A device without enough memory gives an error, and the next call works.
#[test]
fn memory_that_is_refused_is_an_error_and_the_next_call_works() {
    let device = device();
    // A graphics card may have more memory than this, and operating systems promise more memory than there is.
    let is_standin = std::env::var_os("BURN_LAZY_STANDIN_CAPABILITY").is_some();
    if !is_standin && !format!("{device:?}").contains("Wgpu") {
        return skipped("the device may have that much memory");
    }
    // The result has 12 GiB: three numbers for each of 2^30 rows. The rows are a single row in memory.
    let m = 1 << 30;
    let one = Tensor::<2>::ones([1, 1], &device);
    let rows = LazyTensor::vi(one.clone().expand([m, 1]));
    let weights = LazyTensor::vj(one.clone().expand([1, 3]));
    let sums = (rows * weights).try_sum::<2>(Axis::J);
    let refused = match sums {
        Ok(sums) => {
            let first = sums.narrow(0, 0, 1).try_into_data();
            first.map(drop).map_err(|error| format!("{error:?}"))
        }
        Err(error) => Err(error.to_string()),
    };
    let message = refused.unwrap_err();
    let is_clear = ["memory", "Memory", "too big", "TooBig"];
    assert!(
        is_clear.iter().any(|word| message.contains(word)),
        "{message}"
    );
    let small: Tensor<2> = (LazyTensor::vi(one.clone()) * LazyTensor::vj(one)).sum(Axis::J);
    assert_eq!(host(small), [1.0]);
}

/// A model with learned centres, whose value is a sum of Gaussians.
#[derive(Module, Debug)]
struct Centres {
    centres: Param<Tensor<2>>,
}

impl Centres {
    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        let centres = LazyTensor::vj(self.centres.val());
        let k = (-LazyTensor::vi(x).sqdist(centres)).exp();
        k.sum::<2>(Axis::J).square().sum()
    }
}

#[test]
fn training_with_the_rows_on_two_devices_is_training_with_all_rows() {
    let home = device().autodiff();
    let mut random = Random::new(6);
    let (points, centres) = (random.vec(7 * 2), random.vec(3 * 2));
    let x = tensor(&points, [7, 2], DType::F32, &home);
    let model = Centres {
        centres: Param::from_tensor(tensor(&centres, [3, 2], DType::F32, &home)),
    };
    let step = |model: Centres, gradients| {
        let mut optimizer = SgdConfig::new().init();
        host(optimizer.step(0.01, model, gradients).centres.val())
    };
    let gradients = GradientsParams::from_grads(model.loss(x.clone()).backward(), &model);
    let expected = step(model.clone(), gradients);

    let mut all = GradientsAccumulator::new();
    for (device, rows) in [(home.clone(), 0..3), (other_device().autodiff(), 3..7)] {
        let replica = model.clone().fork(&device);
        let own = x.clone().slice([rows]).to_device(&device);
        let gradients = GradientsParams::from_grads(replica.loss(own).backward(), &replica);
        all.accumulate(&model, gradients.to_device(&home, &model));
    }
    let given = step(model, all.grads());
    assert_close("centres after a step", &given, &expected, 1e-5);
}
