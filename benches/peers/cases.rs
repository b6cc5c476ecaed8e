//! What is measured: the cases, how this library computes them, and the error of a result.

use std::ops::Range;

use crate::deployments::{self, Deployment};
use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{
    Axis, LazyTensor, Pruning, Ranges,
    solve::{Nystrom, Rank, SolveOptions},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::StandardNormal;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// $\sum_j \exp(-|x_i - y_j|^2) b_j$.
    Gaussian,
    /// $\sum_j \exp(-|x_i - y_j|) b_j$.
    Laplacian,
    /// $\log \sum_j \exp(-|x_i - y_j|^2)$.
    LogSumExp,
    /// $\sum_j \mathrm{softmax}_j(x_i \cdot y_j) b_j$.
    Attention,
    /// Causal attention: row i takes columns up to i, selected by a mask or by ranges.
    Causal { ranges: bool },
    /// The indices of the columns with the smallest $|x_i - y_j|^2$.
    ArgKmin,
    /// $\sum_j \exp(-|x_i - y_j|^2 / (2 \sigma^2)) b_j$ on a cube of side 1.
    Narrow { sigma: f64 },
    /// The Gaussian sum and its gradients by x, y and b.
    Gradient,
    /// $x + 1$, computed by Burn itself: the least time that any call takes.
    ElementWise,
    /// $\sum_j \sin(\sin(\dots \sin(x_i \cdot y_j)))$, a long formula without common subexpressions.
    Sines { depth: usize },
    /// $\sum_j \mathrm{softDTW}(x_i, y_j)$, a formula of about $D^2$ exponentials and logarithms with shared
    /// intermediate values; with `gradient` its gradient by x.
    SoftDtw { gradient: bool },
    /// The Gaussian sum over the pairs in ranges.
    Ranges(Origin),
    /// The construction of ranges from a matrix of 10 000 x 10 000 clusters, of which one pair in a hundred is kept.
    FromMatrix,
    /// The solution of $(\alpha I + K) a = b$ with the Gaussian kernel matrix of the rows of x. Systems in F64 have
    /// iterations in F32.
    Solve { alpha: f64, method: Method },
}

/// How ranges are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin {
    /// Batches of unequal sizes: 100 to 1000 rows with as many columns.
    Lengths,
    /// Clusters of 100 rows, each with 20 random clusters of 100 columns.
    Clusters,
    /// Each row with the 1001 columns around it.
    Band,
    /// Each row with 32 random columns.
    Neighbors,
}

/// The ranges of a case, and a function that gives the columns of a row.
struct Pairs {
    ranges: Ranges,
    of_row: Box<dyn Fn(usize) -> Vec<usize>>,
}

