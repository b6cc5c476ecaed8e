//! Gradients if some pairs do not count: masked, padded, dropped or empty. The values that do not count are NaN,
//! infinite or huge. Results and gradients must equal those without them, computed by dense arithmetic in `f64` or by
//! the formula over fewer rows and columns.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axes, Axis, LazyTensor};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use super::support::*;

fn float<const R: usize>(values: &[f64], shape: [usize; R]) -> Tensor<R> {
    tensor(values, shape, DType::F32, &device().autodiff())
}

fn leaf<const R: usize>(values: &[f64], shape: [usize; R]) -> Tensor<R> {
    float(values, shape).require_grad()
}

fn points(seed: u64, len: usize) -> Vec<f64> {
    Random::new(seed).vec(len)
}

/// Forces $-\sum_j \nabla 1 / |x_i - x_j|$ on charges, over all pairs of different charges.
fn forces(x: &[f64], dim: usize) -> Vec<f64> {
    let n = x.len() / dim;
    let mut forces = vec![0.0; x.len()];
    for i in 0..n {
        for j in (0..n).filter(|j| *j != i) {
            let at = |p: usize, k: usize| x[p * dim + k];
            let square: f64 = (0..dim).map(|k| (at(i, k) - at(j, k)).powi(2)).sum();
            for k in 0..dim {
                forces[i * dim + k] -= (at(i, k) - at(j, k)) * square.powf(-1.5);
            }
        }
    }
    forces
}

#[test]
fn forces_of_a_coulomb_sum_without_the_own_charge_are_finite() {
    let (n, dim) = (7, 3);
    let x = points(1, n * dim);
    // Each pair occurs twice in the sum.
    let by_one = forces(&x, dim);
    let by_both: Vec<f64> = by_one.iter().map(|f| 2.0 * f).collect();
    type Energy = fn(&LazyTensor, &LazyTensor) -> LazyTensor;
    let energies: [Energy; 4] = [
        |a, b| (a - b).norm().recip(),
        |a, b| 1.0 / (a - b).norm(),
        |a, b| a.sqdist(b).powf(-0.5),
        |a, b| a.sqdist(b).rsqrt().recip().recip(),
    ];
    let offset = LazyTensor::offset();
    let masks: [fn(&LazyTensor, &LazyTensor) -> LazyTensor; 2] = [
        |energy, offset| energy.mask_where(offset.equal(0.0), 0.0),
        |energy, offset| (offset.abs() - 0.5).if_else(energy, 0.0),
    ];
    for (turn, energy) in energies.iter().enumerate() {
        let position = leaf(&x, [n, dim]);
        let (a, b) = (
            LazyTensor::vi(position.clone()),
            LazyTensor::vj(position.clone()),
        );
        let masked = masks[turn % 2](&energy(&a, &b), &offset);
        let total: Tensor<1> = masked.sum(Axes::Both);
        let gradient = position.grad(&total.sum().backward()).unwrap();
        assert_close("values", &host(gradient), &by_both, 1e-5);
        // Symbolic derivatives, over either axis.
        let (inner_a, inner_b) = (a.inner(), b.inner());
        let masked = masks[turn % 2](&energy(&inner_a, &inner_b), &offset);
        let rows: Tensor<2> = masked.grad(&inner_a, 1.0).sum(Axis::J);
        assert_close("values", &host(rows), &by_one, 1e-5);
        let columns: Tensor<2> = masked.grad(&inner_b, 1.0).sum(Axis::I);
        assert_close("values", &host(columns), &by_one, 1e-5);
    }
}

