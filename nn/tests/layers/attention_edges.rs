//! Attention of empty and long sequences, in other types and layouts, and with wrong input.

use burn::{module::Module, prelude::*, store::ModuleRecord, tensor::DType};
use burn_lazy_nn::{
    LayerError, SettingError,
    attention::{Attention, AttentionInput, MultiHeadAttention, MultiHeadAttentionConfig},
};

use super::{attention::bools, support::*};

pub fn random<const R: usize>(
    shape: [usize; R],
    seed: u64,
    dtype: DType,
    device: &Device,
) -> Tensor<R> {
    let values = Random::new(seed).vec(shape.iter().product());
    tensor(&values, shape, dtype, device)
}

/// The output, and the gradients by queries, keys and values.
pub fn run(attention: &Attention, inputs: [Tensor<4>; 3]) -> [Vec<f64>; 4] {
    let [q, k, v] = inputs.map(Tensor::require_grad);
    let out = attention.forward(q.clone(), k.clone(), v.clone());
    let weights = random(out.dims(), 99, out.dtype(), &out.device());
    let gradients = (out.clone() * weights).sum().backward();
    let [q, k, v] = [q, k, v].map(|leaf| host(leaf.grad(&gradients).expect("it is tracked")));
    [host(out), q, k, v]
}

/// Queries, keys and values of one head, on a device with autodiff.
pub fn single(rows: usize, columns: usize) -> [Tensor<4>; 3] {
    let device = device().autodiff();
    let make = |seed, length, dim| random([1, 1, length, dim], seed, DType::F32, &device);
    [make(1, rows, 3), make(2, columns, 3), make(3, columns, 2)]
}

#[test]
fn grouped_heads_are_those_of_repeated_keys() {
    let device = device().autodiff();
    for (dtype, tolerance) in dtypes() {
        let q = random([2, 6, 4, 3], 1, dtype, &device);
        let [k, v] = [2, 3].map(|seed| random([2, 2, 5, 3], seed, dtype, &device));
        let repeated = |x: &Tensor<4>| -> Tensor<4> {
            let all: Tensor<5> = x.clone().unsqueeze_dim(2);
            all.expand([2, 2, 3, 5, 3]).reshape([2, 6, 5, 3])
        };
        let bias = random([1, 6, 4, 5], 4, dtype, &device);
        let mask = bools([2, 6, 4, 5], |at| at % 4 == 1);
        let attention = Attention::new().bias(bias).mask(mask).causal();
        let grouped = run(&attention, [q.clone(), k.clone(), v.clone()]);
        let plain = run(&attention, [q, repeated(&k), repeated(&v)]);
        assert_close("output", &grouped[0], &plain[0], tolerance);
        assert_close("queries", &grouped[1], &plain[1], 10.0 * tolerance);
        for (name, own, all) in [
            ("keys", &grouped[2], &plain[2]),
            ("values", &grouped[3], &plain[3]),
        ] {
            let head = 5 * 3;
            let sum = |at: usize| -> f64 {
                let (shared, rest) = (at / head, at % head);
                (0..3)
                    .map(|group| all[(shared * 3 + group) * head + rest])
                    .sum()
            };
            let sums: Vec<f64> = (0..own.len()).map(sum).collect();
            assert_close(name, own, &sums, 10.0 * tolerance);
        }
    }
}

#[test]
fn windows_beyond_the_length_hide_nothing() {
    for (rows, columns) in [(4, 6), (6, 4), (1, 1)] {
        let causal = run(&Attention::new().causal(), single(rows, columns));
        let window = run(
            &Attention::new().causal().window(100),
            single(rows, columns),
        );
        assert_eq!(window, causal);
        let plain = run(&Attention::new(), single(rows, columns));
        let window = run(&Attention::new().window(100), single(rows, columns));
        for (own, want) in window.iter().zip(&plain) {
            assert_close("window", own, want, 1e-6);
        }
        // With a window of 1 a query sees only the key at its own position, if there is one.
        let [q, k, v] = single(rows, columns);
        let out = host(Attention::new().window(1).forward(q, k, v.clone()));
        let values = host(v);
        let own = |at: usize| {
            let place = at / 2 + columns;
            let seen = place >= rows && place - rows < columns;
            if seen {
                values[(place - rows) * 2 + at % 2]
            } else {
                0.0
            }
        };
        let want: Vec<f64> = (0..rows * 2).map(own).collect();
        assert_close("own place", &out, &want, 1e-6);
    }
}

