//! Reductions on remote devices. Client and server run in this process and communicate over a web socket. The server
//! runs Flex, so that its results equal those of Flex in this process in every bit.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use burn::{
    backend::{
        DispatchDevice, Flex, Remote,
        ir::{CustomOpIr, ScalarIr, TensorIr},
        ops::FloatTensorOps,
    },
    remote::CustomOpClient,
    server::{CustomOpRegistry, telemetry::TelemetryEvent},
    tensor::{Bool, DType, Device, Int, Shape, Tensor, TensorData},
};
use burn_lazy::{
    Axes, Axis, LazyTensor, Ranges, Shards,
    solve::{LogDetOptions, Nystrom, Rank, SolveOptions, log_det},
};
use burn_lazy_remote::Server;

/// Reproducible values between -1 and 1.
fn values(count: usize, seed: f64) -> Vec<f64> {
    (0..count)
        .map(|k| ((k as f64 + seed) * 12.9898).sin())
        .collect()
}

fn tensor<const R: usize>(
    shape: [usize; R],
    seed: f64,
    dtype: DType,
    device: &Device,
) -> Tensor<R> {
    let data = TensorData::new(values(shape.iter().product(), seed), shape);
    Tensor::from_data(data, (device, dtype))
}

fn host<const R: usize>(tensor: Tensor<R>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn whole<const R: usize>(tensor: Tensor<R, Int>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

type Results = Vec<(&'static str, Vec<f64>)>;

#[track_caller]
fn assert_same(remote: Results, local: Results) {
    assert_eq!(remote.len(), local.len());
    for ((name, remote), (_, local)) in remote.into_iter().zip(local) {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&remote),
            bits(&local),
            "{name}: {remote:?} is not {local:?}"
        );
    }
}

/// Runs `body` in another thread. Fails if it panics or does not end within a minute.
fn ends(body: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        body();
        let _ = sender.send(());
    });
    let done = receiver.recv_timeout(Duration::from_secs(60));
    done.expect("it neither hangs nor fails");
}

/// Every reduction of a few formulas.
fn reductions(device: &Device, dtype: DType) -> Results {
    let x = LazyTensor::vi(tensor([2, 5, 3], 1.0, dtype, device));
    let y = LazyTensor::vj(tensor([1, 7, 3], 2.0, dtype, device));
    let b = LazyTensor::vj(tensor([7, 2], 3.0, dtype, device));
    let p = LazyTensor::pm(tensor([3], 4.0, dtype, device));
    let k = (-(&x - &y).sqnorm() * 0.7 + (&p * &x).inner_sum()).exp();
    let f = k.clone() * &b;
    let (minima, places): (Tensor<3>, Tensor<3, Int>) = f.min_argmin(Axis::J);
    let (least, columns): (Tensor<3>, Tensor<3, Int>) = k.kmin_argkmin(3, Axis::J);
    let rows: Tensor<3, Int> = k.argkmin(2, Axis::I);
    let (variance, mean): (Tensor<3>, Tensor<3>) = f.var_mean(Axis::I);
    let counts: Tensor<3, Int> = k.greater(0.5).count(Axis::J);
    let any: Tensor<3, Bool> = k.greater(0.9).any(Axis::J);
    let all: Tensor<2> = f.sum(Axes::Both);
    let largest: Tensor<2> = f.max(Axes::Both);
    vec![
        ("sum over j", host(f.sum::<3>(Axis::J))),
        ("sum over i", host(f.sum::<3>(Axis::I))),
        ("sum over both", host(all)),
        ("mean", host(f.mean::<3>(Axis::J))),
        ("product", host(f.prod::<3>(Axis::J))),
        ("logsumexp", host(f.logsumexp::<3>(Axis::J))),
        (
            "weighted logsumexp",
            host(k.logsumexp_weighted::<3>(b.square(), Axis::J)),
        ),
        ("softmax", host(k.sumsoftmaxweight::<3>(b, Axis::J))),
        ("minima", host(minima)),
        ("places of minima", whole(places)),
        ("maxima", host(f.max::<3>(Axis::I))),
        ("largest of all", host(largest)),
        ("smallest", host(least)),
        ("columns of smallest", whole(columns)),
        ("rows of smallest", whole(rows)),
        ("variance", host(variance)),
        ("mean with variance", host(mean)),
        ("counts", whole(counts)),
        ("any", whole(any.int())),
    ]
}