#[test]
fn an_empty_row_of_logsumexp_has_no_gradient() {
    let (m, n) = (4, 5);
    let (x, y) = (points(2, m), points(3, n));
    // Row 1 has no column that counts.
    let empty: Vec<f64> = (0..m).map(|i| f64::from(i == 1)).collect();
    let bias: Vec<f64> = empty
        .iter()
        .map(|e| if *e == 1.0 { f64::NEG_INFINITY } else { 0.5 })
        .collect();
    let softmax = |i: usize, j: usize| -> f64 {
        let scores: Vec<f64> = y.iter().map(|y| x[i] * y).collect();
        scores[j].exp() / scores.iter().map(|s| s.exp()).sum::<f64>()
    };
    let rows = || (0..m).filter(|i| *i != 1);
    let by_x: Vec<f64> = (0..m)
        .map(|i| match i {
            1 => 0.0,
            _ => (0..n).map(|j| softmax(i, j) * y[j]).sum(),
        })
        .collect();
    let by_y: Vec<f64> = (0..n)
        .map(|j| rows().map(|i| softmax(i, j) * x[i]).sum())
        .collect();
    for way in 0..3 {
        let (vx, vy) = (leaf(&x, [m, 1]), leaf(&y, [n, 1]));
        let scores = LazyTensor::vi(vx.clone()) * LazyTensor::vj(vy.clone());
        let scores = match way {
            0 => scores.mask_where(LazyTensor::vi(float(&empty, [m, 1])), f64::NEG_INFINITY),
            1 => scores + LazyTensor::vi(float(&bias, [m, 1])),
            _ => (0.5 - LazyTensor::vi(float(&empty, [m, 1]))).if_else(scores, f64::NEG_INFINITY),
        };
        // One way reduces over rows, with the transposed formula.
        let sums: Tensor<2> = if way == 1 {
            scores.t().logsumexp(Axis::I)
        } else {
            scores.logsumexp(Axis::J)
        };
        assert_eq!(host(sums.clone())[1], f64::NEG_INFINITY);
        // The row is dropped by a slice or by a mask.
        let loss = match way {
            0 => sums.clone().narrow(0, 0, 1).sum() + sums.narrow(0, 2, m - 2).sum(),
            _ => {
                let is_empty = float::<2>(&empty, [m, 1]).equal_elem(1.0);
                sums.mask_fill(is_empty, 0.0).sum()
            }
        };
        let gradients = loss.backward();
        assert_gradient("values", &vx, &gradients, &by_x, 1e-5);
        assert_gradient("values", &vy, &gradients, &by_y, 1e-5);
    }
}

