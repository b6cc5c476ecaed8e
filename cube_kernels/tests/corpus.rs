//! Reduces a few formulas with every reduction on the host and compares with the definition in F64. It needs neither
//! threads nor a device, so that Miri can run it: `cargo +nightly miri test -p burn-lazy-kernels --test corpus`.

#[path = "kernels/tensors.rs"]
mod tensors;

use burn_lazy_kernels::{
    Axis, Expr, Formula, Precision, Program, ReductionKind, Wanted,
    catalogue::ScalarOp,
    expr::{Place, Var},
    host::{HostProgram, HostTensor, HostValues, Instructions},
    reference::{self, HostOperand},
};

use tensors::{Tensor, of_all_pairs};

fn operand(id: u64, axis: Option<Axis>, dim: usize) -> Expr {
    Expr::var(Var {
        id,
        axes: axis.into(),
        dim,
        scalar: false,
    })
}

/// Three formulas: one of distances whose sum is a loop, one of functions, and one of masks and places.
fn formulas() -> Vec<Expr> {
    let x = |dim| operand(0, Some(Axis::I), dim);
    let y = |dim| operand(1, Some(Axis::J), dim);
    let p = operand(2, None, 3);
    let far = Expr::place(Place::Offset).abs() - 1.5;
    let far = Expr::scalar(ScalarOp::Step, vec![far]);
    vec![
        (-x(20).sqdist(&y(20))).exp() * p.clone(),
        (x(3) * y(3)).sin() + (x(3).square() + 1.0).log() / (y(3).abs() + p),
        Expr::scalar(
            ScalarOp::MaskWhere,
            vec![x(3) - y(3), far, Expr::constant(0.25)],
        ),
    ]
}

/// A number that depends only on `k`.
fn number(k: usize) -> f64 {
    // The product must not overflow where indices have 32 bits.
    ((k as u64 * 2_654_435_761 % 1024) as f64 - 511.5) / 512.0
}

/// Reduces one formula and compares with the reference.
fn check(expr: &Expr, kind: ReductionKind, (m, n): (usize, usize), single: bool) {
    let (formula, leaves) = Formula::new(expr);
    let rows = |var: &Var| match var.axis() {
        Some(Axis::I) => m,
        Some(Axis::J) => n,
        None => 1,
    };
    let values: Vec<Vec<f64>> = leaves
        .iter()
        .map(|var| {
            (0..rows(var) * var.dim)
                .map(|k| number(k + 37 * var.dim))
                .collect()
        })
        .collect();
    let precision = if single {
        Precision::F32
    } else {
        Precision::F64
    };
    let tensor = |(var, values): (&Var, &Vec<f64>)| {
        let shape = match var.axis() {
            Some(_) => vec![rows(var), var.dim],
            None => vec![var.dim],
        };
        Tensor::new(values, &shape, precision)
    };
    let tensors: Vec<Tensor> = leaves.iter().zip(&values).map(tensor).collect();
    let tensors: Vec<HostTensor> = tensors.iter().map(Tensor::view).collect();
    let operands: Vec<HostOperand> = values
        .iter()
        .map(|data| HostOperand {
            data: data.clone(),
            batch: 1,
        })
        .collect();
    for axis in [Axis::J, Axis::I] {
        let size = match axis {
            Axis::J => (m, n),
            Axis::I => (n, m),
        };
        let program = HostProgram::new(&Program::lower(&formula, axis));
        let launch = of_all_pairs(&program, kind, size, precision, Instructions::detect());
        let output = launch.run(&tensors, &[], Wanted::VALUES);
        let got = match output.expect("the operands fit").values {
            Some(HostValues::F32(got)) => got.into_iter().map(f64::from).collect(),
            Some(HostValues::F64(got)) => got,
            other => panic!("values of another type: {other:?}"),
        };
        let (want, _) = reference::reduce(&formula, kind, axis, (1, m, n), &operands);
        assert_eq!(got.len(), want.len(), "{kind:?} of {formula}");
        let tolerance = if single { 3e-5 } else { 1e-11 };
        for (got, want) in got.iter().zip(&want) {
            let scale = want.abs().max(1.0);
            assert!(
                got == want
                    || (got.is_nan() && want.is_nan())
                    || (got - want).abs() <= tolerance * scale,
                "{kind:?} over {axis:?} of {formula}: {got}, expected {want}"
            );
        }
    }
}

#[test]
fn every_reduction_of_a_few_formulas_matches_the_definition() {
    let formulas = formulas();
    // Miri takes minutes for one formula.
    let formulas = &formulas[if cfg!(miri) { 1..2 } else { 0..formulas.len() }];
    let sizes: &[(usize, usize)] = match cfg!(miri) {
        true => &[(3, 5)],
        // More columns than a tile has, and more rows than share a tile.
        false => &[(3, 5), (130, 300), (1, 1), (4, 0)],
    };
    for expr in formulas {
        for kind in ReductionKind::all() {
            for (turn, size) in sizes.iter().enumerate() {
                check(expr, kind, *size, turn % 2 == 0);
            }
        }
    }
}
