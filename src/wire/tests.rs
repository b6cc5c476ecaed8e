//! Every reduction is read as it was written, and anything else is refused.

use burn::{
    backend::ir::ScalarIr,
    tensor::{FloatDType, IntDType},
};
use burn_lazy_kernels::{
    Axis, Expr, Formula, Ranges as Pairs, ReductionKind, Wanted,
    catalogue::ScalarOp,
    expr::{Dependence, Extreme, Place, Var},
};
use proptest::{prelude::*, test_runner::RngSeed};

use super::{VERSION, WireError, check, decode, encode, functions};
use crate::{ops::Reduction, ranges::Ranges};

/// A generator of random choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

fn var(id: u64, axes: impl Into<Dependence>, dim: usize) -> Expr {
    Expr::var(Var {
        id,
        axes: axes.into(),
        dim,
        scalar: false,
    })
}

fn scalar(id: u64) -> Expr {
    Expr::var(Var {
        id,
        axes: Dependence::default(),
        dim: 1,
        scalar: true,
    })
}

/// A formula of nodes of all kinds.
fn random(seed: u64) -> Formula {
    let mut choices = Choices(seed);
    let mut all = vec![
        var(0, Some(Axis::I), 3),
        var(1, Some(Axis::J), 3),
        var(2, Dependence::default(), 1),
        var(3, Dependence::BOTH, 1),
        scalar(4),
        Expr::iota(2, 3),
        Expr::place(Place::Index(Axis::J)),
        Expr::place(Place::Offset),
        Expr::constant(f64::INFINITY),
        Expr::constant(-0.5),
    ];
    let ops = ScalarOp::all();
    for _ in 0..8 {
        let arg = all[choices.below(all.len())].clone();
        let dim = arg.dim();
        all.push(match choices.below(7) {
            0 => arg.inner_sum(),
            1 => arg.inner_extremum(Extreme::Maximum),
            2 => arg.slice(choices.below(dim), 1),
            3 => Expr::concat(vec![arg.slice(0, 1), arg]),
            4 if dim == 1 => arg.expand(3),
            _ => {
                let op = ops[choices.below(ops.len())];
                let args = (1..op.arity()).map(|_| all[choices.below(all.len())].slice(0, 1));
                Expr::scalar(op, std::iter::once(arg.clone()).chain(args).collect())
            }
        });
    }
    // The first operand is added, so that the formula has a tensor in any case.
    let last = all.pop().expect("there are some");
    Formula::new(&(last.inner_sum() + all[0].inner_sum())).0
}

fn reduction_of(formula: Formula, kind: ReductionKind) -> Reduction {
    let counts = kind == ReductionKind::Count;
    let scalars = formula.scalars().zip(1..).map(|(_, k)| f64::from(k) / 7.0);
    Reduction {
        kind,
        wanted: Wanted {
            values: !counts,
            indices: counts || kind.selects(),
            state: kind.has_state(),
        },
        values: Some(FloatDType::F32),
        indices: IntDType::I32,
        axis: Axis::I,
        batch: vec![2, 1],
        m: 3,
        n: 5,
        squeezed: false,
        fold: None,
        ranges: None,
        scalars: scalars.collect(),
        formula,
    }
}

/// $w \, e^{-|x_i - y_j|^2 s}$ with a run-time scalar $s$, summed over $j$.
fn gaussian() -> Reduction {
    let [x, y] = [var(0, Some(Axis::I), 3), var(1, Some(Axis::J), 3)];
    let root = (-(x.sqdist(&y) * scalar(2))).exp() * var(3, Some(Axis::J), 2);
    let kind = ReductionKind::Sum(Default::default());
    Reduction {
        axis: Axis::J,
        batch: vec![],
        ..reduction_of(Formula::new(&root).0, kind)
    }
}

/// A random formula that a reduction of this kind takes.
fn formula_for(kind: ReductionKind, seed: u64) -> Formula {
    let root = random(seed).root().clone();
    match kind {
        ReductionKind::SoftmaxSum => Formula::new(&Expr::concat(vec![root.clone(), root])).0,
        _ => Formula::new(&root).0,
    }
}

fn error(scalars: &[ScalarIr]) -> String {
    decode(scalars).expect_err("it is none").to_string()
}