#[test]
fn a_query_that_attends_to_nothing_leaves_the_gradients_of_others_alone() {
    let (m, n, d) = (3, 4, 2);
    let (q, k, v) = (points(4, m * d), points(5, n * d), points(6, n * d));
    let run = |queries: &[usize], keys: usize, way: usize| -> (Vec<f64>, [Vec<f64>; 3]) {
        // In ways 0 to 3 the last query sees no key. In way 4 the last key is padding.
        let (m, padded) = (queries.len(), keys - n);
        let pick: Vec<f64> = queries
            .iter()
            .flat_map(|i| q[i * d..][..d].to_vec())
            .collect();
        let pad = |values: &[f64], bad: f64| [values.to_vec(), vec![bad; padded * d]].concat();
        let tensors = [
            leaf(&pick, [m, d]),
            leaf(&pad(&k, f64::NAN), [keys, d]),
            leaf(&pad(&v, f64::INFINITY), [keys, d]),
        ];
        let [vq, vk, vv] = tensors.each_ref().map(Clone::clone);
        let scores = LazyTensor::vi(vq).dot(LazyTensor::vj(vk));
        let blind: Vec<f64> = queries.iter().map(|i| f64::from(*i == 2)).collect();
        let hidden: Vec<f64> = (0..keys).map(|j| f64::from(j >= n)).collect();
        let bias: Vec<f64> = blind
            .iter()
            .map(|b| if *b == 1.0 { f64::NEG_INFINITY } else { 0.0 })
            .collect();
        let (blind, hidden) = (float::<2>(&blind, [m, 1]), float::<2>(&hidden, [keys, 1]));
        let (b, h) = (LazyTensor::vi(blind.clone()), LazyTensor::vj(hidden));
        let scores = match way {
            0 => scores.mask_where(b, f64::NEG_INFINITY),
            1 => (0.5 - b).if_else(scores, f64::NEG_INFINITY),
            2 => scores + LazyTensor::vi(float(&bias, [m, 1])),
            // Combined with another mask, as a causal mask would be. No key is hidden from all queries.
            3 => scores.mask_where(
                b.maximum(LazyTensor::offset().greater(100.0)),
                f64::NEG_INFINITY,
            ),
            _ => scores.mask_where(h, f64::NEG_INFINITY),
        };
        let out: Tensor<2> = scores.sumsoftmaxweight(LazyTensor::vj(vv), Axis::J);
        let shown = blind.equal_elem(1.0).expand([m, d]);
        let kept = if way < 4 {
            out.mask_fill(shown, 0.0)
        } else {
            out
        };
        let loss = kept.clone().square().sum();
        let gradients = loss.backward();
        let gradients = tensors.map(|t| host(t.grad(&gradients).unwrap()));
        (host(kept), gradients)
    };
    let (want, [want_q, want_k, want_v]) = run(&[0, 1], n, 4);
    for way in 0..4 {
        let (got, [by_q, by_k, by_v]) = run(&[0, 1, 2], n, way);
        assert_close("values", &got[..2 * d], &want, 1e-5);
        assert_close("values", &by_q[..2 * d], &want_q, 1e-5);
        assert_eq!(by_q[2 * d..], [0.0, 0.0], "way {way}");
        assert_close("values", &by_k, &want_k, 1e-5);
        assert_close("values", &by_v, &want_v, 1e-5);
    }
    // Padded keys are NaN, and their values are infinite.
    let (got, [by_q, by_k, by_v]) = run(&[0, 1], n + 2, 4);
    assert_close("values", &got, &want, 1e-5);
    assert_close("values", &by_q, &want_q, 1e-5);
    assert_close("values", &by_k[..n * d], &want_k, 1e-5);
    assert_close("values", &by_v[..n * d], &want_v, 1e-5);
    assert!(
        by_k[n * d..]
            .iter()
            .chain(&by_v[n * d..])
            .all(|g| *g == 0.0)
    );
}

#[test]
fn values_of_pairs_that_are_hidden_do_not_count() {
    // The last value is NaN. No query sees it, but the mask is a mask of pairs.
    let (q, k) = (
        float::<2>(&points(7, 3), [3, 1]),
        float::<2>(&points(8, 4), [4, 1]),
    );
    let v = [0.5, -1.0, 2.0, f64::NAN];
    let scores = LazyTensor::vi(q) * LazyTensor::vj(k);
    let values = leaf::<2>(&v, [4, 1]);
    let causal =
        |scores: &LazyTensor| scores.mask_where(LazyTensor::offset().less(0.0), f64::NEG_INFINITY);
    let out: Tensor<2> = causal(&scores).sumsoftmaxweight(LazyTensor::vj(values.clone()), Axis::J);
    assert!(host(out.clone()).iter().all(|v| v.is_finite()));
    let gradient = host(values.grad(&out.sum().backward()).unwrap());
    assert!(
        (gradient.iter().sum::<f64>() - 3.0).abs() < 1e-5 && gradient[3] == 0.0,
        "{gradient:?}"
    );
}

#[test]
fn the_gradient_of_a_logistic_function_vanishes_far_out() {
    let values = [-200.0, -100.0, 0.0, 2.0, 200.0];
    let x = leaf::<2>(&values, [5, 1]);
    let one = LazyTensor::vj(float::<2>(&[1.0], [1, 1]));
    let logistic = 1.0 / (1.0 + (-LazyTensor::vi(x.clone()) * one).exp());
    let sums: Tensor<2> = logistic.sum(Axis::J);
    let got = host(x.grad(&sums.sum().backward()).unwrap());
    let want: Vec<f64> = values
        .iter()
        .map(|x| 1.0 / (2.0 + 2.0 * x.cosh()))
        .collect();
    assert_close("values", &got, &want, 1e-5);
    assert_eq!([got[0], got[4]], [0.0, 0.0]);
}