impl Pairs {
    fn new(origin: Origin, size: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(2);
        match origin {
            Origin::Lengths => {
                let mut lengths = Vec::new();
                let mut left = size;
                while left > 0 {
                    let own = rng.random_range(100..=1000).min(left);
                    lengths.push(own);
                    left -= own;
                }
                let segments: Vec<Range<usize>> = lengths
                    .iter()
                    .scan(0, |start, own| {
                        *start += own;
                        Some(*start - own..*start)
                    })
                    .collect();
                Self {
                    ranges: Ranges::lengths(&lengths, &lengths).expect("as many segments"),
                    of_row: Box::new(move |row| {
                        let own = segments.iter().find(|own| own.contains(&row));
                        own.expect("they cover the rows").clone().collect()
                    }),
                }
            }
            Origin::Clusters => {
                let clusters: Vec<Range<usize>> = (0..size)
                    .step_by(100)
                    .map(|at| at..size.min(at + 100))
                    .collect();
                let mut keep = vec![false; clusters.len().pow(2)];
                for row in keep.chunks_mut(clusters.len()) {
                    (0..20).for_each(|_| row[rng.random_range(0..clusters.len())] = true);
                }
                let ranges = Ranges::from_matrix(&clusters, &clusters, &keep);
                Self {
                    ranges: ranges.expect("clusters are disjoint"),
                    of_row: Box::new(move |row| {
                        let own = &keep[row / 100 * clusters.len()..][..clusters.len()];
                        let kept = clusters.iter().zip(own).filter(|(_, kept)| **kept);
                        kept.flat_map(|(columns, _)| columns.clone()).collect()
                    }),
                }
            }
            Origin::Band => Self {
                ranges: Ranges::band([size; 2], 500, 500).expect("it is small"),
                of_row: Box::new(move |row| {
                    (row.saturating_sub(500)..size.min(row + 501)).collect()
                }),
            },
            Origin::Neighbors => {
                let rows: Vec<Vec<usize>> = (0..size)
                    .map(|_| {
                        let mut own: Vec<usize> =
                            (0..32).map(|_| rng.random_range(0..size)).collect();
                        own.sort_unstable();
                        own.dedup();
                        own
                    })
                    .collect();
                let mut starts = vec![0];
                starts.extend(rows.iter().scan(0, |end, own| {
                    *end += own.len();
                    Some(*end)
                }));
                let ranges = Ranges::neighbors(size, &starts, &rows.concat());
                Self {
                    ranges: ranges.expect("each once"),
                    of_row: Box::new(move |row| rows[row].clone()),
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Conjugate gradients.
    Plain,
    /// Conjugate gradients with a Nyström preconditioner. Its construction is part of the measured time.
    Nystrom,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gaussian => "gaussian",
            Kind::Laplacian => "laplacian",
            Kind::LogSumExp => "logsumexp",
            Kind::Attention => "attention",
            Kind::Causal { .. } => "causal",
            Kind::ArgKmin => "argkmin",
            Kind::Narrow { .. } => "narrow",
            Kind::Gradient => "gradient",
            Kind::ElementWise => "element-wise",
            Kind::Sines { .. } => "sines",
            Kind::SoftDtw { .. } => "softdtw",
            Kind::Ranges(_) => "ranges",
            Kind::FromMatrix => "from_matrix",
            Kind::Solve { .. } => "solve",
        }
    }

    /// Names of the input arrays.
    fn arrays(self) -> &'static [&'static str] {
        match self {
            Kind::LogSumExp
            | Kind::ArgKmin
            | Kind::ElementWise
            | Kind::FromMatrix
            | Kind::Sines { .. }
            | Kind::SoftDtw { .. } => &["x", "y"],
            _ => &["x", "y", "b"],
        }
    }
}

#[derive(Clone, Debug)]
pub struct Case {
    pub workload: String,
    pub kind: Kind,
    pub m: usize,
    pub n: usize,
    pub d: usize,
    /// Components of b.
    pub dv: usize,
    /// Number of neighbours; 0 for cases without neighbours.
    pub k: usize,
    pub batch: usize,
    pub double: bool,
    /// Which pairs the library may leave out.
    pub pruning: Pruning,
    /// Whether the columns are the same points as the rows.
    pub symmetric: bool,
    /// The relative residual that a system is solved to.
    pub tolerance: f64,
    /// Whether the case is part of the short run of `--quick`.
    pub quick: bool,
    /// Whether peers are measured, too.
    pub compared: bool,
    /// Where the case is computed; none for one device that holds its operands.
    pub deployment: Option<Deployment>,
}

impl Case {
    pub fn new(kind: Kind, [m, n]: [usize; 2], d: usize) -> Self {
        Self {
            workload: kind.name().into(),
            kind,
            m,
            n,
            d,
            dv: if kind.arrays().contains(&"b") { 1 } else { 0 },
            k: 0,
            batch: 1,
            double: false,
            pruning: Pruning::Auto,
            symmetric: false,
            tolerance: 0.0,
            quick: false,
            compared: true,
            deployment: None,
        }
    }

    pub fn named(mut self, workload: &str) -> Self {
        self.workload = workload.into();
        self
    }

    fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    fn dv(mut self, dv: usize) -> Self {
        self.dv = dv;
        self
    }

    pub fn dtype(&self) -> DType {
        if self.double { DType::F64 } else { DType::F32 }
    }

    /// The name of the type in results and in requests to peers.
    pub fn type_name(&self) -> &'static str {
        if self.double { "f64" } else { "f32" }
    }