/// The configuration of the random tests: reproducible, and without files.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(24),
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn reductions_of_random_formulas_are_read_as_they_were_written(seed in any::<u64>()) {
        for kind in ReductionKind::all() {
            let reduction = reduction_of(formula_for(kind, seed), kind);
            prop_assert_eq!(decode(&encode(&reduction)), Ok(reduction));
        }
    }

    /// Scalars with changed words are refused, or give a valid reduction.
    #[test]
    fn corrupted_words_are_no_panic(seed in any::<u64>(), changes in 1usize..4) {
        let mut choices = Choices(seed);
        let mut scalars = match seed % 2 {
            0 => encode(&gaussian()),
            _ => encode(&with_ranges()),
        };
        for _ in 0..changes {
            let at = choices.below(scalars.len());
            let word = match scalars[at] {
                ScalarIr::UInt(word) => word,
                _ => 0,
            };
            match choices.below(8) {
                0 => scalars.truncate(at.max(1)),
                1 => scalars.insert(at, ScalarIr::UInt(word)),
                2 => scalars[at] = ScalarIr::UInt(u64::MAX),
                3 => scalars[at] = ScalarIr::Float(f64::NAN),
                // Changes the low bits of a byte, as most bytes of the text are small numbers.
                4 => scalars[at] = ScalarIr::UInt(word ^ ((choices.below(16) as u64) << (8 * choices.below(8)))),
                5 => scalars[at] = ScalarIr::UInt(word | 0xff << (8 * choices.below(8))),
                _ => scalars[at] = ScalarIr::UInt(word ^ (1 << choices.below(64))),
            }
        }
        if let Ok(reduction) = decode(&scalars) {
            prop_assert_eq!(check(&reduction), Ok(()));
            // Compares texts, as a number in the reduction or among the scalars can be NaN, which differs from itself.
            let again = encode(&reduction);
            prop_assert_eq!(format!("{:?}", encode(&decode(&again).unwrap())), format!("{again:?}"));
        }
    }
}

fn with_ranges() -> Reduction {
    let pairs = Pairs::new([3, 5], &[0..2, 2..3], &[1, 3], &[1..4, 0..1, 3..5]).unwrap();
    let order = [Some([2, 0, 1].into()), None];
    let pairs = pairs.with_order(order).unwrap();
    Reduction {
        ranges: Some(Ranges::reduced_over(Axis::J, pairs)),
        ..gaussian()
    }
}

#[test]
fn all_that_a_reduction_has_is_sent() {
    let own = gaussian();
    let all = [
        with_ranges(),
        Reduction {
            values: None,
            indices: IntDType::I64,
            fold: Some(2),
            ..own.clone()
        },
        Reduction {
            m: 1,
            squeezed: true,
            ..own.clone()
        },
        Reduction {
            m: 0,
            n: 0,
            batch: vec![0, 3],
            ..own.clone()
        },
        Reduction {
            kind: ReductionKind::LogSumExp { scores: 1 },
            ..own.clone()
        },
        Reduction {
            kind: ReductionKind::Smallest { k: 1024 },
            ..own
        },
    ];
    for reduction in all {
        let again = decode(&encode(&reduction)).unwrap();
        assert_eq!(again, reduction);
        // The order of the rows is sent, too.
        let order = |own: &Reduction| own.ranges.as_ref()?.order(Axis::I).cloned();
        assert_eq!(order(&again), order(&reduction));
    }
}

/// Burn runs a graph that it keeps with other run-time scalars, so only these may differ.
#[test]
fn run_time_scalars_are_apart() {
    let own = gaussian();
    let other = Reduction {
        scalars: vec![-0.0],
        ..own.clone()
    };
    let [own, other] = [encode(&own), encode(&other)];
    let differ = own.iter().zip(&other).filter(|(a, b)| a != b);
    assert_eq!(differ.count(), 1);
    assert_eq!(other.last(), Some(&ScalarIr::Float(-0.0)));
    assert!(own.len() < 20, "{} words", own.len());
}

#[test]
fn other_versions_are_refused_by_name() {
    let mut scalars = encode(&gaussian());
    scalars[0] = ScalarIr::UInt(VERSION + 1);
    let (given, expected) = (VERSION + 1, VERSION);
    assert_eq!(
        decode(&scalars),
        Err(WireError::Version { given, expected })
    );
    let mut scalars = encode(&gaussian());
    scalars[1] = ScalarIr::UInt(functions() + 1);
    assert_eq!(decode(&scalars), Err(WireError::Functions));
}