#[test]
fn empty_batches_heads_and_sequences_give_empty_outputs() {
    let device = device();
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device);
    for (q, k, v) in [
        ([0, 4, 5, 3], [0, 2, 7, 3], [0, 2, 7, 2]),
        ([2, 0, 5, 3], [2, 2, 7, 3], [2, 2, 7, 2]),
        ([2, 4, 0, 3], [2, 2, 7, 3], [2, 2, 7, 2]),
        ([2, 4, 5, 3], [2, 2, 0, 3], [2, 2, 0, 2]),
    ] {
        let padding = Tensor::<2>::zeros([q[0], k[2]], &device).greater_elem(0.5);
        let shapes = [[1, 1, q[2], k[2]], [q[0], q[1], q[2], k[2]]];
        for shape in shapes {
            let attention = Attention::new()
                .causal()
                .quiet()
                .dropout(0.5)
                .mask_pad(padding.clone())
                .bias(zeros(shape));
            let out = attention
                .try_forward(zeros(q), zeros(k), zeros(v))
                .unwrap_or_else(|error| panic!("{q:?} {shape:?}: {error}"));
            assert_eq!(out.dims(), [q[0], q[1], q[2], v[3]], "{q:?}");
            assert!(host(out).iter().all(|value| *value == 0.0));
        }
    }
    // Empty components, heads or lengths with nothing to compute are an error.
    for (q, k, v, text) in [
        (
            [1, 1, 2, 0],
            [1, 1, 2, 0],
            [1, 1, 2, 2],
            "components of queries must not be empty",
        ),
        (
            [1, 1, 2, 2],
            [1, 1, 2, 2],
            [1, 1, 2, 0],
            "components of values must not be empty",
        ),
        (
            [1, 1, 2, 2],
            [1, 0, 2, 2],
            [1, 0, 2, 2],
            "keys of shape [1, 0, 2, 2]",
        ),
    ] {
        let refused = Attention::new().try_forward(zeros(q), zeros(k), zeros(v));
        let error = refused.expect_err("it is refused").to_string();
        assert!(error.contains(text), "{text:?} is not in {error:?}");
    }
}

#[test]
fn layers_of_empty_sequences_give_what_the_last_projection_does() {
    let device = device();
    let layer = MultiHeadAttentionConfig::new(8, 4)
        .with_n_kv_heads(Some(2))
        .init(&device);
    let bias = layer.output.bias.as_ref().expect("it has one").val();
    for (batch, rows, columns) in [(0, 3, 3), (2, 0, 3), (2, 3, 0)] {
        let zeros = |length| Tensor::<3>::zeros([batch, length, 8], &device);
        let mask = bools([batch, rows, columns], |_| false);
        let input = AttentionInput::new(zeros(rows), zeros(columns), zeros(columns));
        let out = layer.forward(input.mask_attn(mask).causal());
        assert_eq!(out.dims(), [batch, rows, 8]);
        let want = host(bias.clone()).repeat(batch * rows);
        assert_eq!(host(out), want);
    }
}