#[test]
fn reductions_are_those_of_the_host() {
    let server = Server::start();
    for dtype in [DType::F32, DType::F64, DType::F16] {
        let remote = reductions(&server.device(0), dtype);
        assert_same(remote, reductions(&Device::flex(), dtype));
    }
}

/// Reductions of a matrix that is split over two devices, and their gradients. The operands are on `home`.
fn shared_out(home: &Device, devices: [Device; 2]) -> Results {
    let tracked = home.clone().autodiff();
    let x = tensor([7, 2], 1.0, DType::F64, &tracked).require_grad();
    let y = tensor([5, 2], 2.0, DType::F64, &tracked).require_grad();
    let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(y.clone()))).exp();
    let shards = Shards::new(devices).weights([3.0, 1.0]);
    let mut all = Vec::new();
    for (name, sharded) in [("rows", shards.rows(&k)), ("columns", shards.columns(&k))] {
        let sums: Tensor<2> = sharded.logsumexp(Axis::J);
        let places: Tensor<2, Int> = sharded.argmin(Axis::J);
        let gradients = sums.clone().square().sum().backward();
        all.push((name, host(sums)));
        all.push((name, whole(places)));
        for leaf in [&x, &y] {
            all.push((name, host(leaf.grad(&gradients).unwrap())));
        }
    }
    all
}

#[test]
fn matrices_are_shared_out_to_the_devices_of_a_server() {
    let server = Server::start();
    let expected = || shared_out(&Device::flex(), [Device::flex(), Device::flex()]);
    let [first, second] = [0, 1].map(|index| server.device(index));
    // The operands are in this process, or on a device of the server.
    let here = shared_out(&Device::flex(), [first.clone(), second.clone()]);
    assert_same(here, expected());
    assert_same(shared_out(&first, [first.clone(), second]), expected());
}

/// Reductions, gradients and systems on a server with compiled kernels. Rounding differs from that of the host.
#[cfg(feature = "cpu")]
#[test]
fn the_cpu_runtime_serves() {
    if std::env::var("BURN_DEVICE").as_deref() != Ok("cpu") {
        // The workers of the CPU runtime would slow down all other tests.
        return eprintln!("skipped: BURN_DEVICE is not cpu");
    }
    let server = Server::on_cpu_runtime();
    let device = server.device(0);
    let close = |remote: Results, local: Results| {
        assert_eq!(remote.len(), local.len());
        for ((name, remote), (_, local)) in remote.into_iter().zip(local) {
            assert_eq!(remote.len(), local.len(), "{name}");
            let size = local
                .iter()
                .fold(1.0, |most: f64, value| most.max(value.abs()));
            let near =
                |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5 * size || a.is_nan() && b.is_nan();
            let all_near = remote.iter().zip(&local).all(near);
            assert!(all_near, "{name}: {remote:?} is not {local:?}");
        }
    };
    close(
        reductions(&device, DType::F32),
        reductions(&Device::flex(), DType::F32),
    );
    close(gradients(&device), gradients(&Device::flex()));
    close(solutions(&device), solutions(&Device::flex()));
}

/// Sums over some pairs and with stored pairs, sums of views and of empty tensors, and searches among values with a
/// NaN.
fn special(device: &Device) -> Results {
    let dtype = DType::F32;
    let own = tensor([6, 4], 1.0, dtype, device);
    let x = LazyTensor::vi(own.clone().transpose());
    let y = LazyTensor::vj(
        own.clone()
            .slice([1..6, 0..4])
            .repeat_dim(1, 2)
            .slice([0..5, 1..7]),
    );
    let stored = LazyTensor::vij(tensor([4, 5, 1], 2.0, dtype, device));
    let f = (x - y).sqnorm() * stored;
    let ranges = Ranges::new([4, 5], &[0..1, 1..4], &[1, 3], &[1..4, 0..2, 3..5]).unwrap();
    let labels = Ranges::labels(&[2, 1, 2, 1], &[1, 2, 2, 1, 3]).unwrap();
    let none = LazyTensor::vi(own.clone()) - LazyTensor::vj(tensor([0, 4], 1.0, dtype, device));
    let nan = own
        .clone()
        .slice_assign([2..3, 0..1], Tensor::full([1, 1], f32::NAN, device));
    let found = LazyTensor::vi(nan) * LazyTensor::vj(own);
    let random = LazyTensor::uniform(5) + f.clone();
    vec![
        ("views", host(f.sum::<2>(Axis::J))),
        ("in ranges", host(f.ranges(&ranges).sum::<2>(Axis::J))),
        (
            "in ranges, over rows",
            host(f.ranges(&ranges).sum::<2>(Axis::I)),
        ),
        ("of labels", host(f.ranges(&labels).logsumexp::<2>(Axis::J))),
        (
            "smallest of labels",
            whole(f.ranges(&labels).argkmin::<2>(3, Axis::J)),
        ),
        ("of nothing", host(none.sum::<2>(Axis::J))),
        ("least of nothing", host(none.min::<2>(Axis::J))),
        ("sums of no rows", host(none.sum::<2>(Axis::I))),
        ("with NaN", host(found.max::<2>(Axis::J))),
        ("random", host(random.sum::<2>(Axis::J))),
        ("entries", host(f.dense::<3>())),
        ("more than there are", host(f.kmin::<2>(9, Axis::J))),
    ]
}

