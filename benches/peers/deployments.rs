//! Reductions on several devices, of columns that are read in chunks, and on a device of a server. Each is measured in
//! turns with the same reduction on one device that holds all operands.

use std::path::Path;

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyTensor, Pruning, Shards, stream};

use crate::cases::{Case, Data, Kind, Output};

/// Where a case is computed, other than on one device that holds its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deployment {
    /// Rows or columns are shared out between the device and Flex, by measured weights.
    Shards(Axis),
    /// Columns are read in chunks from the memory of the host.
    Stream,
    /// Columns are read in chunks from a file, which is in the cache of the operating system.
    #[cfg(feature = "mmap")]
    Mapped,
    /// The case runs on a Flex device of a server in this process, over a web socket.
    #[cfg(feature = "remote-server")]
    Remote,
}

impl Deployment {
    /// The device that the deployment is compared with: for a server Flex, else the device itself.
    pub fn local(self, device: &Device) -> Device {
        match self {
            #[cfg(feature = "remote-server")]
            Self::Remote => Device::flex(),
            _ => device.clone(),
        }
    }

    /// The name of the computation that the deployment is compared with.
    pub fn beside(self) -> &'static str {
        match self {
            Self::Shards(_) => "one device",
            Self::Stream => "in memory",
            #[cfg(feature = "mmap")]
            Self::Mapped => "in memory",
            #[cfg(feature = "remote-server")]
            Self::Remote => "local",
        }
    }
}

/// All cases of deployments.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |workload: &str, deployment, case: Case| {
        cases.push(Case {
            deployment: Some(deployment),
            compared: false,
            ..case.named(workload)
        });
    };
    let square = |kind| Case::new(kind, [10_000; 2], 3);
    let nearest = |case: Case| Case { k: 10, ..case };
    let gaussian = || square(Kind::Gaussian);
    add("shards, rows", Deployment::Shards(Axis::I), gaussian());
    let few = Case::new(Kind::Gaussian, [10, 1_000_000], 3);
    add("shards, columns", Deployment::Shards(Axis::J), few);
    let argkmin = nearest(square(Kind::ArgKmin));
    add("shards, argkmin", Deployment::Shards(Axis::I), argkmin);

    let many = |kind| Case::new(kind, [1000, 1_000_000], 3);
    add("stream, sum", Deployment::Stream, many(Kind::Gaussian));
    let logsumexp = many(Kind::LogSumExp);
    add("stream, logsumexp", Deployment::Stream, logsumexp);
    // Pruning leaves out fewer pairs in a chunk than among all columns. That difference is not what is compared here.
    // With few rows, the pairs of a column take hardly longer than its copies. The first chunk is read before anything
    // is computed, which a stream of three chunks shows.
    let argkmin = |size| Case {
        pruning: Pruning::Off,
        ..nearest(Case::new(Kind::ArgKmin, size, 3))
    };
    for size in [[1000, 1_000_000], [1000, 8_000_000], [10_000, 1_000_000]] {
        add(
            "stream, argkmin of all pairs",
            Deployment::Stream,
            argkmin(size),
        );
    }
    #[cfg(feature = "mmap")]
    {
        let mapped = Deployment::Mapped;
        add("stream, sum of a file", mapped, many(Kind::Gaussian));
        let argkmin = argkmin([1000, 8_000_000]);
        add("stream, argkmin of a file", mapped, argkmin);
    }
    #[cfg(feature = "remote-server")]
    {
        let small = |kind| Case::new(kind, [100; 2], 3);
        for (workload, case) in [
            ("remote, latency", small(Kind::Gaussian)),
            ("remote, latency of a gradient", small(Kind::Gradient)),
            ("remote, sum", gaussian()),
            ("remote, argkmin", nearest(square(Kind::ArgKmin))),
        ] {
            add(workload, Deployment::Remote, case);
        }
    }
    cases
}

/// Prepares the operands and returns the call that is measured.
pub fn prepare_deployed(
    deployment: Deployment,
    case: &Case,
    data: &Data,
    scratch: &Path,
) -> Box<dyn Fn() -> Output> {
    let device = Device::default();
    match deployment {
        Deployment::Shards(axis) => shared_out(axis, case, data, &device),
        Deployment::Stream => {
            let points = in_memory(data, "y", case.d);
            streamed(Box::new(points), case, data, &device)
        }
        #[cfg(feature = "mmap")]
        Deployment::Mapped => {
            let file = scratch.join("columns");
            let numbers = data.values("y").iter();
            let bytes: Vec<u8> = numbers.flat_map(|y| (*y as f32).to_le_bytes()).collect();
            std::fs::write(&file, bytes).expect("the folder can be written");
            let points = stream::Mapped::raw(&file, case.d).expect("it was just written");
            streamed(Box::new(points), case, data, &device)
        }
        #[cfg(feature = "remote-server")]
        Deployment::Remote => crate::cases::prepare(case, data, &remote::device()),
    }
}