#[test]
fn halves_are_read_and_given() {
    let device = device().autodiff();
    for dtype in [DType::F16, DType::BF16] {
        if !reduces(dtype) {
            skipped("the device has no halves");
            continue;
        }
        let tolerance = if dtype == DType::F16 { 4e-3 } else { 3e-2 };
        let inputs = |dtype| [1, 2, 3].map(|seed| random([1, 2, 6, 4], seed, dtype, &device));
        let mask = bools([1, 1, 6, 6], |at| at % 5 == 2);
        let attention = |dtype| {
            Attention::new()
                .causal()
                .mask(mask.clone())
                .bias(random([1, 2, 6, 6], 9, dtype, &device))
                .quiet()
        };
        // The expected values are computed from the same rounded numbers.
        let rounded = inputs(dtype).map(|x| tensor(&host(x), [1, 2, 6, 4], DType::F32, &device));
        let bias = random([1, 2, 6, 6], 9, dtype, &device);
        let bias = tensor(&host(bias), [1, 2, 6, 6], DType::F32, &device);
        let want = run(&attention(DType::F32).bias(bias), rounded);
        let own = run(&attention(dtype), inputs(dtype));
        for (own, want) in own.iter().zip(&want) {
            assert_close(&format!("{dtype:?}"), own, want, 3.0 * tolerance);
        }
        device.seed(1);
        let [q, k, v] = inputs(dtype);
        let ones = v.ones_like();
        let out = Attention::new().dropout(0.5).forward(q, k, ones);
        assert_eq!(out.dtype(), dtype);
        assert!(host(out).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn transposed_inputs_and_biases_are_read() {
    let device = device();
    let make = |seed| random([2, 5, 3, 4], seed, DType::F32, &device);
    let views = [1, 2, 3].map(|seed| make(seed).swap_dims(1, 2));
    let copies = views
        .clone()
        .map(|x| Tensor::from_data(x.into_data(), &device));
    let bias = random([1, 1, 5, 5], 8, DType::F32, &device).swap_dims(2, 3);
    let copied = Tensor::from_data(bias.clone().into_data(), &device);
    let [q, k, v] = views;
    let own = Attention::new().bias(bias).forward(q, k, v);
    let [q, k, v] = copies;
    let want = Attention::new().bias(copied).forward(q, k, v);
    assert_eq!(host(own), host(want));
}

#[test]
fn the_order_of_keys_does_not_matter_without_places() {
    let [q, k, v] = single(4, 6).map(Tensor::inner);
    let order = Tensor::<1, Int>::from_data([3, 0, 5, 1, 4, 2], &device());
    let bias = random([1, 1, 4, 6], 6, DType::F32, &device());
    let want = Attention::new()
        .bias(bias.clone())
        .forward(q.clone(), k.clone(), v.clone());
    let moved = bias.select(3, order.clone());
    let (k, v) = (k.select(2, order.clone()), v.select(2, order));
    let own = Attention::new().bias(moved).forward(q, k, v);
    assert_close("order", &host(own), &host(want), 1e-5);
}

#[test]
fn scores_far_from_zero_give_the_largest() {
    let device = device().autodiff();
    let q = tensor(&[1e4, -1e4], [1, 1, 2, 1], DType::F32, &device);
    let k = tensor(&[1.0, 2.0, 3.0], [1, 1, 3, 1], DType::F32, &device);
    let v = tensor(&[10.0, 20.0, 30.0], [1, 1, 3, 1], DType::F32, &device);
    let [out, by_q, ..] = run(&Attention::new(), [q.clone(), k.clone(), v.clone()]);
    assert_eq!(out, [30.0, 10.0]);
    assert_eq!(by_q, [0.0, 0.0]);
    // If attention is quiet, a query far from all keys attends to nothing.
    let far = Attention::new().quiet().scale(1e-4);
    let bias = tensor(&[-1e4; 6], [1, 1, 2, 3], DType::F32, &device);
    assert_eq!(host(far.bias(bias).forward(q, k, v)), [0.0, 0.0]);
}

#[test]
fn records_of_grouped_layers_load() {
    let device = device();
    let config = MultiHeadAttentionConfig::new(12, 6)
        .with_n_kv_heads(Some(2))
        .with_window(Some(3))
        .with_softcap(Some(5.0));
    let (layer, other) = (config.init(&device), config.init(&device));
    let x = random([2, 5, 12], 1, DType::F32, &device);
    let run = |layer: &MultiHeadAttention| {
        host(layer.forward(AttentionInput::self_attn(x.clone()).causal()))
    };
    assert_ne!(run(&layer), run(&other));
    let bytes = layer
        .clone()
        .into_record()
        .into_bytes()
        .expect("it is written");
    let record = ModuleRecord::from_bytes(bytes).expect("it is read");
    assert_eq!(run(&layer), run(&other.load_record(record)));
    assert_eq!(layer.key.weight.dims(), [12, 4]);
}

#[test]
fn wrong_input_is_named() {
    let device = device();
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device);
    let q = || zeros([2, 4, 5, 3]);
    let try_it = |attention: Attention, k: [usize; 4], v: [usize; 4]| {
        attention
            .try_forward(q(), zeros(k), zeros(v))
            .expect_err("it is refused")
            .to_string()
    };
    let (k, v) = ([2, 2, 7, 3], [2, 2, 7, 2]);
    let plain = Attention::new;
    for (text, parts) in [
        (
            try_it(plain(), [2, 3, 7, 3], v),
            ["keys", "[2, 3, 7, 3]", "[2, 4, 5, 3]"],
        ),
        (
            try_it(plain(), [2, 2, 7, 4], v),
            ["keys", "[2, 2, 7, 4]", "[2, 4, 5, 3]"],
        ),
        (
            try_it(plain(), k, [2, 2, 6, 2]),
            ["values", "[2, 2, 6, 2]", "[2, 4, 5, 3]"],
        ),
        (
            try_it(plain().softcap(-1.0), k, v),
            ["softcap", "-1", "positive"],
        ),
        (
            try_it(plain().window(0), k, v),
            ["window", "0", "at least 1"],
        ),
        (
            try_it(plain().dropout(1.0), k, v),
            ["dropout", "1", "less than 1"],
        ),
        (
            try_it(plain().bias(zeros([1, 4, 7, 5])), k, v),
            ["the bias", "[1, 4, 7, 5]", "length_1, length_2"],
        ),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
    let config = MultiHeadAttentionConfig::new(10, 4);
    assert!(matches!(
        config.try_init(&device),
        Err(LayerError::Setting(SettingError {
            setting: "n_heads",
            ..
        }))
    ));
    let nothing = Attention::new().forward(q(), zeros([2, 2, 0, 3]), zeros([2, 2, 0, 2]));
    assert_eq!(host(nothing), vec![0.0; 2 * 4 * 5 * 2]);
}

#[test]
fn wrong_masks_and_settings_of_layers_are_named() {
    let device = device();
    let layer = MultiHeadAttentionConfig::new(8, 2).init(&device);
    let x = random([2, 5, 8], 1, DType::F32, &device);
    let refused = |input: AttentionInput| {
        layer
            .try_forward(input)
            .expect_err("it is refused")
            .to_string()
    };
    let own = || AttentionInput::self_attn(x.clone());
    let narrow = random([2, 5, 6], 1, DType::F32, &device);
    let fewer = random([1, 5, 8], 1, DType::F32, &device);
    for (text, parts) in [
        (
            refused(own().mask_pad(bools([2, 4], |_| true))),
            ["padding", "[2, 4]"],
        ),
        (
            refused(own().mask_attn(bools([2, 5, 4], |_| true))),
            ["mask_attn", "[2, 5, 4]"],
        ),
        (
            refused(own().mask_attn(bools([3, 5, 5], |_| true))),
            ["mask_attn", "[3, 5, 5]"],
        ),
        (
            refused(AttentionInput::new(x.clone(), narrow.clone(), x.clone())),
            ["keys", "[2, 5, 6]"],
        ),
        (
            refused(AttentionInput::new(narrow, x.clone(), x.clone())),
            ["queries", "[2, 5, 6]"],
        ),
        (
            refused(AttentionInput::new(x.clone(), fewer, x.clone())),
            ["keys", "[1, "],
        ),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
    let base = || MultiHeadAttentionConfig::new(8, 4);
    for (config, setting) in [
        (MultiHeadAttentionConfig::new(8, 0), "n_heads"),
        (MultiHeadAttentionConfig::new(0, 4), "d_model"),
        (base().with_n_kv_heads(Some(3)), "n_kv_heads"),
        (base().with_n_kv_heads(Some(0)), "n_kv_heads"),
        (base().with_dropout(1.0), "dropout"),
        (base().with_dropout(f64::NAN), "dropout"),
        (base().with_window(Some(0)), "window"),
        (base().with_softcap(Some(0.0)), "softcap"),
    ] {
        let error = config
            .try_init(&device)
            .expect_err("it is refused")
            .to_string();
        assert!(error.contains(setting), "{setting} is not in {error}");
    }
}