    pub fn pairs(&self) -> f64 {
        match self.kind {
            Kind::Ranges(origin) => Pairs::new(origin, self.m).ranges.pairs() as f64,
            Kind::Causal { .. } => self.m as f64 * (self.m + 1) as f64 / 2.0,
            _ => self.batch as f64 * self.m as f64 * self.n as f64,
        }
    }

    /// The least number of operations per pair: operations of the units that multiply, and exponentials. It assumes
    /// that differences are squared one by one. None for cases whose time says nothing about such a count.
    pub fn operations(&self) -> Option<[f64; 2]> {
        let (d, dv) = (self.d as f64, self.dv as f64);
        match self.kind {
            // Half of the pairs are computed, each for a row and a column.
            Kind::Gaussian if self.symmetric => Some([d / 2.0 + dv, 0.5]),
            Kind::Gaussian | Kind::Narrow { .. } => Some([d + dv, 1.0]),
            // A square root costs about as much as an exponential.
            Kind::Laplacian => Some([d + dv, 2.0]),
            Kind::LogSumExp => Some([d, 1.0]),
            Kind::Attention | Kind::Causal { .. } => Some([d + dv, 1.0]),
            // The additional operation is a comparison.
            Kind::ArgKmin => Some([d + 1.0, 0.0]),
            Kind::Ranges(_) => Some([d + dv, 1.0]),
            Kind::Gradient
            | Kind::ElementWise
            | Kind::FromMatrix
            | Kind::Sines { .. }
            | Kind::SoftDtw { .. }
            | Kind::Solve { .. } => None,
        }
    }
}