#[test]
fn scalars_of_another_number_are_refused() {
    let scalars = encode(&gaussian());
    assert_eq!(
        error(&[]),
        "scalar 0 of 0 is None, and no word of a reduction"
    );
    let text = error(&scalars[..scalars.len() - 1]);
    assert_eq!(text, "0 run-time scalars for 1");
    let more = [&scalars[..], &[ScalarIr::Float(1.0)]].concat();
    assert_eq!(error(&more), "2 run-time scalars for 1");
    let other = [&scalars[..], &[ScalarIr::Int(1)]].concat();
    assert!(error(&other).starts_with("a run-time scalar is Int(1)"));
    let mut long = scalars.clone();
    long[2] = ScalarIr::UInt(u64::MAX);
    assert!(error(&long).contains("are too few for a text of 18446744073709551615 bytes"));
    let mut short = scalars;
    let Some(ScalarIr::UInt(len)) = short.get_mut(2) else {
        panic!("the length is a word");
    };
    *len -= 1;
    assert!(
        error(&short).contains("cannot be read"),
        "{}",
        error(&short)
    );
}

/// A text that claims to be longer than it is.
#[test]
fn claimed_lengths_are_not_allocated() {
    for claimed in [1u64 << 20, 1 << 40, u64::MAX] {
        let text = postcard::to_allocvec(&claimed).unwrap();
        let mut scalars = encode(&gaussian())[..2].to_vec();
        scalars.push(ScalarIr::UInt(text.len() as u64));
        for bytes in text.chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            scalars.push(ScalarIr::UInt(u64::from_le_bytes(word)));
        }
        assert!(error(&scalars).contains("cannot be read"));
    }
}

#[test]
fn reductions_that_there_are_not_are_refused() {
    let own = gaussian();
    let refused: Vec<(Reduction, &str)> = vec![
        (
            Reduction {
                kind: ReductionKind::Smallest { k: 0 },
                ..own.clone()
            },
            "there is no Smallest { k: 0 } of 2 components",
        ),
        (
            Reduction {
                kind: ReductionKind::Smallest { k: 1025 },
                ..own.clone()
            },
            "there is no Smallest { k: 1025 } of 2 components",
        ),
        (
            Reduction {
                kind: ReductionKind::LogSumExp { scores: 3 },
                ..own.clone()
            },
            "there is no LogSumExp { scores: 3 } of 2 components",
        ),
        (
            Reduction {
                wanted: Wanted::INDICES,
                ..own.clone()
            },
            "does not give",
        ),
        (
            Reduction {
                kind: ReductionKind::Count,
                ..own.clone()
            },
            "does not give",
        ),
        (
            Reduction {
                indices: IntDType::U8,
                ..own.clone()
            },
            "indices are no U8",
        ),
        (
            Reduction {
                scalars: vec![],
                ..own.clone()
            },
            "0 run-time scalars for 1",
        ),
        (
            Reduction {
                fold: Some(0),
                ..own.clone()
            },
            "3 rows of a sum do not become Some(0)",
        ),
        (
            Reduction {
                fold: Some(4),
                ..own.clone()
            },
            "3 rows of a sum do not become Some(4)",
        ),
        (
            Reduction {
                squeezed: true,
                ..own.clone()
            },
            "3 rows cannot be left out",
        ),
        (
            Reduction {
                batch: vec![usize::MAX, 2],
                ..own.clone()
            },
            "have more rows, columns or results than",
        ),
        (
            Reduction {
                n: 1 << 32,
                ..own.clone()
            },
            "have more rows, columns or results than",
        ),
        (
            Reduction {
                n: 6,
                ..with_ranges()
            },
            "are not those of 3 x 6 pairs",
        ),
        (
            Reduction {
                formula: Formula::new(&(Expr::place(Place::Offset) * scalar(0))).0,
                ..own.clone()
            },
            "there is no tensor in the formula",
        ),
        (
            Reduction {
                formula: Formula::new(
                    &(own.formula.root().clone() * Expr::iota(0, 1 << 23).inner_sum()),
                )
                .0,
                ..own.clone()
            },
            "components, where at most 4194304 are read",
        ),
        (
            Reduction {
                formula: Formula::new(
                    &(0..2500).fold(own.formula.root().clone(), |all, _| all.sin()),
                )
                .0,
                ..own
            },
            "levels, where at most 2000 are read",
        ),
    ];
    for (reduction, text) in refused {
        let refused = error(&encode(&reduction));
        assert!(refused.contains(text), "{refused} is not: {text}");
    }
}