#[test]
fn pairs_views_and_empty_axes_are_those_of_the_host() {
    let server = Server::start();
    assert_same(special(&server.device(0)), special(&Device::flex()));
}

/// The gradients of every reduction that has one.
fn gradients(device: &Device) -> Results {
    let device = device.clone().autodiff();
    let dtype = DType::F64;
    let leaf = |shape: [usize; 2], seed| tensor(shape, seed, dtype, &device).require_grad();
    type Loss = fn(&LazyTensor, &LazyTensor) -> Tensor<2>;
    let losses: [(&str, Loss); 9] = [
        ("sum", |f, _| f.sum(Axis::J)),
        ("product", |f, _| f.prod(Axis::J)),
        ("logsumexp", |f, _| f.logsumexp(Axis::I)),
        ("weighted", |f, w| f.logsumexp_weighted(w.square(), Axis::J)),
        ("softmax", |f, w| f.elem(0).sumsoftmaxweight(w * f, Axis::J)),
        ("minimum", |f, _| f.min(Axis::J)),
        ("smallest", |f, _| f.elem(0).kmin(2, Axis::J)),
        ("variance", |f, _| f.var(Axis::J)),
        ("matmul", |f, w| (f.elem(0) * w).sum(Axis::J)),
    ];
    let mut all = Vec::new();
    for (name, loss) in losses {
        let (x, y, w, p) = (
            leaf([5, 2], 1.0),
            leaf([4, 2], 2.0),
            leaf([4, 1], 3.0),
            leaf([1, 2], 4.0),
        );
        let [i, j] = [LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone())];
        let p_all = LazyTensor::pm(p.clone().reshape([2]));
        let f = ((i - j) * p_all).sigmoid() + 0.5;
        let value = loss(&f, &LazyTensor::vj(w.clone()));
        let gradients = value.clone().square().sum().backward();
        all.push((name, host(value)));
        for leaf in [x, y, w, p] {
            let gradient = leaf.grad(&gradients).map(host).unwrap_or_default();
            all.push((name, gradient));
        }
    }
    all
}

#[test]
fn gradients_are_those_of_the_host() {
    let server = Server::start();
    assert_same(gradients(&server.device(0)), gradients(&Device::flex()));
}

/// The solution of a system, a determinant, and their gradients.
fn solutions(device: &Device) -> Results {
    let device = device.clone().autodiff();
    let x = tensor([12, 2], 1.0, DType::F64, &device).require_grad();
    let b = tensor([12, 2], 2.0, DType::F64, &device).require_grad();
    let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()))).exp();
    let options = SolveOptions::default().ridge(0.1).tolerance(1e-10);
    let nystrom = Nystrom::new(&k, 0.1, Rank::Columns(4)).unwrap();
    let solved = k
        .solve(b.clone(), &options.preconditioner(nystrom))
        .unwrap();
    let determinant = log_det(&k, &LogDetOptions::<2>::default().ridge(0.1)).unwrap();
    let loss = solved.solution.clone().square().sum() + determinant.value.clone();
    let gradients = loss.backward();
    vec![
        ("solution", host(solved.solution)),
        ("determinant", host(determinant.value)),
        ("gradient by x", host(x.grad(&gradients).unwrap())),
        ("gradient by b", host(b.grad(&gradients).unwrap())),
    ]
}

#[test]
fn solutions_of_systems_are_those_of_the_host() {
    let server = Server::start();
    let (remote, local) = (solutions(&server.device(0)), solutions(&Device::flex()));
    for ((name, remote), (_, local)) in remote.iter().zip(&local) {
        for (a, b) in remote.iter().zip(local) {
            assert!((a - b).abs() <= 1e-8, "{name}: {a} is not {b}");
        }
    }
}