/// All cases, in the order in which they run. Most have a hundred times as many pairs on a GPU.
pub fn cases(gpu: bool) -> Vec<Case> {
    let square = [if gpu { 100_000 } else { 10_000 }; 2];
    let mut cases = Vec::new();
    for d in [1, 3, 10, 16, 64, 100] {
        let case = Case::new(Kind::Gaussian, square, d);
        cases.push(if [3, 64].contains(&d) {
            case.quick()
        } else {
            case
        });
    }
    cases.push(Case::new(Kind::Gaussian, [4000; 2], 500));
    cases.extend([4, 16, 100].map(|dv| Case::new(Kind::Gaussian, square, 3).dv(dv)));
    for (d, dv) in [(1, 1), (3, 1), (10, 1), (64, 1), (3, 4), (3, 16)] {
        let case = Case::new(Kind::Gaussian, square, d).dv(dv);
        let case = Case {
            symmetric: true,
            ..case.named("gaussian, symmetric")
        };
        cases.push(if (d, dv) == (3, 1) {
            case.quick()
        } else {
            case
        });
    }
    cases.push(Case::new(Kind::Laplacian, square, 3));
    cases.push(Case::new(Kind::LogSumExp, square, 3).quick());
    cases.push(Case::new(Kind::Attention, [4096; 2], 64).dv(64).quick());
    for d in [3, 16, 64, 128, 784] {
        for k in [1, 10, 50] {
            let case = Case::new(Kind::ArgKmin, if d > 128 { [4000; 2] } else { square }, d);
            let case = Case { k, ..case };
            let quick = k == 10 && [3, 64].contains(&d);
            cases.push(if quick { case.quick() } else { case });
        }
    }
    cases.push(Case::new(Kind::Gradient, square, 3).quick());
    cases.push(Case {
        batch: 1000,
        ..Case::new(Kind::Gaussian, [100; 2], 3).named("gaussian of 1000")
    });
    cases.push(
        Case::new(Kind::Gaussian, [100; 2], 3)
            .named("latency")
            .quick(),
    );
    cases.push(Case::new(Kind::ElementWise, [100; 2], 3));
    // These cases are there for the time of the first call.
    for (workload, kind, d) in [
        ("compile, Gaussian", Kind::Gaussian, 3),
        ("compile, gradient", Kind::Gradient, 3),
        ("compile, 10 sines", Kind::Sines { depth: 10 }, 1),
        ("compile, 20 sines", Kind::Sines { depth: 20 }, 1),
        ("compile, 40 sines", Kind::Sines { depth: 40 }, 1),
        ("compile, softdtw", Kind::SoftDtw { gradient: false }, 8),
        ("compile, softdtw", Kind::SoftDtw { gradient: false }, 12),
        (
            "compile, softdtw and gradient",
            Kind::SoftDtw { gradient: true },
            4,
        ),
        (
            "compile, softdtw and gradient",
            Kind::SoftDtw { gradient: true },
            8,
        ),
        (
            "compile, softdtw and gradient",
            Kind::SoftDtw { gradient: true },
            12,
        ),
    ] {
        cases.push(Case {
            compared: false,
            ..Case::new(kind, [50; 2], d).named(workload)
        });
    }
    cases.push(Case::new(Kind::Gaussian, [10, 1_000_000], 3).named("few rows"));
    for n in [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000] {
        cases.push(Case::new(Kind::Gaussian, [10_000, n], 3).named("columns"));
    }
    for (workload, ranges) in [
        ("ranges, causal", true),
        ("ranges, causal as a mask", false),
        ("ranges, causal as a mask of all pairs", false),
    ] {
        let case = Case::new(Kind::Causal { ranges }, [4096; 2], 64);
        let all = workload.ends_with("all pairs");
        cases.push(Case {
            pruning: if all { Pruning::Off } else { Pruning::Auto },
            compared: false,
            ..case.dv(64).named(workload)
        });
    }
    for (workload, origin) in [
        ("ranges, lengths", Origin::Lengths),
        ("ranges, clusters", Origin::Clusters),
        ("ranges, band", Origin::Band),
        ("ranges, neighbors", Origin::Neighbors),
    ] {
        let case = Case::new(Kind::Ranges(origin), [100_000; 2], 3).named(workload);
        cases.push(Case {
            compared: false,
            ..case
        });
    }
    let million = 1_000_000;
    for (n, d) in [
        (10_000, 3),
        (100_000, 3),
        (million, 3),
        (million, 2),
        (100_000, 6),
    ] {
        let case = Case::new(Kind::ArgKmin, [n; 2], d).named("knn-large");
        let case = Case {
            k: 10,
            symmetric: true,
            ..case
        };
        if n < million {
            cases.push(Case {
                pruning: Pruning::Off,
                compared: false,
                ..case.clone().named("knn-large, all pairs")
            });
        }
        cases.push(case);
    }
    for (n, sigma) in [(100_000, 0.03), (million, 0.01)] {
        for (workload, pruning) in [
            ("sums-large, all pairs", Pruning::Off),
            ("sums-large, zeros left out", Pruning::Exact),
            ("sums-large, 1e-7", Pruning::Relative(1e-7)),
        ] {
            if n < million || pruning != Pruning::Off {
                let case = Case::new(Kind::Narrow { sigma }, [n; 2], 3).named(workload);
                cases.push(Case {
                    pruning,
                    symmetric: true,
                    compared: false,
                    ..case
                });
            }
        }
    }
    cases.push(Case {
        compared: false,
        ..Case::new(Kind::FromMatrix, [10_000; 2], 1).named("ranges, from_matrix")
    });
    // Residuals that F32 can reach, and one that it cannot. The time of a peer does not depend on the preconditioner of
    // this library, so peers solve only the systems without one, and none that takes them hours.
    for (workload, alpha, tolerance, method) in [
        ("solve", 0.1, 1.5e-4, Method::Plain),
        ("solve, Nyström", 0.1, 1.5e-4, Method::Nystrom),
        ("solve, F64", 0.1, 1e-6, Method::Plain),
        ("solve, F64, Nyström", 0.1, 1e-6, Method::Nystrom),
        ("solve, alpha 1e-3", 1e-3, 1.2e-2, Method::Plain),
        ("solve, alpha 1e-3, Nyström", 1e-3, 1.2e-2, Method::Nystrom),
    ] {
        let kind = Kind::Solve { alpha, method };
        cases.push(Case {
            tolerance,
            double: tolerance < 1e-5,
            symmetric: true,
            compared: method == Method::Plain && alpha > 0.01,
            ..Case::new(kind, [10_000; 2], 3).dv(4).named(workload)
        });
    }
    cases.extend(deployments::cases());
    cases
}

