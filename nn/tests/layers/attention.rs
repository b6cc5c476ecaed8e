//! Attention against its definition, and the layer against the layer of `burn-nn`.

use burn::{
    module::Module,
    nn::attention::{MhaInput, MultiHeadAttentionConfig as DenseConfig},
    optim::{AdamConfig, GradientsParams},
    prelude::*,
    store::ModuleRecord,
    tensor::{DType, TensorData},
};
use burn_lazy_nn::attention::{
    Attention, AttentionInput, MultiHeadAttention, MultiHeadAttentionConfig,
};

use super::support::*;

/// The sizes of a problem: batch, heads of queries and of keys, numbers of queries and of keys, components of keys and
/// of values.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    shared: usize,
    rows: usize,
    columns: usize,
    dim: usize,
    width: usize,
}

const SIZES: Sizes = Sizes {
    batch: 2,
    heads: 4,
    shared: 2,
    rows: 5,
    columns: 7,
    dim: 3,
    width: 2,
};

/// Queries, keys and values.
struct Problem {
    sizes: Sizes,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

impl Problem {
    fn new(sizes: Sizes) -> Self {
        let mut random = Random::new(9);
        let Sizes {
            batch,
            heads,
            shared,
            rows,
            columns,
            dim,
            width,
        } = sizes;
        Self {
            sizes,
            q: random.vec(batch * heads * rows * dim),
            k: random.vec(batch * shared * columns * dim),
            v: random.vec(batch * shared * columns * width),
        }
    }

    fn shapes(&self) -> [[usize; 4]; 3] {
        let s = self.sizes;
        [
            [s.batch, s.heads, s.rows, s.dim],
            [s.batch, s.shared, s.columns, s.dim],
            [s.batch, s.shared, s.columns, s.width],
        ]
    }

    fn tensors(&self, dtype: DType, device: &Device) -> [Tensor<4>; 3] {
        let [q, k, v] = self.shapes();
        [
            tensor(&self.q, q, dtype, device),
            tensor(&self.k, k, dtype, device),
            tensor(&self.v, v, dtype, device),
        ]
    }

