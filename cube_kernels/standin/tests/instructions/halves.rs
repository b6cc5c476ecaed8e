use crate::support::{bits, evaluate, single};

fn half(value: f32) -> u64 {
    half::f16::from_f32(value).to_bits().into()
}

fn bfloat(value: f32) -> u64 {
    half::bf16::from_f32(value).to_bits().into()
}

#[test]
fn arithmetic_of_halves() {
    assert_eq!(
        evaluate("add.rn.f16", "hhh", &[half(1.5), half(2.0)]),
        half(3.5)
    );
    assert_eq!(
        evaluate("sub.f16", "hhh", &[half(1.5), half(2.0)]),
        half(-0.5)
    );
    assert_eq!(
        evaluate("mul.rn.bf16", "hhh", &[bfloat(1.5), bfloat(3.0)]),
        bfloat(4.5)
    );
    assert_eq!(
        evaluate("fma.rn.f16", "hhhh", &[half(2.0), half(3.0), half(1.0)]),
        half(7.0)
    );
    assert_eq!(
        evaluate(
            "fma.rn.bf16",
            "hhhh",
            &[bfloat(2.0), bfloat(3.0), bfloat(1.0)]
        ),
        bfloat(7.0)
    );
    assert_eq!(evaluate("neg.f16", "hh", &[half(1.0)]), half(-1.0));
    assert_eq!(evaluate("abs.bf16", "hh", &[bfloat(-1.0)]), bfloat(1.0));
    assert_eq!(evaluate("max.f16", "hhh", &[0x7fff, half(2.0)]), half(2.0));
    assert_eq!(evaluate("min.NaN.f16", "hhh", &[0x7fff, half(2.0)]), 0x7fff);
    assert_eq!(
        evaluate("add.f16", "hhh", &[half(65504.0), half(65504.0)]),
        half(f32::INFINITY)
    );
    assert_eq!(evaluate("ex2.approx.f16", "hh", &[half(3.0)]), half(8.0));
    assert_eq!(evaluate("setp.lt.f16", "phh", &[half(-1.0), half(2.0)]), 1);
    assert_eq!(evaluate("setp.ltu.bf16", "phh", &[0x7fff, bfloat(2.0)]), 1);
}

#[test]
fn arithmetic_of_pairs() {
    let pair = |low: u64, high: u64| high << 16 | low;
    let values = [pair(half(1.0), half(2.0)), pair(half(10.0), half(20.0))];
    assert_eq!(
        evaluate("add.rn.f16x2", "rrr", &values),
        pair(half(11.0), half(22.0))
    );
    assert_eq!(
        evaluate("sub.f16x2", "rrr", &values),
        pair(half(-9.0), half(-18.0))
    );
    let values = [values[0], values[1], pair(half(0.5), half(0.25))];
    assert_eq!(
        evaluate("fma.rn.f16x2", "rrrr", &values),
        pair(half(10.5), half(40.25))
    );
    assert_eq!(
        evaluate("neg.bf16x2", "rr", &[pair(bfloat(1.0), bfloat(-2.0))]),
        pair(bfloat(-1.0), bfloat(2.0))
    );
}

#[test]
fn conversions_of_halves() {
    assert_eq!(
        evaluate("cvt.rn.f16.f32", "hr", &[bits(1.0 + 2f32.powi(-11))]),
        half(1.0)
    );
    assert_eq!(
        evaluate("cvt.rn.bf16.f32", "hr", &[bits(1.0 + 2f32.powi(-8))]),
        bfloat(1.0)
    );
    assert_eq!(single(evaluate("cvt.f32.f16", "rh", &[1])), 2f32.powi(-24));
    assert_eq!(
        single(evaluate("cvt.f32.bf16", "rh", &[bfloat(-3.0)])),
        -3.0
    );
    assert_eq!(
        evaluate("cvt.rn.f16.f64", "hd", &[0.1f64.to_bits()]),
        half(0.1)
    );
    assert_eq!(
        evaluate("cvt.rn.f16x2.f32", "rrr", &[bits(1.0), bits(2.0)]),
        half(1.0) << 16 | half(2.0)
    );
    assert_eq!(
        evaluate("cvt.rn.bf16x2.f32", "rrr", &[bits(1.0), bits(2.0)]),
        bfloat(1.0) << 16 | bfloat(2.0)
    );
    assert_eq!(
        evaluate("cvt.rzi.s32.f16", "rh", &[half(-2.75)]),
        -2i32 as u32 as u64
    );
    assert_eq!(evaluate("cvt.rn.f16.s32", "hr", &[2049]), half(2048.0));
    assert_eq!(evaluate("cvt.rni.f16.f16", "hh", &[half(2.5)]), half(2.0));
}