/// An input array.
pub struct Array {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

pub struct Data {
    arrays: Vec<Array>,
}

impl Data {
    /// The arrays of a case. In any dimension many of the points are near each other.
    pub fn new(case: &Case) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let d = case.d as f64;
        let mut array = |name: &&'static str| {
            let [rows, columns] = match *name {
                "x" => [case.m, case.d],
                "y" => [case.n, case.d],
                _ => [case.n, case.dv],
            };
            let count = case.batch * rows * columns;
            let values: Vec<f32> = match (case.kind, *name) {
                (Kind::Solve { .. }, _) => {
                    (&mut rng).sample_iter(StandardNormal).take(count).collect()
                }
                // Scaled so that the scores have variance 1.
                (Kind::Attention | Kind::Causal { .. }, "x" | "y") => {
                    let normal = (&mut rng).sample_iter::<f32, _>(StandardNormal).take(count);
                    normal.map(|value| value / d.powf(0.25) as f32).collect()
                }
                (_, "b") => (0..count).map(|_| rng.random()).collect(),
                _ => (0..count)
                    .map(|_| rng.random::<f32>() / d.sqrt() as f32)
                    .collect(),
            };
            let mut shape = vec![rows, columns];
            if case.batch > 1 {
                shape.insert(0, case.batch);
            }
            Array {
                name,
                shape,
                values: values.into_iter().map(f64::from).collect(),
            }
        };
        let mut arrays: Vec<Array> = case.kind.arrays().iter().map(&mut array).collect();
        if case.symmetric {
            arrays[1].values = arrays[0].values.clone();
        }
        Self { arrays }
    }

    pub fn arrays(&self) -> &[Array] {
        &self.arrays
    }

    /// The named array on a device. `None` if the case has no such array.
    pub fn tensor<const R: usize>(
        &self,
        name: &str,
        device: &Device,
        dtype: DType,
    ) -> Option<Tensor<R>> {
        let array = self.arrays.iter().find(|array| array.name == name)?;
        let shape: [usize; R] = array.shape.clone().try_into().expect("of this rank");
        let data = TensorData::new(array.values.clone(), shape);
        Some(Tensor::from_data(data, (device, dtype)))
    }

    pub fn values(&self, name: &str) -> &[f64] {
        let array = self.arrays.iter().find(|array| array.name == name);
        &array.expect("the case has it").values
    }
}

/// The factor of squared distances in a Gaussian of standard deviation `sigma` on a cube of side 1. The points of the
/// case are on a cube of side $1 / \sqrt{d}$.
fn scale(case: &Case, sigma: f64) -> f64 {
    case.d as f64 / (2.0 * sigma * sigma)
}

/// Puts the operands on the device and returns the call that is measured.
pub fn prepare(case: &Case, data: &Data, device: &Device) -> Box<dyn Fn() -> Output> {
    match case.batch {
        1 => prepare_rank::<2>(case, data, device),
        _ => prepare_rank::<3>(case, data, device),
    }
}

/// The result of a call, on the device.
pub enum Output {
    Values(Tensor<1>),
    Indices(Tensor<1, Int>),
}

impl Output {
    /// Waits until the result has been computed.
    pub fn wait(&self) {
        let device = match self {
            Output::Values(values) => values.device(),
            Output::Indices(values) => values.device(),
        };
        device.sync().expect("the device runs");
    }

    pub fn host(self) -> Vec<f64> {
        match self {
            Output::Values(values) => values.into_data().iter().collect(),
            Output::Indices(values) => values.into_data().iter::<i64>().map(|i| i as f64).collect(),
        }
    }

    pub fn values<const R: usize>(tensor: Tensor<R>) -> Self {
        Output::Values(Tensor::from_dispatch(tensor.into_dispatch()))
    }

    pub fn indices<const R: usize>(tensor: Tensor<R, Int>) -> Self {
        Output::Indices(Tensor::from_dispatch(tensor.into_dispatch()))
    }
}

