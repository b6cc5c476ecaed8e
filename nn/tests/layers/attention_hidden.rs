//! Attention with keys that are hidden, NaN, biased or dropped.

use burn::{prelude::*, tensor::DType};
use burn_lazy_nn::attention::Attention;

use super::{
    attention::bools,
    attention_edges::{random, run, single},
    support::*,
};

/// A bias of minus infinity hides keys. It may hide all keys of a query.
#[test]
fn a_bias_of_minus_infinity_hides_as_a_mask_does() {
    for quiet in [false, true] {
        let hides = |at: usize| at / 5 == 2 || at % 3 == 1;
        let mask = bools([1, 1, 4, 5], hides);
        let values: Vec<f64> = (0..20)
            .map(|at| if hides(at) { f64::NEG_INFINITY } else { 0.0 })
            .collect();
        let bias = tensor(&values, [1, 1, 4, 5], DType::F32, &device().autodiff()).require_grad();
        let base = if quiet {
            Attention::new().quiet()
        } else {
            Attention::new()
        };
        let masked = run(&base.clone().mask(mask), single(4, 5));
        let biased = run(&base.clone().bias(bias.clone()), single(4, 5));
        for (name, own, want) in [
            ("output", 0, 0),
            ("queries", 1, 1),
            ("keys", 2, 2),
            ("values", 3, 3),
        ] {
            assert!(
                biased[own].iter().all(|value| value.is_finite()),
                "{name}, quiet {quiet}: {:?}",
                biased[own]
            );
            assert_close(name, &biased[own], &masked[want], 1e-5);
        }
        let [q, k, v] = single(4, 5);
        let gradients = base.bias(bias.clone()).forward(q, k, v).sum().backward();
        let gradient = host(bias.grad(&gradients).expect("it is tracked"));
        for (at, value) in gradient.iter().enumerate() {
            assert!(
                value.is_finite() && (!hides(at) || *value == 0.0),
                "{at}: {value}"
            );
        }
    }
}

#[test]
fn what_masks_and_causality_hide_leaves_no_trace_in_gradients() {
    let device = device().autodiff();
    for dropout in [0.0, 0.4] {
        for quiet in [false, true] {
            let mask = bools([1, 1, 5, 5], |at| at % 5 == 4);
            let attention = Attention::new().mask(mask).softcap(3.0).dropout(dropout);
            let attention = if quiet { attention.quiet() } else { attention };
            let [q, k, v] = single(5, 5);
            device.seed(5);
            let want = run(&attention, [q.clone(), k.clone(), v.clone()]);
            let spoil = |x: Tensor<4>, by: f32| {
                let [_, _, _, dim] = x.dims();
                let bad = x.clone().slice([0..1, 0..1, 4..5, 0..dim]).full_like(by);
                x.slice_assign([0..1, 0..1, 4..5, 0..dim], bad)
            };
            device.seed(5);
            let own = run(&attention, [q, spoil(k, f32::NAN), spoil(v, f32::NAN)]);
            assert_eq!(own, want, "dropout {dropout}, quiet {quiet}");
            assert!(want[3][8..].iter().all(|value| *value == 0.0));
        }
    }
}

#[test]
fn what_is_not_hidden_is_seen_even_if_it_is_nan() {
    let [q, k, v] = single(3, 3);
    let values: Vec<f64> = (0..9)
        .map(|at| if at == 4 { f64::NAN } else { 0.0 })
        .collect();
    let bias = tensor(&values, [1, 1, 3, 3], DType::F32, &device().autodiff());
    let out = host(
        Attention::new()
            .bias(bias.clone())
            .forward(q.clone(), k.clone(), v.clone()),
    );
    assert!(out[2].is_nan() && out[3].is_nan());
    assert!([0, 1, 4, 5].iter().all(|at| out[*at].is_finite()));
    // A NaN that is hidden by a mask has no effect.
    let mask = bools([1, 1, 3, 3], |at| at == 4);
    let attention = Attention::new().mask(mask);
    let want = run(&attention, [q.clone(), k.clone(), v.clone()]);
    assert_eq!(run(&attention.bias(bias), [q, k, v]), want);
}

