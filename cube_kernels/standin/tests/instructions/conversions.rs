use crate::support::{bits, double, evaluate, single};

const MINUS: u64 = u32::MAX as u64;

#[test]
fn between_integers() {
    assert_eq!(evaluate("cvt.s64.s32", "dr", &[MINUS]), u64::MAX);
    assert_eq!(evaluate("cvt.u64.u32", "dr", &[MINUS]), MINUS);
    assert_eq!(evaluate("cvt.u32.u64", "rd", &[0x1_0000_0005]), 5);
    assert_eq!(evaluate("cvt.s32.s8", "rr", &[0x1ff]), MINUS);
    assert_eq!(evaluate("cvt.u32.u8", "rr", &[0x1ff]), 0xff);
    assert_eq!(evaluate("cvt.u16.u32", "hr", &[0x12345]), 0x2345);
    assert_eq!(evaluate("cvt.sat.u8.s32", "rr", &[MINUS]), 0);
    assert_eq!(evaluate("cvt.sat.s8.s32", "rr", &[300]), 127);
}

#[test]
fn to_integers() {
    let convert = |name, value: f32| evaluate(name, "rr", &[bits(value)]) as u32 as i32;
    assert_eq!(convert("cvt.rzi.s32.f32", -2.7), -2);
    assert_eq!(convert("cvt.rni.s32.f32", 2.5), 2);
    assert_eq!(convert("cvt.rmi.s32.f32", -2.1), -3);
    assert_eq!(convert("cvt.rpi.s32.f32", -2.9), -2);
    assert_eq!(convert("cvt.rzi.s32.f32", 1e20), i32::MAX);
    assert_eq!(convert("cvt.rzi.s32.f32", f32::NAN), 0);
    assert_eq!(convert("cvt.rzi.u32.f32", -5.0), 0);
    assert_eq!(convert("cvt.rzi.u8.f32", 300.0), 255);
    assert_eq!(
        evaluate("cvt.rzi.s64.f64", "dd", &[(-3.9f64).to_bits()]),
        -3i64 as u64
    );
    assert_eq!(evaluate("cvt.rzi.u64.f32", "dr", &[bits(1e30)]), u64::MAX);
}

#[test]
fn to_floats() {
    assert_eq!(single(evaluate("cvt.rn.f32.s32", "rr", &[MINUS])), -1.0);
    assert_eq!(
        single(evaluate("cvt.rn.f32.u32", "rr", &[MINUS])),
        4294967296.0
    );
    assert_eq!(
        single(evaluate("cvt.rz.f32.u32", "rr", &[MINUS])),
        4294967296f32.next_down()
    );
    assert_eq!(single(evaluate("cvt.rn.f32.u16", "rh", &[65535])), 65535.0);
    assert_eq!(
        double(evaluate("cvt.rn.f64.u32", "dr", &[MINUS])),
        4294967295.0
    );
    assert_eq!(double(evaluate("cvt.rn.f64.s64", "dd", &[u64::MAX])), -1.0);
    assert_eq!(
        double(evaluate("cvt.f64.f32", "dr", &[bits(0.1)])),
        f64::from(0.1f32)
    );
    assert_eq!(
        single(evaluate("cvt.rn.f32.f64", "rd", &[0.1f64.to_bits()])),
        0.1
    );
    assert_eq!(
        single(evaluate("cvt.rm.f32.f64", "rd", &[0.1f64.to_bits()])),
        0.1f32.next_down()
    );
    assert_eq!(
        single(evaluate("cvt.rmi.f32.f32", "rr", &[bits(-1.5)])),
        -2.0
    );
    assert_eq!(single(evaluate("cvt.sat.f32.f32", "rr", &[bits(1.5)])), 1.0);
}

#[test]
fn to_tf32_ties_go_away_from_zero() {
    let convert = |word: u64| evaluate("cvt.rna.tf32.f32", "rr", &[word]);
    assert_eq!(convert(0x3f80_1000), 0x3f80_2000);
    assert_eq!(convert(0x3f80_0fff), 0x3f80_0000);
    assert_eq!(convert(0xbf80_1000), 0xbf80_2000);
    assert_eq!(convert(0x7f80_0000), 0x7f80_0000);
}
