//! Gradients of every reduction at random sizes and with random batches, against central differences along random
//! directions. The tolerance is 1e-6 in `f64` and 3e-2 in `f32`, because differences lose digits in `f32`. Each
//! reduction is tested with one formula, because kernels take long to compile.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axes, Axis, LazyTensor};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use super::support::*;

const D: usize = 2;

type Formula = fn(&LazyTensor, &LazyTensor, &LazyTensor) -> LazyTensor;

/// Formulas of one component and of several components, with values of about 1 that are seldom equal.
const SCALARS: [Formula; 4] = [
    |x, y, p| (-x.sqdist(y) * p.elem(0).square()).exp(),
    |x, y, p| (x * p).dot(y).sin() + x.elem(1) + 1.5,
    |x, y, p| ((x - y) * p).sqnorm().sqrt() + 0.5,
    |x, y, p| x.dot(y).tanh() * p.inner_sum() + y.inner_max() + 2.0,
];
const VECTORS: [Formula; 4] = [
    |x, y, p| x * y + p,
    |x, y, p| (x - y).sigmoid() * p.square() + 0.5,
    |x, y, p| LazyTensor::concat(&[x.elem(0) * y, p.cos() + x.elem(1)]) * 0.5 + 1.0,
    |x, y, p| x.tensorprod(p) * y.elem(0) + 1.0,
];

/// The reductions whose result has the rank of a sum. The weight has one component and is positive.
const REDUCTIONS: [fn(&LazyTensor, &LazyTensor, Axis) -> Tensor<3>; 9] = [
    |f, _, axis| f.sum(axis),
    |f, _, axis| f.mean(axis),
    |f, _, axis| f.prod(axis),
    |f, _, axis| f.logsumexp(axis),
    |f, w, axis| f.logsumexp_weighted(w, axis),
    |f, w, axis| f.elem(0).sumsoftmaxweight(f * w, axis),
    |f, _, axis| f.min(axis),
    |f, _, axis| f.max(axis),
    |f, _, axis| f.elem(0).kmin(2, axis),
];

/// The reductions over both axes.
const BOTH: [fn(&LazyTensor) -> Tensor<2>; 5] = [
    |f| f.sum(Axes::Both),
    |f| f.prod(Axes::Both),
    |f| f.logsumexp(Axes::Both),
    |f| f.min(Axes::Both),
    |f| f.max(Axes::Both),
];

/// The batch dimension of an operand: none, one that broadcasts, or the full one.
#[derive(Clone, Copy, Debug)]
enum Batch {
    None,
    One,
    Full,
}

/// A reduction of a formula.
#[derive(Clone, Copy, Debug)]
struct Loss {
    formula: usize,
    vector: bool,
    reduction: usize,
    /// The reduced axis. `None` for both axes.
    axis: Option<Axis>,
}

/// All reductions, over one axis and over both. Formulas of vectors and of scalars alternate, and so do the axes.
fn losses() -> Vec<Loss> {
    let loss = |turn: usize, reduction: usize, axis: Option<Axis>| Loss {
        formula: turn / 2 % SCALARS.len(),
        vector: turn.is_multiple_of(2),
        reduction,
        axis,
    };
    let one = (0..REDUCTIONS.len()).map(|k| loss(k, k, Some([Axis::J, Axis::I][k / 2 % 2])));
    let both = (0..BOTH.len()).map(|k| loss(REDUCTIONS.len() + k, k, None));
    one.chain(both).collect()
}

#[derive(Clone, Debug)]
struct Case {
    loss: Loss,
    batches: [Batch; 3],
    m: usize,
    n: usize,
    seed: u64,
}

fn case(loss: Loss) -> impl Strategy<Value = Case> {
    let batch = || prop_oneof![Just(Batch::None), Just(Batch::One), Just(Batch::Full)];
    let sizes = (1usize..5, 1usize..5);
    ([batch(), batch(), batch()], sizes, any::<u64>()).prop_map(move |(batches, (m, n), seed)| {
        Case {
            loss,
            batches,
            m,
            n,
            seed: seed >> 8,
        }
    })
}

const BATCHES: usize = 2;

impl Case {
    fn shape(&self, operand: usize) -> Vec<usize> {
        let mut shape = match self.batches[operand] {
            // The first operand has the full batch, so that the rank of the result is known.
            Batch::None if operand > 0 => vec![],
            Batch::One if operand > 0 => vec![1],
            _ => vec![BATCHES],
        };
        shape.extend(match operand {
            0 => vec![self.m, D],
            1 => vec![self.n, D],
            _ => vec![D],
        });
        shape
    }