#[test]
fn smallest_values_leave_columns_of_nan_alone() {
    let (x, y) = (points(9, 4), points(10, 6));
    let padded = [y.clone(), vec![f64::NAN; 2]].concat();
    let run = |y: &[f64]| {
        let (vx, vy) = (leaf::<2>(&x, [2, 2]), leaf::<2>(y, [y.len() / 2, 2]));
        let squares = LazyTensor::vi(vx.clone()).sqdist(LazyTensor::vj(vy.clone()));
        let nearest: Tensor<2> = squares.kmin(2, Axis::J);
        let gradients = (nearest.clone() * float([1.0, 2.0].as_slice(), [1, 2]))
            .sum()
            .backward();
        [
            host(nearest),
            host(vx.grad(&gradients).unwrap()),
            host(vy.grad(&gradients).unwrap()),
        ]
    };
    let (got, want) = (run(&padded), run(&y));
    assert_eq!(got[0], want[0]);
    assert_eq!(got[1], want[1]);
    assert_eq!(got[2][..6], want[2][..]);
    assert_eq!(got[2][6..], [0.0, 0.0]);
}

#[test]
fn thin_plates_have_no_force_at_their_control_points() {
    let x = points(11, 6);
    let run = |f: fn(&LazyTensor) -> LazyTensor| {
        let vx = leaf::<2>(&x, [3, 2]);
        let fixed = float::<2>(&x, [3, 2]);
        let squares = LazyTensor::vi(vx.clone()).sqdist(LazyTensor::vj(fixed));
        let sums: Tensor<2> = f(&squares).sum(Axis::J);
        host(vx.grad(&sums.sum().backward()).unwrap())
    };
    let at = |p: usize, k: usize| x[2 * p + k];
    let mut want = Vec::new();
    for i in 0..3 {
        for k in 0..2 {
            let force = |j: usize| {
                let s: f64 = (0..2).map(|k| (at(i, k) - at(j, k)).powi(2)).sum();
                (s.ln() + 1.0) * (at(i, k) - at(j, k))
            };
            want.push((0..3).filter(|j| *j != i).map(force).sum::<f64>());
        }
    }
    let kernels: [fn(&LazyTensor) -> LazyTensor; 3] = [
        |s| s.xlogx() * 0.5,
        |s| (s * s.log() * 0.5).mask_where(s.equal(0.0), 0.0),
        |s| (s * s.sqrt().log()).mask_where(s.equal(0.0), 0.0),
    ];
    for kernel in kernels {
        assert_close("values", &run(kernel), &want, 1e-5);
    }
}

#[test]
fn roots_of_absolute_values_have_no_derivative_at_zero() {
    let x = leaf::<2>(&[0.0, 0.25, -4.0], [3, 1]);
    let zero = LazyTensor::vj(float::<2>(&[0.0], [1, 1]));
    let roots: Tensor<2> = (LazyTensor::vi(x.clone()) - zero)
        .abs()
        .powf(0.5)
        .sum(Axis::J);
    let got = host(x.grad(&roots.sum().backward()).unwrap());
    assert_close("values", &got, &[0.0, 1.0, -0.25], 1e-6);
}

const D: usize = 2;

type Formula = fn(&LazyTensor, &LazyTensor, &LazyTensor) -> LazyTensor;