/// All steps have the same structure and other numbers. After the first step the server gets only the numbers.
#[test]
fn equal_steps_are_sent_once() {
    const STEPS: usize = 100;
    let mut server = Server::start();
    let steps = |device: &Device| {
        let device = device.clone().autodiff();
        let mut x = tensor([8, 2], 1.0, DType::F32, &device);
        let y = tensor([9, 2], 2.0, DType::F32, &device);
        let mut losses = Vec::new();
        for step in 0..STEPS {
            // The width is a run-time scalar.
            let width = 0.5 + 0.01 * step as f64;
            let leaf = x.clone().detach().require_grad();
            let k = (-LazyTensor::vi(leaf.clone()).sqdist(LazyTensor::vj(y.clone())) * width).exp();
            let loss = k.sum::<2>(Axis::J).mean();
            let gradients = loss.backward();
            let gradient = Tensor::<2>::from_inner(leaf.grad(&gradients).unwrap());
            x = x.detach() + gradient * 0.1;
            losses.push(f64::from(loss.into_scalar::<f32>()));
        }
        losses.extend(host(x.inner()));
        losses
    };
    let remote = steps(&server.device(0));
    assert_same(
        vec![("steps", remote)],
        vec![("steps", steps(&Device::flex()))],
    );
    let mut events = Vec::new();
    server.events.drain_into(&mut events);
    let count = |is: fn(&TelemetryEvent) -> bool| events.iter().filter(|event| is(event)).count();
    let registered = count(|event| matches!(event, TelemetryEvent::GraphRegistered { .. }));
    let executed = count(|event| matches!(event, TelemetryEvent::GraphExecuted { .. }));
    let bytes = events.iter().map(|event| match &**event {
        TelemetryEvent::GraphExecuted { bindings_bytes, .. } => *bindings_bytes,
        _ => 0,
    });
    let bytes: usize = bytes.sum();
    println!("{registered} graphs, run {executed} times with {bytes} bytes");
    if cfg!(feature = "fusion") {
        assert!(
            registered <= STEPS / 4,
            "{registered} graphs for {STEPS} equal steps"
        );
        assert!(
            executed >= STEPS,
            "{executed} graphs are run in {STEPS} steps"
        );
    } else {
        assert_eq!([registered, executed], [0, 0]);
    }
}

/// Two formulas whose descriptions have the same length, so that one stored graph serves both.
#[test]
fn formulas_take_turns() {
    let server = Server::start();
    let turns = |device: &Device| {
        let x = LazyTensor::vi(tensor([4, 2], 1.0, DType::F32, device));
        let y = LazyTensor::vj(tensor([5, 2], 2.0, DType::F32, device));
        let mut all = Vec::new();
        for turn in 0..12 {
            let distance = x.sqdist(&y) * (1.0 + f64::from(turn));
            let f = if turn % 2 == 0 {
                distance.cos()
            } else {
                distance.sin()
            };
            let sum: Tensor<2> = if turn % 3 == 0 {
                f.sum(Axis::J)
            } else {
                f.max(Axis::J)
            };
            all.push(("turn", host(sum * 2.0)));
        }
        all
    };
    assert_same(turns(&server.device(0)), turns(&Device::flex()));
}

/// The scalars with which a sum of $|x_i - y_j|^2$ is sent.
fn recorded() -> Vec<ScalarIr> {
    let seen: Arc<Mutex<Vec<ScalarIr>>> = Arc::default();
    let own = seen.clone();
    let mut registry = CustomOpRegistry::<Flex>::new();
    registry.register("lazy::reduce", move |handles, desc, device| {
        *own.lock().unwrap() = desc.scalars.clone();
        for output in &desc.outputs {
            let zeros = Flex::float_zeros(output.shape.clone(), device, output.dtype.into());
            handles.register_float_tensor::<Flex>(&output.id, zeros);
        }
    });
    let server = Server::with(registry);
    let [x, y] = points(&server.device(0));
    let sum: Tensor<2> = LazyTensor::vi(x).sqdist(LazyTensor::vj(y)).sum(Axis::J);
    assert_eq!(host(sum), [0.0; 3]);
    seen.lock().unwrap().clone()
}

fn points(device: &Device) -> [Tensor<2>; 2] {
    [
        tensor([3, 2], 1.0, DType::F32, device),
        tensor([4, 2], 2.0, DType::F32, device),
    ]
}

