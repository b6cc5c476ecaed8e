use crate::support::{bits, double, evaluate, single};

const NAN: u64 = 0x7fff_ffff;

#[test]
fn arithmetic_of_singles() {
    let two = |name, a: f32, b: f32| single(evaluate(name, "rrr", &[bits(a), bits(b)]));
    assert_eq!(two("add.f32", 1.5, 2.0), 3.5);
    assert_eq!(two("sub.rn.f32", 1.5, 2.0), -0.5);
    assert_eq!(two("mul.f32", 1.5, 2.0), 3.0);
    assert_eq!(two("div.rn.f32", 1.0, 3.0), 1.0 / 3.0);
    assert_eq!(two("div.full.f32", 1.0, 4.0), 0.25);
    assert_eq!(two("copysign.f32", -1.0, 3.0), -3.0);
    assert_eq!(two("add.rm.f32", 1.0, 1e-20), 1.0);
    assert_eq!(two("add.rp.f32", 1.0, 1e-20), 1f32.next_up());
    assert_eq!(two("sub.rz.f32", 1.0, 1e-20), 1f32.next_down());
    assert_eq!(
        two("mul.rz.f32", 0.1, 0.1),
        0.01f32.next_up().min((0.1f32 * 0.1f32).next_down())
    );
    assert_eq!(two("add.sat.f32", 1.0, 1.0), 1.0);
    assert_eq!(two("mul.sat.f32", -1.0, 1.0), 0.0);
    let fma =
        |name, a: f32, b: f32, c: f32| single(evaluate(name, "rrrr", &[bits(a), bits(b), bits(c)]));
    let step = f32::EPSILON;
    assert_eq!(
        fma("fma.rn.f32", 1.0 + step, 1.0 - step, -1.0),
        -step * step
    );
    assert_eq!(fma("fma.rm.f32", 1.0, 1.0, 1e-20), 1.0);
    assert_eq!(fma("fma.rn.sat.f32", 1.0, 1.0, f32::NAN), 0.0);
}

#[test]
fn subnormal_numbers_are_flushed_on_request() {
    let tiny = f32::from_bits(1);
    assert_eq!(evaluate("add.f32", "rrr", &[1, 0]), 1);
    assert_eq!(evaluate("add.ftz.f32", "rrr", &[1, 0]), 0);
    assert_eq!(
        evaluate("mul.ftz.f32", "rrr", &[bits(1e-30), bits(-1e-10)]),
        0x8000_0000
    );
    assert_eq!(evaluate("setp.gt.f32", "prr", &[bits(tiny), 0]), 1);
    assert_eq!(evaluate("setp.gt.ftz.f32", "prr", &[bits(tiny), 0]), 0);
}

#[test]
fn numbers_win_over_nan() {
    assert_eq!(single(evaluate("min.f32", "rrr", &[NAN, bits(2.0)])), 2.0);
    assert_eq!(single(evaluate("max.f32", "rrr", &[bits(2.0), NAN])), 2.0);
    assert!(single(evaluate("max.NaN.f32", "rrr", &[bits(2.0), NAN])).is_nan());
    assert!(single(evaluate("min.f32", "rrr", &[NAN, NAN])).is_nan());
    assert_eq!(evaluate("min.f32", "rrr", &[0, 0x8000_0000]), 0x8000_0000);
    assert_eq!(evaluate("max.f32", "rrr", &[0x8000_0000, 0]), 0);
    assert_eq!(
        single(evaluate(
            "max.f32",
            "rrrr",
            &[bits(1.0), bits(3.0), bits(2.0)]
        )),
        3.0
    );
}

#[test]
fn comparisons_with_nan() {
    let compare = |name: &str, a, b| evaluate(name, "prr", &[a, b]) == 1;
    let (one, two) = (bits(1.0), bits(2.0));
    for (name, with_nan) in [
        ("lt", false),
        ("le", false),
        ("ne", false),
        ("ltu", true),
        ("leu", true),
        ("neu", true),
        ("num", true),
    ] {
        let instruction = format!("setp.{name}.f32");
        assert!(compare(&instruction, one, two), "{name}");
        let with_nan = with_nan && name != "num";
        assert_eq!(compare(&instruction, one, NAN), with_nan, "{name}");
    }
    for (name, with_nan) in [
        ("gt", false),
        ("ge", false),
        ("eq", false),
        ("gtu", true),
        ("geu", true),
        ("equ", true),
        ("nan", true),
    ] {
        let instruction = format!("setp.{name}.f32");
        assert!(!compare(&instruction, one, two), "{name}");
        assert_eq!(compare(&instruction, NAN, two), with_nan, "{name}");
    }
    assert_eq!(evaluate("testp.finite.f32", "pr", &[NAN]), 0);
    assert_eq!(evaluate("testp.notanumber.f32", "pr", &[NAN]), 1);
    assert_eq!(evaluate("testp.infinite.f32", "pr", &[0xff80_0000]), 1);
    assert_eq!(evaluate("testp.subnormal.f32", "pr", &[5]), 1);
    assert_eq!(evaluate("testp.normal.f32", "pr", &[one]), 1);
}

#[test]
fn functions() {
    let one = |name, a: f32| single(evaluate(name, "rr", &[bits(a)]));
    assert_eq!(one("neg.f32", 1.0), -1.0);
    assert_eq!(one("abs.f32", -1.0), 1.0);
    assert_eq!(one("sqrt.rn.f32", 2.0), 2f32.sqrt());
    assert_eq!(one("rcp.rn.f32", 3.0), 1.0 / 3.0);
    assert_eq!(one("ex2.approx.f32", -2.0), 0.25);
    assert_eq!(one("ex2.approx.ftz.f32", -130.0), 0.0);
    assert_eq!(one("lg2.approx.f32", 0.125), -3.0);
    assert_eq!(one("rsqrt.approx.f32", 0.25), 2.0);
    assert_eq!(one("rcp.approx.ftz.f32", 2.0), 0.5);
    assert_eq!(one("cos.approx.f32", 0.0), 1.0);
    assert_eq!(one("tanh.approx.f32", f32::INFINITY), 1.0);
}

#[test]
fn arithmetic_of_doubles() {
    let two = |name, a: f64, b: f64| double(evaluate(name, "ddd", &[a.to_bits(), b.to_bits()]));
    assert_eq!(two("add.rn.f64", 0.1, 0.2), 0.1 + 0.2);
    assert_eq!(two("div.rn.f64", 1.0, 3.0), 1.0 / 3.0);
    assert_eq!(two("add.rp.f64", 1.0, 1e-30), 1f64.next_up());
    assert_eq!(two("mul.rz.f64", 0.1, 0.1), (0.1f64 * 0.1f64).next_down());
    assert_eq!(two("min.f64", f64::NAN, 1.0), 1.0);
    let step = f64::EPSILON;
    let values = [1.0 + step, 1.0 - step, -1.0].map(f64::to_bits);
    assert_eq!(
        double(evaluate("fma.rn.f64", "dddd", &values)),
        -step * step
    );
    assert_eq!(
        double(evaluate("sqrt.rn.f64", "dd", &[2f64.to_bits()])),
        2f64.sqrt()
    );
    let upper = evaluate("rcp.approx.ftz.f64", "dd", &[3f64.to_bits()]);
    assert_eq!(upper, 0x3fd5_5555_0000_0000);
    assert_eq!(
        evaluate("setp.le.f64", "pdd", &[1f64.to_bits(), 1f64.to_bits()]),
        1
    );
}