/// Formulas that are infinite or NaN for some operands.
const FORMULAS: [Formula; 6] = [
    |x, y, p| (-x.sqdist(y) * p.elem(0).square()).exp(),
    |x, y, p| ((x - y) * p).norm().recip() + x.elem(1),
    |x, y, p| (x.dot(y) * p.elem(1)).exp() * 0.1 + 0.5,
    |x, y, p| 1.0 / (1.0 + (-x.dot(y)).exp() * p.elem(0).square()),
    |x, y, p| x.sqdist(y).log() * p.elem(0) + y.elem(0),
    |x, y, p| (x.sqdist(y) + p.elem(1).square()).powf(-0.5) * x.elem(0).cos() + 1.0,
];

/// A reduction of a formula. Some use the weight.
type Reduce = fn(&LazyTensor, &LazyTensor, Axis) -> Tensor<2>;

/// Reductions, with the value that a masked pair has for each.
const REDUCTIONS: [(f64, Reduce); 8] = [
    (0.0, |f, _, axis| f.sum(axis)),
    (1.0, |f, _, axis| f.prod(axis)),
    (f64::NEG_INFINITY, |f, _, axis| f.logsumexp(axis)),
    (f64::NEG_INFINITY, |f, w, axis| {
        f.logsumexp_weighted(w, axis)
    }),
    (f64::NEG_INFINITY, |f, w, axis| f.sumsoftmaxweight(w, axis)),
    (f64::INFINITY, |f, _, axis| f.min(axis)),
    (f64::NEG_INFINITY, |f, _, axis| f.max(axis)),
    (f64::INFINITY, |f, _, axis| f.kmin(2, axis)),
];

#[derive(Clone, Debug)]
struct Case {
    formula: usize,
    reduction: usize,
    /// The number of rows that count, and the number of padded rows.
    rows: [usize; 2],
    columns: [usize; 2],
    /// The kind of mask.
    mask: usize,
    bad: usize,
    seed: u64,
}

fn case(reduction: usize) -> impl Strategy<Value = Case> {
    let sizes = || (1usize..4, 1usize..3).prop_map(|(some, padded)| [some, padded]);
    let which = (0..FORMULAS.len(), 0usize..3, 0usize..5);
    (which, sizes(), sizes(), any::<u64>()).prop_map(move |(which, rows, columns, seed)| Case {
        formula: which.0,
        reduction,
        rows,
        columns,
        mask: which.1,
        bad: which.2,
        seed: seed >> 8,
    })
}

impl Case {
    /// The types of the device alternate between the cases.
    fn dtype(&self) -> DType {
        let dtypes = dtypes();
        dtypes[self.seed as usize % dtypes.len()].0
    }