/// With unit vectors as values, the output for a query is the row of weights that dropout keeps.
#[test]
fn dropout_leaves_out_its_share_and_gradients_are_those_of_what_is_kept() {
    let device = device().autodiff();
    let (heads, shared, rows, columns) = (4, 2, 6, 40);
    let q = Tensor::<4>::zeros([2, heads, rows, 1], &device);
    let k = Tensor::<4>::zeros([2, shared, columns, 1], &device);
    let units = Tensor::<2>::eye(columns, &device).reshape([1, 1, columns, columns]);
    let v = units.expand([2, shared, columns, columns]);
    for p in [0.25, 0.5, 0.9] {
        device.seed(11);
        let attention = Attention::new().dropout(p);
        let weights = host(attention.forward(q.clone(), k.clone(), v.clone()));
        let kept = 1.0 / (columns as f64 * (1.0 - p));
        let count = weights.iter().filter(|weight| **weight != 0.0).count() as f64;
        assert!(weights.iter().all(|w| *w == 0.0 || (w - kept).abs() < 1e-5));
        let total = weights.len() as f64;
        let deviation = (p * (1.0 - p) / total).sqrt();
        assert!(
            (count / total - (1.0 - p)).abs() < 5.0 * deviation,
            "{p}: {count}"
        );
        // Heads that share keys leave out different weights, and so do batches and queries.
        let parts: Vec<&[f64]> = weights.chunks(columns).collect();
        for (at, part) in parts.iter().enumerate() {
            assert!(parts[at + 1..].iter().all(|other| other != part), "{p}");
        }
    }
    if !has(DType::F64) || !reduces(DType::F64) {
        return skipped("the device has no F64");
    }
    let values = [12, 15, 10].map(|len| Random::new(len as u64).vec(len));
    let bias = Random::new(1).vec(20);
    let value = |moved: [&[f64]; 3], bias: &[f64], device: &Device| {
        let shapes = [[1, 1, 4, 3], [1, 1, 5, 3], [1, 1, 5, 2]];
        let leaves: [Tensor<4>; 3] = std::array::from_fn(|at| {
            tensor(moved[at], shapes[at], DType::F64, device).require_grad()
        });
        let bias = tensor(bias, [1, 1, 4, 5], DType::F64, device).require_grad();
        device.seed(21);
        let [q, k, v] = leaves.clone();
        let out = Attention::new()
            .dropout(0.4)
            .bias(bias.clone())
            .quiet()
            .forward(q, k, v);
        let weights = random([1, 1, 4, 2], 5, DType::F64, device);
        ((out * weights).sum(), leaves, bias)
    };
    let given = [&values[0][..], &values[1], &values[2]];
    let (out, leaves, tracked) = value(given, &bias, &device);
    let gradients = out.backward();
    for (at, leaf) in leaves.iter().enumerate() {
        let expected = differences(given[at], &|moved| {
            let mut all = given;
            all[at] = moved;
            host(value(all, &bias, &device).0)[0]
        });
        assert_gradient(&format!("input {at}"), leaf, &gradients, &expected, 1e-7);
    }
    let expected = differences(&bias, &|moved| host(value(given, moved, &device).0)[0]);
    assert_gradient("bias", &tracked, &gradients, &expected, 1e-7);
}

#[test]
fn a_bias_that_is_shared_has_the_sum_of_the_gradients() {
    let device = device().autodiff();
    let [q, k, v] = [1, 2, 3].map(|seed| random([2, 4, 3, 2], seed, DType::F32, &device));
    let run = |shape: [usize; 4]| {
        let bias = Tensor::<4>::zeros(shape, &device).require_grad();
        let out =
            Attention::new()
                .causal()
                .bias(bias.clone())
                .forward(q.clone(), k.clone(), v.clone());
        let weights = random(out.dims(), 7, DType::F32, &device);
        let gradients = (out * weights).sum().backward();
        bias.grad(&gradients).expect("it is tracked")
    };
    let all = run([2, 4, 3, 3]);
    for (shape, sum) in [
        ([1, 4, 3, 3], all.clone().sum_dim(0)),
        ([2, 1, 3, 3], all.clone().sum_dim(1)),
        ([1, 1, 3, 3], all.clone().sum_dim(0).sum_dim(1)),
    ] {
        let own = run(shape);
        assert_eq!(own.dims(), shape);
        assert_close(&format!("{shape:?}"), &host(own), &host(sum), 1e-5);
    }
}

/// There are so many pairs here that blocks are left out where the causal mask hides them.
#[test]
fn long_sequences_have_the_gradients_of_stored_masks() {
    let (length, device) = (1100, device().autodiff());
    let make = |seed| random([1, 1, length, 1], seed, DType::F32, &device);
    let [q, k, v] = [1, 2, 3].map(make);
    let hidden = bools([1, 1, length, length], |at| at % length > at / length);
    let values = Random::new(4).vec(length * length);
    let run = |attention: Attention| {
        let bias = tensor(&values, [1, 1, length, length], DType::F32, &device).require_grad();
        let leaves = [&q, &k, &v].map(|leaf| leaf.clone().require_grad());
        let [q, k, v] = leaves.clone();
        let out = attention.bias(bias.clone()).forward(q, k, v);
        let gradients = out.clone().sum().backward();
        let [q, k, v] = leaves.map(|leaf| host(leaf.grad(&gradients).expect("it is tracked")));
        [
            host(out),
            q,
            k,
            v,
            host(bias.grad(&gradients).expect("it is tracked")),
        ]
    };
    let want = run(Attention::new().mask(hidden));
    for (own, want) in run(Attention::new().causal()).iter().zip(&want) {
        assert_close("causal", own, want, 1e-4);
    }
}