fn prepare_rank<const R: usize>(
    case: &Case,
    data: &Data,
    device: &Device,
) -> Box<dyn Fn() -> Output> {
    let tensor = |name: &str, device: &Device| data.tensor(name, device, case.dtype());
    let tensors = |device: &Device| {
        let [x, y] = ["x", "y"].map(|name| tensor(name, device).expect("every case has points"));
        (x, y, tensor("b", device))
    };
    let (x, mut y, b) = tensors(device);
    if case.symmetric {
        y = x.clone();
    }
    let distances = move |x: &Tensor<R>, y: &Tensor<R>| {
        LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(y.clone()))
    };
    let column = move || b.clone().expect("there is a b");
    match case.kind {
        Kind::Gaussian => Box::new(move || {
            let k = (-distances(&x, &y)).exp();
            Output::values(k.matmul(column()))
        }),
        Kind::Laplacian => Box::new(move || {
            let k = (-distances(&x, &y).sqrt()).exp();
            Output::values(k.matmul(column()))
        }),
        Kind::LogSumExp => {
            Box::new(move || Output::values::<R>((-distances(&x, &y)).logsumexp(Axis::J)))
        }
        Kind::Attention => Box::new(move || {
            let scores = LazyTensor::vi(x.clone()).dot(LazyTensor::vj(y.clone()));
            let out: Tensor<R> = scores.sumsoftmaxweight(LazyTensor::vj(column()), Axis::J);
            Output::values(out)
        }),
        Kind::Causal { ranges } => {
            let causal = Ranges::causal([case.m, case.n]).expect("it is small");
            let pruning = case.pruning;
            Box::new(move || {
                let scores = LazyTensor::vi(x.clone()).dot(LazyTensor::vj(y.clone()));
                let scores = match ranges {
                    true => scores.ranges(&causal),
                    false => scores
                        .mask_where(LazyTensor::offset().less(0.0), f64::NEG_INFINITY)
                        .prune(pruning),
                };
                let out: Tensor<R> = scores.sumsoftmaxweight(LazyTensor::vj(column()), Axis::J);
                Output::values(out)
            })
        }
        Kind::ElementWise => Box::new(move || Output::values(x.clone() + 1)),
        Kind::Ranges(origin) => {
            let ranges = Pairs::new(origin, case.m).ranges;
            Box::new(move || {
                let k = (-distances(&x, &y)).exp();
                Output::values(k.ranges(&ranges).matmul(column()))
            })
        }
        Kind::FromMatrix => {
            let clusters: Vec<Range<usize>> = (0..case.m).map(|at| at..at + 1).collect();
            let keep = kept(case);
            Box::new(move || {
                let ranges = Ranges::from_matrix(&clusters, &clusters, &keep);
                let count = ranges.expect("clusters are disjoint").count() as f64;
                Output::values(x.zeros_like() + count)
            })
        }
        Kind::ArgKmin => {
            let (k, pruning) = (case.k, case.pruning);
            Box::new(move || {
                let squares = distances(&x, &y).prune(pruning);
                Output::indices(squares.argkmin::<R>(k, Axis::J))
            })
        }
        Kind::Narrow { sigma } => {
            let (scale, pruning) = (scale(case, sigma), case.pruning);
            Box::new(move || {
                let k = (-distances(&x, &y) * scale).exp();
                Output::values(k.prune(pruning).matmul(column()))
            })
        }
        Kind::Sines { depth } => Box::new(move || {
            let product = LazyTensor::vi(x.clone()).dot(LazyTensor::vj(y.clone()));
            Output::values::<R>(
                (0..depth)
                    .fold(product, |inner, _| inner.sin())
                    .sum(Axis::J),
            )
        }),
        Kind::SoftDtw { gradient } => {
            let (x, y, _) = match gradient {
                true => tensors(&device.clone().autodiff()),
                false => (x, y, None),
            };
            Box::new(move || {
                let x = x.clone().detach();
                let x = if gradient { x.require_grad() } else { x };
                let alignment =
                    LazyTensor::vi(x.clone()).softdtw(LazyTensor::vj(y.clone()), SMOOTHING);
                let sums: Tensor<R> = alignment.sum(Axis::J);
                match gradient {
                    true => {
                        let gradients = sums.sum().backward();
                        Output::values(x.grad(&gradients).expect("it is tracked"))
                    }
                    false => Output::values(sums),
                }
            })
        }
        Kind::Gradient => {
            let (x, y, b) = tensors(&device.clone().autodiff());
            let b = b.expect("there is a b");
            Box::new(move || {
                let leaf = |t: &Tensor<R>| t.clone().detach().require_grad();
                let (x, y, b) = (leaf(&x), leaf(&y), leaf(&b));
                let k = (-distances(&x, &y)).exp();
                let gradients = k.matmul(b.clone()).sum().backward();
                let _ = (y.grad(&gradients), b.grad(&gradients));
                Output::values(x.grad(&gradients).expect("it is tracked"))
            })
        }
        Kind::Solve { alpha, method } => {
            assert_eq!(R, 2, "systems have no batches here");
            let mut options = SolveOptions::default()
                .ridge(alpha)
                .tolerance(case.tolerance);
            if case.double {
                options = options.iterate_in(FloatDType::F32);
            }
            Box::new(move || {
                let k = (-distances(&x, &y)).exp();
                let b = Tensor::<2>::from_dispatch(column().into_dispatch());
                let mut options = options.clone();
                if method == Method::Nystrom {
                    let nystrom = Nystrom::new(&k.cast(FloatDType::F32), alpha, Rank::Auto);
                    options = options.preconditioner(nystrom.expect("the matrix is definite"));
                }
                let solved = k.solve(b, &options).expect("the system is definite");
                Output::values(solved.solution)
            })
        }
    }
}