    /// The expected output. `score` changes the scaled product for a batch, a head, a row and a column; with `None` the
    /// pair is hidden. `quiet` adds 1 to each sum of exponentials.
    fn expected(&self, quiet: bool, score: &dyn Fn(f64, [usize; 4]) -> Option<f64>) -> Vec<f64> {
        let s = self.sizes;
        let mut out = Vec::new();
        for at in 0..s.batch * s.heads * s.rows {
            let (b, h, i) = (at / s.rows / s.heads, at / s.rows % s.heads, at % s.rows);
            let shared = b * s.shared + h / (s.heads / s.shared);
            let mut total = if quiet { 1.0 } else { 0.0 };
            let mut sums = vec![0.0; s.width];
            for j in 0..s.columns {
                let product: f64 = (0..s.dim)
                    .map(|c| self.q[at * s.dim + c] * self.k[(shared * s.columns + j) * s.dim + c])
                    .sum();
                let scaled = product / (s.dim as f64).sqrt();
                let Some(score) = score(scaled, [b, h, i, j]) else {
                    continue;
                };
                total += score.exp();
                for (c, sum) in sums.iter_mut().enumerate() {
                    *sum += score.exp() * self.v[(shared * s.columns + j) * s.width + c];
                }
            }
            out.extend(
                sums.into_iter()
                    .map(|sum| if sum == 0.0 { 0.0 } else { sum / total }),
            );
        }
        out
    }
}

pub fn bools<const R: usize>(shape: [usize; R], hides: impl Fn(usize) -> bool) -> Tensor<R, Bool> {
    let values: Vec<bool> = (0..shape.iter().product()).map(hides).collect();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// A name, attention with options, and what these options do to the scaled product for a batch, a head, a row and a
/// column.
type Case = (
    &'static str,
    Attention,
    Box<dyn Fn(f64, [usize; 4]) -> Option<f64>>,
);

fn cases(dtype: DType) -> Vec<Case> {
    let s = SIZES;
    let device = device();
    let bias: Vec<f64> = Random::new(4).vec(s.heads * s.rows * s.columns);
    let biases = tensor(&bias, [1, s.heads, s.rows, s.columns], dtype, &device);
    // The distance of the query behind the key. It is negative if the key comes later.
    let behind = |[_, _, i, j]: [usize; 4]| (i + SIZES.columns - SIZES.rows) as i64 - j as i64;
    // The mask hides all keys of one query, and some keys of others.
    let hides = |at: usize| at / 7 % 5 == 3 || at % 3 == 1;
    let mask = bools([s.batch, 1, s.rows, s.columns], hides);
    // All keys of one batch are padding.
    let pads = |at: usize| at / 7 == 1 || at % 7 > 4;
    let padding = bools([s.batch, s.columns], pads);
    let plain = Attention::new;
    vec![
        ("plain", plain(), Box::new(|s, _| Some(s))),
        (
            "scaled",
            plain().scale(0.3),
            Box::new(|s, _| Some(s * 3f64.sqrt() * 0.3)),
        ),
        (
            "capped",
            plain().softcap(0.5),
            Box::new(|s, _| Some(0.5 * (s / 0.5).tanh())),
        ),
        (
            "causal",
            plain().causal(),
            Box::new(move |s, at| (behind(at) >= 0).then_some(s)),
        ),
        (
            "window",
            plain().window(2),
            Box::new(move |s, at| (behind(at).abs() < 2).then_some(s)),
        ),
        (
            "causal window",
            plain().causal().window(3),
            Box::new(move |s, at| (0..3).contains(&behind(at)).then_some(s)),
        ),
        (
            "mask",
            plain().mask(mask.clone()),
            Box::new(move |s, [b, _, i, j]| (!hides((b * 5 + i) * 7 + j)).then_some(s)),
        ),
        (
            "padding",
            plain().mask_pad(padding.clone()),
            Box::new(move |s, [b, _, _, j]| (!pads(b * 7 + j)).then_some(s)),
        ),
        (
            "bias",
            plain().bias(biases.clone()),
            Box::new({
                let bias = bias.clone();
                move |s, [_, h, i, j]| Some(s + bias[(h * 5 + i) * 7 + j])
            }),
        ),
        (
            "all",
            plain()
                .causal()
                .mask(mask)
                .mask_pad(padding)
                .bias(biases)
                .softcap(0.5),
            Box::new(move |s, at| {
                let [b, h, i, j] = at;
                let seen = behind(at) >= 0 && !hides((b * 5 + i) * 7 + j) && !pads(b * 7 + j);
                seen.then(|| 0.5 * (s / 0.5).tanh() + bias[(h * 5 + i) * 7 + j])
            }),
        ),
    ]
}

#[test]
fn attention_is_that_of_its_definition() {
    let problem = Problem::new(SIZES);
    for (dtype, tolerance) in dtypes() {
        let [q, k, v] = problem.tensors(dtype, &device());
        for (name, attention, score) in cases(dtype) {
            let got = host(attention.forward(q.clone(), k.clone(), v.clone()));
            assert_close(name, &got, &problem.expected(false, &score), tolerance);
            let quiet = attention.quiet();
            let got = host(quiet.forward(q.clone(), k.clone(), v.clone()));
            assert_close(name, &got, &problem.expected(true, &score), tolerance);
        }
    }
}

/// Queries that stand before the first key see no key.
#[test]
fn queries_that_see_nothing_give_zero_and_have_no_gradient() {
    let problem = Problem::new(Sizes {
        rows: 7,
        columns: 4,
        ..SIZES
    });
    let seen = |s: f64, [_, _, i, j]: [usize; 4]| (j + 3 <= i).then_some(s);
    let expected = problem.expected(false, &seen);
    for quiet in [false, true] {
        let [q, k, v] = problem.tensors(DType::F32, &device().autodiff());
        let [q, k, v] = [q, k, v].map(Tensor::require_grad);
        let attention = Attention::new().causal();
        let attention = if quiet { attention.quiet() } else { attention };
        let out = attention.forward(q.clone(), k.clone(), v.clone());
        if !quiet {
            assert_close("values", &host(out.clone()), &expected, 1e-5);
        }
        let gradients = out.sum().backward();
        for leaf in [k, v] {
            let gradient = host(leaf.grad(&gradients).expect("it is tracked"));
            assert!(
                gradient.iter().all(|value| value.is_finite()),
                "{gradient:?}"
            );
        }
        let by_queries = host(q.grad(&gradients).expect("it is tracked"));
        for (at, gradient) in by_queries.iter().enumerate() {
            let row = at / 3 % 7;
            assert!(
                gradient.is_finite() && (row >= 3 || *gradient == 0.0),
                "{row}: {gradient}"
            );
        }
    }
}

#[test]
fn what_is_hidden_leaves_no_trace() {
    let problem = Problem::new(SIZES);
    let pads = |at: usize| at % 7 > 4;
    let padding = bools([2, 7], pads);
    let attention = Attention::new().mask_pad(padding);
    let run = |problem: &Problem| {
        let [q, k, v] = problem.tensors(DType::F32, &device().autodiff());
        let [q, k, v] = [q, k, v].map(Tensor::require_grad);
        let out = attention.forward(q.clone(), k, v);
        let gradients = out.clone().sum().backward();
        (host(out), host(q.grad(&gradients).expect("it is tracked")))
    };
    let (values, gradient) = run(&problem);
    let mut spoilt = Problem::new(SIZES);
    for (row, keys) in spoilt.k.chunks_mut(3).enumerate() {
        if pads(row) {
            keys.fill(f64::NAN);
        }
    }
    for (row, values) in spoilt.v.chunks_mut(2).enumerate() {
        if pads(row) {
            values.fill(f64::INFINITY);
        }
    }
    assert_eq!(run(&spoilt), (values, gradient));
}

#[test]
fn gradients_are_those_of_differences() {
    if !has(DType::F64) || !reduces(DType::F64) {
        return skipped("the device has no F64");
    }
    let problem = Problem::new(Sizes {
        batch: 1,
        heads: 2,
        shared: 1,
        ..SIZES
    });
    let bias = Random::new(6).vec(2 * 5 * 7);
    let weights = tensor(
        &Random::new(7).vec(2 * 5 * 2),
        [1, 2, 5, 2],
        DType::F64,
        &device(),
    );
    let value = |q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, bias: Tensor<4>| {
        let attention = Attention::new().causal().softcap(2.0).quiet().bias(bias);
        let weights = Tensor::from_data(weights.to_data(), (&q.device(), DType::F64));
        (attention.forward(q, k, v) * weights).sum()
    };
    let shapes = problem.shapes();
    let leaves = [&problem.q, &problem.k, &problem.v, &bias];
    let shapes = [shapes[0], shapes[1], shapes[2], [1, 2, 5, 7]];
    let at = |values: [&[f64]; 4], device: &Device| -> [Tensor<4>; 4] {
        std::array::from_fn(|k| tensor(values[k], shapes[k], DType::F64, device))
    };
    let values = leaves.map(Vec::as_slice);
    let tracked = at(values, &device().autodiff()).map(Tensor::require_grad);
    let [q, k, v, b] = tracked.clone();
    let gradients = value(q, k, v, b).backward();
    for (n, name) in ["queries", "keys", "values", "bias"]
        .into_iter()
        .enumerate()
    {
        let expected = differences(values[n], &|moved| {
            let mut values = values;
            values[n] = moved;
            let [q, k, v, b] = at(values, &device());
            host(value(q, k, v, b))[0]
        });
        assert_gradient(name, &tracked[n], &gradients, &expected, 1e-7);
    }
}

fn random(shape: [usize; 3], seed: u64, device: &Device) -> Tensor<3> {
    let values = Random::new(seed).vec(shape.iter().product());
    tensor(&values, shape, DType::F32, device)
}

/// Both layers with the same parameters.
fn pair(
    quiet: bool,
    device: &Device,
) -> (burn::nn::attention::MultiHeadAttention, MultiHeadAttention) {
    let dense = DenseConfig::new(12, 3)
        .with_dropout(0.0)
        .with_quiet_softmax(quiet)
        .init(device);
    let lazy = MultiHeadAttentionConfig::new(12, 3)
        .with_dropout(0.0)
        .with_quiet_softmax(quiet)
        .init(device);
    let lazy = MultiHeadAttention {
        query: dense.query.clone(),
        key: dense.key.clone(),
        value: dense.value.clone(),
        output: dense.output.clone(),
        ..lazy
    };
    (dense, lazy)
}

#[test]
fn the_layer_is_that_of_burn_nn() {
    let device = device().autodiff();
    for quiet in [false, true] {
        let (dense, lazy) = pair(quiet, &device);
        let x = random([2, 6, 12], 1, &device);
        let later = Tensor::<2, Bool>::tril_mask([6, 6], 0, &device);
        let later: Tensor<3, Bool> = later.unsqueeze::<3>().expand([2, 6, 6]);
        let pads = bools([2, 6], |at| at / 6 == 1 && at % 6 > 3);
        let pads = Tensor::from_data(pads.into_data(), &device);
        let run = |turn: usize, x: Tensor<3>| match turn {
            0 => (MhaInput::self_attn(x.clone()), AttentionInput::self_attn(x)),
            1 => (
                MhaInput::self_attn(x.clone()).mask_attn(later.clone()),
                AttentionInput::self_attn(x).mask_attn(later.clone()),
            ),
            2 => (
                MhaInput::self_attn(x.clone())
                    .mask_attn(later.clone())
                    .mask_pad(pads.clone()),
                AttentionInput::self_attn(x).causal().mask_pad(pads.clone()),
            ),
            _ => {
                let other = random([2, 9, 12], 2, &x.device());
                (
                    MhaInput::new(x.clone(), other.clone(), other.clone()),
                    AttentionInput::new(x, other.clone(), other),
                )
            }
        };
        for turn in 0..4 {
            let x = x.clone().detach().require_grad();
            let (wanted, own) = run(turn, x.clone());
            let what = format!("turn {turn}, quiet {quiet}");
            let gradient = |out: Tensor<3>| {
                let weights = random([2, 6, 12], 3, &device);
                let gradients = (out * weights).sum().backward();
                host(x.grad(&gradients).expect("it is tracked"))
            };
            let (wanted, own) = (dense.forward(wanted).context, lazy.forward(own));
            assert_close(&what, &host(own.clone()), &host(wanted.clone()), 1e-5);
            assert_close(&what, &gradient(own), &gradient(wanted), 1e-4);
        }
    }
}

#[test]
fn records_of_burn_nn_load() {
    let device = device();
    let (dense, _) = pair(false, &device);
    let other = MultiHeadAttentionConfig::new(12, 3)
        .with_dropout(0.0)
        .init(&device);
    let bytes = dense
        .clone()
        .into_record()
        .into_bytes()
        .expect("it is written");
    let record = ModuleRecord::from_bytes(bytes).expect("it is read");
    let loaded = other.load_record(record);
    let x = random([1, 4, 12], 5, &device);
    let wanted = dense.forward(MhaInput::self_attn(x.clone())).context;
    let own = loaded.forward(AttentionInput::self_attn(x));
    assert_close("loaded", &host(own), &host(wanted), 1e-5);
}

#[test]
fn dropout_keeps_the_mean_and_is_left_out_where_nothing_is_learned() {
    let device = device().autodiff();
    device.seed(3);
    let problem = Problem::new(Sizes {
        batch: 1,
        heads: 1,
        shared: 1,
        rows: 40,
        columns: 500,
        dim: 1,
        width: 1,
    });
    let [q, k, v] = problem.tensors(DType::F32, &device);
    let ones = v.clone().ones_like().require_grad();
    let out = Attention::new()
        .dropout(0.3)
        .forward(q.clone(), k.clone(), ones.clone());
    let values = host(out.clone());
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    // Dropout leaves weights out one by one.
    assert!(values.iter().any(|value| (value - 1.0).abs() > 0.01));
    // The backward pass finds the same weights again. As the output is linear in the values, the sums are equal.
    let gradients = out.sum().backward();
    let total: f64 = host(ones.grad(&gradients).expect("it is tracked"))
        .iter()
        .sum();
    assert!((total - values.iter().sum::<f64>()).abs() < 1e-2, "{total}");

    let layer = MultiHeadAttentionConfig::new(8, 2)
        .with_dropout(0.5)
        .init(&device);
    let x = random([1, 9, 8], 1, &device);
    let run = |layer: &MultiHeadAttention, x: &Tensor<3>| {
        host(layer.forward(AttentionInput::self_attn(x.clone())))
    };
    assert_ne!(run(&layer, &x), run(&layer, &x));
    let (layer, x) = (layer.valid(), x.inner());
    assert_eq!(run(&layer, &x), run(&layer, &x));
}

/// The layer learns to copy the first entry of a sequence to all positions.
#[test]
fn a_layer_learns() {
    let device = device().autodiff();
    device.seed(1);
    let mut layer = MultiHeadAttentionConfig::new(4, 2)
        .with_dropout(0.0)
        .init(&device);
    let mut adam = AdamConfig::new().init();
    let x = random([3, 6, 4], 11, &device);
    let wanted = x.clone().slice([0..3, 0..1]).expand([3, 6, 4]);
    let mut losses = Vec::new();
    for _ in 0..40 {
        let out = layer.forward(AttentionInput::self_attn(x.clone()).causal());
        let loss = (out - wanted.clone()).square().mean();
        losses.push(host(loss.clone())[0]);
        let gradients = GradientsParams::from_grads(loss.backward(), &layer);
        layer = adam.step(0.05, layer, gradients);
    }
    assert!(losses[39] < 0.3 * losses[0], "{losses:?}");
}