/// Shares rows or columns out between the device and Flex.
fn shared_out(axis: Axis, case: &Case, data: &Data, device: &Device) -> Box<dyn Fn() -> Output> {
    let [x, y] = ["x", "y"].map(|name| operand(data, name, device));
    let distances = LazyTensor::vi(x).sqdist(LazyTensor::vj(y));
    let shards = Shards::new([device.clone(), Device::flex()]);
    let share = |k: &LazyTensor| {
        let shards = shards.clone().balanced(k);
        match axis {
            Axis::I => shards.rows(k),
            Axis::J => shards.columns(k),
        }
    };
    match case.kind {
        Kind::ArgKmin => {
            let (k, count) = (share(&distances), case.k);
            Box::new(move || Output::indices(k.argkmin::<2>(count, Axis::J)))
        }
        _ => {
            let (k, b) = (share(&(-distances).exp()), operand(data, "b", device));
            Box::new(move || Output::values(k.matmul(b.clone())))
        }
    }
}

/// Reads the columns in chunks.
fn streamed(
    points: Box<dyn stream::Columns>,
    case: &Case,
    data: &Data,
    device: &Device,
) -> Box<dyn Fn() -> Output> {
    let x_i = LazyTensor::vi(operand(data, "x", device));
    let device = device.clone();
    let read = "the columns can be read";
    match case.kind {
        Kind::ArgKmin => {
            let (count, pruning) = (case.k, case.pruning);
            Box::new(move || {
                let stream = stream::over([&*points], &device);
                let squares = |[y_j]: [LazyTensor; 1]| x_i.sqdist(y_j).prune(pruning);
                let found = stream.argkmin::<2, _>(count, squares);
                Output::indices(found.expect(read))
            })
        }
        Kind::LogSumExp => Box::new(move || {
            let stream = stream::over([&*points], &device);
            let value = stream.logsumexp::<2, _>(|[y_j]| -x_i.sqdist(y_j));
            Output::values(value.expect(read))
        }),
        _ => {
            let weights = in_memory(data, "b", case.dv);
            Box::new(move || {
                let stream = stream::over([&*points, &weights], &device);
                let sum = stream.sum::<2, _>(|[y_j, b_j]| (-x_i.sqdist(y_j)).exp() * b_j);
                Output::values(sum.expect(read))
            })
        }
    }
}

fn operand(data: &Data, name: &str, device: &Device) -> Tensor<2> {
    let tensor = data.tensor(name, device, DType::F32);
    tensor.expect("the case has it")
}

fn in_memory(data: &Data, name: &str, dim: usize) -> stream::InMemory<Vec<f32>> {
    let values = data.values(name).iter().map(|value| *value as f32);
    stream::InMemory::new(values.collect(), dim).expect("there are whole columns")
}

#[cfg(feature = "remote-server")]
mod remote {
    //! A server in this process.

    use std::{net::TcpListener, sync::OnceLock, thread};

    use burn::{
        backend::Flex,
        prelude::*,
        remote::RemoteHost,
        server::{CustomOpRegistry, RemoteServer, WebSocketTransport},
    };

    /// A Flex device of the server, which is started by the first call and ends with the process.
    pub fn device() -> Device {
        static HOST: OnceLock<RemoteHost> = OnceLock::new();
        let host = HOST.get_or_init(start);
        let device = Device::remote_options(host).device_index(0).init();
        device.expect("the server hosts a device")
    }

    fn start() -> RemoteHost {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let mut registry = CustomOpRegistry::<Flex>::new();
        burn_lazy::register_lazy_ops(&mut registry);
        let server = RemoteServer::new([Device::flex()]).with_custom_ops::<Flex>(registry);
        thread::spawn(move || {
            let served = server.serve(WebSocketTransport::from_listener(listener));
            served.expect("the server runs");
        });
        RemoteHost::websocket(&format!("ws://{address}"))
    }
}
