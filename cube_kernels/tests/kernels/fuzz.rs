//! Reads damaged texts of formulas. Each must give an error or a formula that can be used.

use burn_lazy_kernels::{Axis, Expr, Formula, Program, catalogue::ScalarOp};
use serde_json::Value;

use crate::{
    random,
    support::{Rng, p, s, x, y},
};

/// A number below `most`.
fn below(rng: &mut Rng, most: usize) -> usize {
    (rng.bits() % most.max(1) as u64) as usize
}

/// Formulas with all kinds of nodes.
fn formulas() -> Vec<Formula> {
    let mut all: Vec<Expr> = ScalarOp::all()
        .into_iter()
        .map(|op| {
            let args = [x(0, 2), y(1, 2), p(2, 1)];
            Expr::scalar(op, args[..op.arity()].to_vec())
        })
        .collect();
    all.push((-x(0, 3).sqdist(&y(1, 3))).exp() * p(2, 1) + s(3));
    all.push(Expr::concat(vec![
        x(0, 4).slice(1, 2),
        y(1, 1).expand(3),
        Expr::iota(0, 5),
    ]));
    let mut rng = Rng::new(7);
    for _ in 0..200 {
        let recipe: Vec<u8> = (0..40).map(|_| rng.bits() as u8).collect();
        all.push(random::formula(&recipe));
    }
    all.iter().map(|expr| Formula::new(expr).0).collect()
}

/// Reads a formula. If it is valid, uses it in every way, which must not panic.
fn read(text: &[u8]) -> bool {
    let Ok(formula) = serde_json::from_slice::<Formula>(text) else {
        return false;
    };
    assert!(!formula.to_string().is_empty());
    let again = serde_json::to_vec(&formula).expect("it is serialisable");
    assert_eq!(
        serde_json::from_slice::<Formula>(&again).expect("it is valid"),
        formula
    );
    for axis in [Axis::I, Axis::J] {
        assert_eq!(Program::lower(&formula, axis).dim, formula.dim());
    }
    true
}

#[test]
fn random_bytes_are_refused() {
    let mut rng = Rng::new(1);
    for _ in 0..100_000 {
        let len = below(&mut rng, 60);
        let bytes: Vec<u8> = (0..len).map(|_| rng.bits() as u8).collect();
        assert!(!read(&bytes), "{bytes:?}");
    }
}

/// A number at the end of a range of an integer type, or any number.
fn number(rng: &mut Rng) -> u64 {
    let ends = [
        0,
        1,
        2,
        3,
        255,
        1 << 20,
        1 << 32,
        1 << 53,
        i64::MAX as u64,
        u64::MAX - 1,
        u64::MAX,
    ];
    match below(rng, 3) {
        0 => ends[below(rng, ends.len())],
        1 => below(rng, 40) as u64,
        _ => rng.bits(),
    }
}

/// Changes one value somewhere in `value`.
fn mutate(value: &mut Value, rng: &mut Rng) {
    match value {
        Value::Array(values) if !values.is_empty() && below(rng, 5) > 0 => {
            let at = below(rng, values.len());
            mutate(&mut values[at], rng);
        }
        Value::Array(values) => {
            let at = below(rng, values.len() + 1);
            match below(rng, 4) {
                0 => values.truncate(at),
                1 if at < values.len() => {
                    let twice = values[at].clone();
                    values.push(twice);
                }
                2 if at < values.len() => {
                    values.remove(at);
                }
                _ => values.insert(at, number(rng).into()),
            }
        }
        Value::Object(entries) => {
            let at = below(rng, entries.len());
            if let Some((_, value)) = entries.iter_mut().nth(at) {
                mutate(value, rng);
            }
        }
        Value::String(text) => {
            let ops = ScalarOp::all();
            *text = format!("{:?}", ops[below(rng, ops.len())]);
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Number(_) | Value::Null => *value = number(rng).into(),
    }
}

#[test]
fn changed_formulas_are_refused_or_valid() {
    let texts: Vec<Vec<u8>> = formulas()
        .iter()
        .map(|formula| serde_json::to_vec(formula).expect("it is serialisable"))
        .collect();
    let mut rng = Rng::new(2);
    let (mut valid, mut refused) = (0, 0);
    for turn in 0..100_000 {
        let text = &texts[below(&mut rng, texts.len())];
        let changed = match turn % 2 {
            // Change single bytes.
            0 => {
                let mut text = text.clone();
                for _ in 0..=below(&mut rng, 3) {
                    let at = below(&mut rng, text.len());
                    text[at] = match below(&mut rng, 3) {
                        0 => rng.bits() as u8,
                        _ => b'0' + below(&mut rng, 10) as u8,
                    };
                }
                text
            }
            // Change values of the JSON document.
            _ => {
                let mut value: Value = serde_json::from_slice(text).expect("it is JSON");
                for _ in 0..=below(&mut rng, 3) {
                    mutate(&mut value, &mut rng);
                }
                serde_json::to_vec(&value).expect("it is JSON")
            }
        };
        match read(&changed) {
            true => valid += 1,
            false => refused += 1,
        }
    }
    // With too many or too few valid texts, the changes would be too fine or too coarse to find
    // anything.
    assert!(
        valid > 1000 && refused > 1000,
        "{valid} valid, {refused} refused"
    );
}