    fn loss(&self, values: &[Tensor<1>; 3]) -> Tensor<1> {
        fn of<const R: usize>(values: &Tensor<1>, shape: &[usize]) -> Tensor<R> {
            let shape: [usize; R] = shape.try_into().expect("the rank is known");
            values.clone().reshape(shape)
        }
        let shapes = [0, 1, 2].map(|k| self.shape(k));
        let [vx, vy, vp] = values;
        let [sx, sy, sp] = shapes.each_ref().map(|shape| shape.as_slice());
        // The rows have the full batch.
        let x = LazyTensor::vi(of::<3>(vx, sx));
        let y = match sy.len() {
            2 => LazyTensor::vj(of::<2>(vy, sy)),
            _ => LazyTensor::vj(of::<3>(vy, sy)),
        };
        let p = match sp.len() {
            1 => LazyTensor::pm(of::<1>(vp, sp)),
            _ => LazyTensor::pm(of::<2>(vp, sp)),
        };
        let own = self.loss;
        let f = if own.vector {
            VECTORS[own.formula](&x, &y, &p)
        } else {
            SCALARS[own.formula](&x, &y, &p)
        };
        let weight = x.dot(&y).cos() + 2.0;
        match own.axis {
            Some(axis) => weighted(REDUCTIONS[own.reduction](&f, &weight, axis)),
            None => weighted(BOTH[own.reduction](&f)),
        }
    }
}

/// A sum with a different weight for each entry.
fn weighted<const R: usize>(out: Tensor<R>) -> Tensor<1> {
    // Missing values of a list of the k smallest are infinite.
    let finite = out.clone().is_inf().bool_not().float().cast(out.dtype());
    let out = out.clamp(-1e6, 1e6) * finite;
    let len = out.shape().num_elements();
    let device = out.device();
    let weights = Tensor::<1, Int>::arange(0..len as i64, &device).float();
    let weights = (weights * 0.7).cos().cast(out.dtype()) + 0.2;
    (out.reshape([len]) * weights).sum()
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let (dtype, tolerance, step, epsilon) = match dtypes().last() {
        Some((DType::F64, _)) => (DType::F64, 1e-6, 1e-5, f64::EPSILON),
        _ => (DType::F32, 3e-2, 1e-2, f32::EPSILON as f64),
    };
    let device = device().autodiff();
    let mut random = Random::new(case.seed);
    let lens = [0, 1, 2].map(|k| case.shape(k).iter().product::<usize>());
    let values = lens.map(|len| random.vec(len));
    let tensors = |values: &[Vec<f64>; 3]| {
        [0, 1, 2].map(|k| tensor::<1>(&values[k], [lens[k]], dtype, &device))
    };
    let leaves = tensors(&values).map(|t| t.require_grad());
    let loss = case.loss(&leaves);
    // The effect of rounding the loss on differences.
    let value: f64 = loss.clone().into_scalar();
    let noise = 16.0 * epsilon / step * value.abs();
    let gradients = loss.backward();
    for (k, leaf) in leaves.iter().enumerate() {
        let gradient = leaf.grad(&gradients).map_or(vec![0.0; lens[k]], host);
        let direction = random.vec(lens[k]);
        let at = |by: f64| -> f64 {
            let mut moved = values.clone();
            for (value, along) in moved[k].iter_mut().zip(&direction) {
                *value += by * along;
            }
            case.loss(&tensors(&moved)).into_scalar()
        };
        let difference = |step: f64| (at(step) - at(-step)) / (2.0 * step);
        let (want, finer) = (difference(step), difference(0.5 * step));
        let got: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let size = gradient.iter().fold(1.0f64, |size, g| size.max(g.abs()));
        // Where differences disagree, or differences to either side do, another value becomes the smallest one within a
        // step.
        let most = tolerance * size + noise;
        let bend = (at(step) + at(-step) - 2.0 * value) / (2.0 * step);
        let smooth = (want - finer).abs() <= most && bend.abs() <= most;
        prop_assert!(
            !smooth || (got - want).abs() <= most,
            "by operand {}: {}, expected {}",
            k,
            got,
            want
        );
    }
    Ok(())
}

#[test]
fn gradients_of_reductions_at_random_shapes_equal_differences() {
    for (number, loss) in (0..).zip(losses()) {
        let mut runner = proptest::test_runner::TestRunner::new(Config {
            cases: if is_interpreted() { 2 } else { 1 },
            rng_seed: RngSeed::Fixed(61 + number),
            failure_persistence: None,
            max_shrink_iters: 30,
            ..Config::default()
        });
        if let Err(error) = runner.run(&case(loss), |case| check(&case)) {
            panic!("{error}");
        }
    }
}