/// Asks a server for the sum that `scalars` describe.
fn described(device: &Device, scalars: Vec<ScalarIr>) -> Tensor<2> {
    let inner = device.clone().inner();
    let DispatchDevice::Remote(remote) = inner.as_dispatch() else {
        panic!("it is a remote device");
    };
    let client = CustomOpClient::new(remote);
    let inputs =
        points(device).map(|tensor| tensor.try_into_primitive::<Remote>().unwrap().into_ir());
    let output = TensorIr::uninit(
        client.create_empty_handle(),
        Shape::from([3, 1]),
        DType::F32,
    );
    let desc = CustomOpIr::with_scalars("lazy::reduce", &inputs, &[output], scalars);
    Tensor::from_primitive::<Remote>(client.register(desc).remove(0))
}

/// A server refuses operations that it cannot read, and keeps running. The session goes on as long as nobody reads a
/// refused result. Other sessions always go on.
#[test]
fn corrupted_operations_end_no_server() {
    let scalars = recorded();
    let server = Arc::new(Server::start());
    let expected = {
        let [x, y] = points(&Device::flex());
        host(
            LazyTensor::vi(x)
                .sqdist(LazyTensor::vj(y))
                .sum::<2>(Axis::J),
        )
    };
    let other_version = [&[ScalarIr::UInt(99)], &scalars[1..]].concat();
    let changes: Vec<Vec<ScalarIr>> = vec![
        vec![],
        scalars[..scalars.len() - 1].to_vec(),
        scalars.iter().rev().copied().collect(),
        vec![ScalarIr::UInt(u64::MAX); scalars.len()],
        scalars.iter().map(|_| ScalarIr::Float(f64::NAN)).collect(),
        other_version,
    ];
    let other = server.device(1);
    assert_eq!(host(described(&other, scalars.clone())), expected);
    let own = server.clone();
    ends(move || {
        let device = own.device(0);
        // Results that are never read.
        for change in &changes {
            drop(described(&device, change.clone()));
            let [x, y] = points(&device);
            let sum: Tensor<2> = LazyTensor::vi(x).sqdist(LazyTensor::vj(y)).sum(Axis::J);
            assert_eq!(host(sum), expected);
        }
        // Burn cannot report an error for a single tensor of a server. Reading the tensor ends the session.
        let refused = described(&device, changes[5].clone()).try_into_data();
        assert!(refused.is_err(), "{refused:?}");
    });
    let [x, y] = points(&other);
    let sum: Tensor<2> = LazyTensor::vi(x).sqdist(LazyTensor::vj(y)).sum(Axis::J);
    assert_eq!(host(sum).len(), 3);
}

/// A server without reductions ends the session, and the client gets an error.
#[test]
fn a_server_without_reductions_is_an_error() {
    let server = Server::with(CustomOpRegistry::new());
    ends(move || {
        let [x, y] = points(&server.device(0));
        let sum: Tensor<2> = LazyTensor::vi(x).sqdist(LazyTensor::vj(y)).sum(Axis::J);
        assert!(sum.try_into_data().is_err());
    });
}

#[test]
fn a_server_that_goes_away_is_an_error() {
    let server = Server::start();
    let device = server.device(0);
    let [x, y] = points(&device);
    let k = LazyTensor::vi(x).sqdist(LazyTensor::vj(y));
    assert_eq!(host(k.sum::<2>(Axis::J)).len(), 3);
    drop(server);
    ends(move || {
        let sum: Tensor<2> = k.sum(Axis::J);
        assert!(sum.try_into_data().is_err());
        // The client has not yet asked the server whether it supports this type.
        let double = LazyTensor::vi(tensor::<2>([3, 2], 1.0, DType::F64, &device));
        let error = double.try_sum::<2>(Axis::I).unwrap_err().to_string();
        assert!(error.contains("the server does not answer"), "{error}");
    });
}

/// Errors that the client can find are reported before anything is sent.
#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let server = Server::start();
    let [x, y] = points(&server.device(0));
    let wide = LazyTensor::vi(x.clone())
        .elem(0)
        .one_hot(1 << 23)
        .inner_sum()
        * LazyTensor::vj(y);
    let error = wide.try_sum::<2>(Axis::J).unwrap_err().to_string();
    assert!(
        error.contains("a reduction is not sent to a remote device")
            && error.contains("of shape [3, 2]"),
        "{error}"
    );
    let local = LazyTensor::vj(Tensor::<2>::ones([4, 2], &Device::flex()));
    let error = LazyTensor::vi(x).try_sub(local).unwrap_err().to_string();
    assert!(error.contains("devices differ"), "{error}");
}