    /// The result, the gradients by rows, columns, parameter and weight without the padding, and the gradients of the
    /// padding.
    fn run(&self, padded: bool) -> (Vec<f64>, [Vec<f64>; 4], Vec<f64>) {
        let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, 0.0][self.bad];
        let mut random = Random::new(self.seed);
        let [[m, more_m], [n, more_n]] = [self.rows, self.columns];
        let (more_m, more_n) = if padded { (more_m, more_n) } else { (0, 0) };
        let pad = |values: Vec<f64>, more: usize| [values, vec![bad; more]].concat();
        let x = pad(random.vec(m * D), more_m * D);
        let y = pad(random.vec(n * D), more_n * D);
        let p: Vec<f64> = random.vec(D).iter().map(|p| p + 1.5).collect();
        let w = pad(random.vec(n).iter().map(|w| w + 1.5).collect(), more_n);
        let shape = [m + more_m, n + more_n];
        let dtype = self.dtype();
        let device = device().autodiff();
        let rows_of = |values: &[f64], rows: usize, dim: usize| {
            tensor::<2>(values, [rows, dim], dtype, &device).require_grad()
        };
        let (x, y) = (rows_of(&x, shape[0], D), rows_of(&y, shape[1], D));
        let p = tensor::<1>(&p, [D], dtype, &device).require_grad();
        let w = rows_of(&w, shape[1], 1);
        let (x_i, y_j) = (LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone()));
        let formula = FORMULAS[self.formula](&x_i, &y_j, &LazyTensor::pm(p.clone()));
        let (nothing, reduce) = REDUCTIONS[self.reduction];
        let is_padded = |count: usize, all: usize| -> Tensor<2> {
            let values: Vec<f64> = (0..all).map(|k| f64::from(k >= count)).collect();
            tensor(&values, [all, 1], dtype, &device)
        };
        let rows = LazyTensor::vi(is_padded(m, shape[0]));
        let columns = LazyTensor::vj(is_padded(n, shape[1]));
        let formula = match self.mask {
            _ if !padded => formula,
            0 => formula.mask_where(rows.maximum(&columns), nothing),
            1 => (-rows - columns).if_else(formula, nothing),
            _ => {
                let past = LazyTensor::column_index().greater_equal(n as f64);
                formula.mask_where(rows, nothing).mask_where(past, nothing)
            }
        };
        // Padded columns have a weight, too. Only the mask removes them.
        let weight = LazyTensor::vj(w.clone());
        // One kind of mask reduces over rows, with the transposed formula.
        let out = match self.mask {
            1 => reduce(&formula.t(), &weight.t(), Axis::I),
            _ => reduce(&formula, &weight, Axis::J),
        };
        let kept = out.narrow(0, 0, m);
        // Missing values of a list of the k smallest are infinite.
        let finite = kept.clone().is_finite().float().cast(dtype);
        let loss = (kept.clone().clamp(-1e6, 1e6) * finite).square().sum();
        let gradients = loss.backward();
        let of = |gradient: Option<Vec<f64>>, len: usize| gradient.unwrap_or(vec![0.0; len]);
        let by_x = of(x.grad(&gradients).map(host), shape[0] * D);
        let by_y = of(y.grad(&gradients).map(host), shape[1] * D);
        let by_p = of(p.grad(&gradients).map(host), D);
        let by_w = of(w.grad(&gradients).map(host), shape[1]);
        let rest = [&by_x[m * D..], &by_y[n * D..], &by_w[n..]].concat();
        let own = [
            by_x[..m * D].to_vec(),
            by_y[..n * D].to_vec(),
            by_p,
            by_w[..n].to_vec(),
        ];
        (host(kept), own, rest)
    }
}

fn close(got: &[f64], want: &[f64]) -> bool {
    let size = want
        .iter()
        .filter(|v| v.is_finite())
        .fold(1e-3f64, |size, v| size.max(v.abs()));
    let agree = |(got, want): (&f64, &f64)| {
        (got - want).abs() <= 1e-4 * size || got == want || !want.is_finite()
    };
    got.len() == want.len() && got.iter().zip(want).all(agree)
}

#[test]
fn padded_rows_and_columns_are_as_if_left_out() {
    for reduction in 0..REDUCTIONS.len() {
        let mut runner = proptest::test_runner::TestRunner::new(Config {
            cases: if is_interpreted() { 3 } else { 1 },
            rng_seed: RngSeed::Fixed(90 + reduction as u64),
            failure_persistence: None,
            max_shrink_iters: 10,
            ..Config::default()
        });
        let result = runner.run(&case(reduction), |case| {
            let (got, by, rest) = case.run(true);
            let (want, want_by, _) = case.run(false);
            prop_assert!(close(&got, &want), "{got:?}, expected {want:?}");
            for (k, (got, want)) in by.iter().zip(&want_by).enumerate() {
                prop_assert!(
                    close(got, want),
                    "by operand {k}: {got:?}, expected {want:?}"
                );
            }
            prop_assert!(
                rest.iter().all(|g| *g == 0.0),
                "of what is padded: {rest:?}"
            );
            Ok(())
        });
        if let Err(error) = result {
            panic!("reduction {reduction}: {error}");
        }
    }
}