/// Which pairs of clusters are kept, about one in a hundred.
fn kept(case: &Case) -> Vec<bool> {
    let mut rng = StdRng::seed_from_u64(3);
    let one = |_| rng.random_range(0..100) == 0;
    (0..case.m * case.n).map(one).collect()
}

/// The smoothing of soft minima.
const SMOOTHING: f64 = 0.1;

/// The soft cost of aligning two series, by the recursion of Cuturi and Blondel, "Soft-DTW", ICML 2017.
fn soft_dtw(x: &[f64], y: &[f64]) -> f64 {
    let soft_min = |values: [f64; 3]| {
        let least = values.into_iter().fold(f64::INFINITY, f64::min);
        let sum: f64 = values.iter().map(|v| ((least - v) / SMOOTHING).exp()).sum();
        least - SMOOTHING * sum.ln()
    };
    // The costs before the first row and the first column. An alignment begins in their corner.
    let mut above = vec![f64::INFINITY; y.len() + 1];
    above[0] = 0.0;
    for x in x {
        let mut row = vec![f64::INFINITY];
        for (k, y) in y.iter().enumerate() {
            row.push((x - y).powi(2) + soft_min([above[k], above[k + 1], row[k]]));
        }
        above = row;
    }
    above[y.len()]
}

/// The relative error of a few rows, computed in `f64`: for values the norm of the difference, for neighbours the error
/// of their distances, for systems the residual.
pub fn error(case: &Case, data: &Data, out: &[f64]) -> f64 {
    const ROWS: usize = 32;
    let (x, y) = (data.values("x"), data.values("y"));
    let columns = out.len() / (case.batch * case.m);
    let (mut error, mut norm) = (0.0, 0.0);
    let rows = ROWS.min(case.m);
    let pairs = match case.kind {
        Kind::Ranges(origin) => Some(Pairs::new(origin, case.m)),
        _ => None,
    };
    for k in 0..rows {
        // The rows are spread over all rows and batches.
        let (batch, i) = (k * case.batch / rows, k * case.m / rows);
        let row = batch * case.m + i;
        let x_i = &x[row * case.d..][..case.d];
        let own = &out[row * columns..][..columns];
        let y_j = y[batch * case.n * case.d..].chunks(case.d).take(case.n);
        let distances: Vec<f64> = y_j
            .clone()
            .map(|y_j| x_i.iter().zip(y_j).map(|(a, b)| (a - b).powi(2)).sum())
            .collect();
        let b_j = |j: usize| &data.values("b")[(batch * case.n + j) * case.dv..][..case.dv];
        let weighted = |weight: &dyn Fn(usize) -> f64| {
            let mut total = vec![0.0; case.dv];
            for j in 0..case.n {
                let weight = weight(j);
                for (total, b) in total.iter_mut().zip(b_j(j)) {
                    *total += weight * b;
                }
            }
            total
        };
        let gaussian = |j: usize| (-distances[j]).exp();
        let mut own = own.to_vec();
        let exact = match case.kind {
            Kind::Gaussian => weighted(&gaussian),
            Kind::Laplacian => weighted(&|j| (-distances[j].sqrt()).exp()),
            Kind::Narrow { sigma } => weighted(&|j| (-distances[j] * scale(case, sigma)).exp()),
            Kind::ElementWise => x_i.iter().map(|x| x + 1.0).collect(),
            Kind::Ranges(_) => {
                let columns = (pairs.as_ref().expect("they are of this kind").of_row)(i);
                let term = |j: &usize| gaussian(*j) * b_j(*j)[0];
                vec![columns.iter().map(term).sum()]
            }
            Kind::FromMatrix => {
                let keep = kept(case);
                let starts = |row: &[bool]| -> usize {
                    let first = usize::from(row[0]);
                    first + row.windows(2).filter(|pair| !pair[0] && pair[1]).count()
                };
                vec![keep.chunks(case.n).map(starts).sum::<usize>() as f64]
            }
            Kind::LogSumExp => vec![(0..case.n).map(gaussian).sum::<f64>().ln()],
            Kind::Sines { depth } => {
                let product = |y_j: &[f64]| x_i.iter().zip(y_j).map(|(a, b)| a * b).sum::<f64>();
                let sines = |y_j: &[f64]| (0..depth).fold(product(y_j), |inner, _| inner.sin());
                vec![y_j.map(sines).sum()]
            }
            Kind::SoftDtw { gradient: false } => vec![y_j.map(|y_j| soft_dtw(x_i, y_j)).sum()],
            Kind::SoftDtw { gradient: true } => {
                // Central differences.
                const STEP: f64 = 1e-5;
                let moved = |k: usize, step: f64| -> f64 {
                    let mut x_i = x_i.to_vec();
                    x_i[k] += step;
                    y_j.clone().map(|y_j| soft_dtw(&x_i, y_j)).sum()
                };
                let slope = |k| (moved(k, STEP) - moved(k, -STEP)) / (2.0 * STEP);
                (0..case.d).map(slope).collect()
            }
            Kind::Attention | Kind::Causal { .. } => {
                let columns = match case.kind {
                    Kind::Causal { .. } => i + 1,
                    _ => case.n,
                };
                let mut scores: Vec<f64> = y_j
                    .map(|y_j| x_i.iter().zip(y_j).map(|(a, b)| a * b).sum::<f64>().exp())
                    .collect();
                scores[columns..].fill(0.0);
                let total: f64 = scores.iter().sum();
                weighted(&|j| scores[j] / total)
            }
            Kind::ArgKmin => {
                own = own
                    .iter()
                    .map(|j| distances.get(*j as usize).copied().unwrap_or(f64::NAN))
                    .collect();
                let mut nearest = distances.clone();
                if case.k < case.n {
                    nearest.select_nth_unstable_by(case.k, f64::total_cmp);
                    nearest.truncate(case.k);
                }
                nearest.sort_by(f64::total_cmp);
                nearest
            }
            Kind::Gradient => {
                let mut total = vec![0.0; case.d];
                for (j, y_j) in y_j.enumerate() {
                    let weight = -2.0 * gaussian(j) * b_j(j).iter().sum::<f64>();
                    for ((total, x), y) in total.iter_mut().zip(x_i).zip(y_j) {
                        *total += weight * (x - y);
                    }
                }
                total
            }
            Kind::Solve { alpha, .. } => {
                let mut image: Vec<f64> = own.iter().map(|a| alpha * a).collect();
                for (j, a) in out.chunks(columns).enumerate() {
                    for (image, a) in image.iter_mut().zip(a) {
                        *image += gaussian(j) * a;
                    }
                }
                own = image;
                b_j(i).to_vec()
            }
        };
        for (own, exact) in own.iter().zip(&exact) {
            error += (own - exact).powi(2);
            norm += exact.powi(2);
        }
    }
    (error / norm).sqrt()
}
