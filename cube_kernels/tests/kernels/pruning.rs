//! Tests of pruning against all pairs one by one: orders of points, boxes, and lists of blocks of pairs that may count.

use burn_lazy_kernels::{
    Axis, Expr, Formula, OperandError, Precision, Ranges,
    catalogue::ScalarOp,
    expr::Place,
    host::{HostError, HostTensor},
    pruning::{Arrangement, Blocks, Bounds, End, Kept, Operands, Pruning, Rule},
};

use crate::{
    pruning_clouds::{clouds, is_known},
    pruning_problems::{
        Problem, SMALL, USUAL, formulas, indices, matrix, operand, ranges, smallest,
    },
    support::{Rng, p, x, y},
    tensors::{Numbers, Tensor},
};

/// Checks that every pair is kept whose value is among the `place` smallest (or largest) values of its row.
fn check_extremes(
    (pruning, axes): (&Pruning, [&Arrangement; 2]),
    values: &[Vec<f64>],
    (place, end): (usize, End),
) -> Result<(), String> {
    let [rows, columns] = axes.map(indices);
    let sign = match end {
        End::Smallest => 1.0,
        End::Largest => -1.0,
    };
    let limit = |row: &usize| {
        let own: Vec<f64> = values[*row].iter().map(|value| sign * value).collect();
        sign * smallest(&own, place)
    };
    let limits: Vec<f64> = rows.iter().map(limit).collect();
    let rule = match end {
        End::Smallest => Rule::Smallest(&limits),
        End::Largest => Rule::Largest(&limits),
    };
    let kept = matrix(&ranges(
        pruning.kept(rule, u128::MAX).expect("the operands fit"),
    ));
    for (position, row) in rows.iter().enumerate() {
        for (at, column) in columns.iter().enumerate() {
            let (value, limit) = (values[*row][*column], limits[position]);
            let is_beyond = sign * value > sign * limit;
            if !kept[position][at] && !is_beyond {
                return Err(format!(
                    "{value:e} of {row}, {column} is left out, {end:?} of {limit:e}"
                ));
            }
        }
    }
    Ok(())
}

/// Checks that every pair is kept whose value is not 0. Returns the parts of pairs that are kept, sorted and in place.
fn check_zeros(problem: &Problem, blocks: [Blocks; 2], name: &str) -> [f64; 2] {
    let values = problem.values();
    let parts = std::cell::RefCell::new(Vec::new());
    problem.pruned(blocks, |pruning, axes| {
        let [rows, columns] = axes.map(indices);
        let kept = pruning
            .kept(Rule::NotZero, u128::MAX)
            .expect("the operands fit");
        let kept = ranges(kept);
        let all = matrix(&kept);
        for (position, row) in rows.iter().enumerate() {
            for (at, column) in columns.iter().enumerate() {
                let value = values[*row][*column];
                assert!(
                    all[position][at] || value == 0.0,
                    "{name}: {value:e} of {row}, {column} is left out"
                );
            }
        }
        let part = kept.pairs() as f64 / (rows.len() * columns.len()) as f64;
        parts.borrow_mut().push(part);
    });
    let parts = parts.into_inner();
    [parts[0], parts[1]]
}

#[test]
fn what_counts_among_the_smallest_and_largest_is_never_left_out() {
    const SIZES: [usize; 2] = [45, 83];
    for dim in [1, 2, 3, 6] {
        let [rows, columns] = SIZES.map(|size| clouds(size, dim, size as u64));
        for ((cloud, rows), (_, columns)) in rows.iter().zip(&columns) {
            for (name, expr) in formulas(dim) {
                for (precision, reduced) in [
                    (Precision::F16, Axis::J),
                    (Precision::F32, Axis::J),
                    (Precision::F64, Axis::I),
                ] {
                    let operand = |id| operand(id, [rows, columns], dim);
                    let problem = Problem::new((&expr, reduced), SIZES, precision, operand);
                    let values = problem.values();
                    problem.pruned(SMALL, |pruning, axes| {
                        for which in [(1, End::Smallest), (5, End::Smallest), (3, End::Largest)] {
                            let checked = check_extremes((pruning, axes), &values, which);
                            if let Err(wrong) = checked {
                                panic!("{wrong}: {name}, {dim} components, {cloud}, {precision:?}");
                            }
                        }
                    });
                }
            }
        }
    }
}

/// Sizes around the sizes of blocks.
const SIZES: [usize; 9] = [0, 1, 15, 16, 17, 63, 64, 65, 4097];

#[test]
fn orders_hold_each_point_once_and_unknown_ones_last() {
    for size in SIZES {
        for dim in [1, 3, 9] {
            for (name, points) in clouds(size, dim, size as u64) {
                let expr = x(0, dim).sqdist(&y(1, dim));
                let values = |_| points.clone();
                let problem = Problem::new((&expr, Axis::J), [size, size], Precision::F32, values);
                problem.arranged(
                    |own| Arrangement::sorted(own, Blocks::ROWS),
                    |[rows, columns], _| {
                        let order = indices(rows);
                        let mut sorted = order.clone();
                        sorted.sort_unstable();
                        assert!(sorted.into_iter().eq(0..size), "{size} points, {name}");
                        assert_eq!(order, indices(columns), "{size} equal points, {name}");
                        // Only the first eight of nine coordinates are used for sorting.
                        let seen = |index: &&usize| is_known(&points[*index * dim..][..dim.min(8)]);
                        let known = order.iter().take_while(seen).count();
                        let rest = &order[known..];
                        assert!(
                            !rest.iter().any(|index| seen(&index)),
                            "{size} points, {name}"
                        );
                        assert!(rest.is_sorted(), "{size} points, {name}");
                    },
                );
            }
        }
    }
}

#[test]
fn neighbours_share_blocks() {
    const SIZE: usize = 4097;
    let points = Rng::new(3).vec(SIZE * 2, 0.0, 1.0);
    let expr = x(0, 2).sqdist(&y(1, 2));
    let problem = Problem::new((&expr, Axis::J), [SIZE; 2], Precision::F32, |_| {
        points.clone()
    });
    problem.arranged(
        |own| Arrangement::sorted(own, Blocks::ROWS),
        |[rows, _], _| {
            for (size, most) in [(16, 0.12), (64, 0.22), (256, 0.4)] {
                let extent = |block: &[usize], k: usize| {
                    let own = || block.iter().map(|index| points[index * 2 + k]);
                    own().fold(0.0, f64::max) - own().fold(1.0, f64::min)
                };
                let order = indices(rows);
                let blocks: Vec<&[usize]> = order.chunks_exact(size).collect();
                let sum: f64 = blocks
                    .iter()
                    .map(|block| extent(block, 0).max(extent(block, 1)))
                    .sum();
                let mean = sum / blocks.len() as f64;
                assert!(mean < most, "blocks of {size} points reach over {mean}");
            }
        },
    );
}

#[test]
fn zeros_are_left_out_and_nothing_else() {
    const SIZES: [usize; 2] = [130, 190];
    let distance = |dim| x(0, dim).sqdist(&y(1, dim));
    let offset = Expr::place(Place::Offset);
    let compare = |op, a: &Expr, b: f64| Expr::scalar(op, vec![a.clone(), Expr::constant(b)]);
    let later = compare(ScalarOp::Less, &offset, 0.0);
    let window = compare(ScalarOp::LessEqual, &offset.abs(), 3.0);
    let near = compare(ScalarOp::Less, &distance(2), 0.01);
    let same = Expr::scalar(
        ScalarOp::Equal,
        vec![x(0, 2).slice(0, 1), y(1, 2).slice(1, 1)],
    );
    let zero = Expr::constant(0.0);
    let masked = Expr::scalar(ScalarOp::MaskWhere, vec![distance(2), later.clone(), zero]);
    let formulas = [
        ("causal", masked, 1.0),
        ("a window", window, 0.2),
        ("near", near, 1.0),
        ("equal", same, 1.0),
        (
            "a narrow Gaussian",
            (distance(2) * -5e4).exp() * y(2, 1),
            1.0,
        ),
    ];
    for (cloud, points) in clouds(SIZES[0].max(SIZES[1]), 2, 5) {
        let [rows, columns] = SIZES.map(|size| points[..size * 2].to_vec());
        for (name, expr, most) in &formulas {
            for (precision, reduced) in [(Precision::F32, Axis::J), (Precision::F64, Axis::I)] {
                let values = |id| operand(id, [&rows, &columns], 2);
                let problem = Problem::new((expr, reduced), SIZES, precision, values);
                let name = format!("{name}, {cloud}, {precision:?}");
                let [sorted, in_place] = check_zeros(&problem, SMALL, &name);
                check_zeros(&problem, USUAL, &name);
                if cloud == "uniform" {
                    assert!(
                        sorted.min(in_place) <= 0.6 * most,
                        "{name}: {sorted}, {in_place}"
                    );
                }
            }
        }
    }
}

#[test]
fn blocks_behind_a_mask_are_left_out() {
    const SIZE: usize = 1000;
    let offset = Expr::place(Place::Offset);
    let later = Expr::scalar(ScalarOp::Less, vec![offset, Expr::constant(0.0)]);
    let masked = Expr::scalar(
        ScalarOp::MaskWhere,
        vec![x(0, 1) * y(1, 1), later, Expr::constant(0.0)],
    );
    let values = |id| Rng::new(id).vec(SIZE, 1.0, 2.0);
    let problem = Problem::new((&masked, Axis::J), [SIZE; 2], Precision::F32, values);
    let bounds = Bounds::new(&problem.formula, Axis::J, Precision::F32).expect("a mask is known");
    let arrange =
        |own: &Operands| Arrangement::in_place(own, USUAL[usize::from(own.axis == Axis::J)]);
    problem.arranged(arrange, |axes, tensors| {
        assert!(axes[0].order().is_none());
        let pruning = Pruning::new(&bounds, axes, tensors, &[]).expect("the operands fit");
        let kept = ranges(
            pruning
                .kept(Rule::NotZero, u128::MAX)
                .expect("the operands fit"),
        );
        for row in 0..SIZE {
            let last = row / 16 * 16 + 15;
            let end = (last / 64 * 64 + 64).min(SIZE);
            let mut own = kept.of_row(0, row);
            assert_eq!((own.next(), own.next()), (Some(0..end), None), "row {row}");
        }
    });
}

/// Distances between random points of rows and of columns.
fn two_clouds(sizes: [usize; 2], dim: usize) -> Problem {
    let expr = x(0, dim).sqdist(&y(1, dim));
    let values = |id| Rng::new(id).vec(sizes[id as usize] * dim, 0.0, 1.0);
    Problem::new((&expr, Axis::J), sizes, Precision::F32, values)
}

/// The limit of each row by position: slightly above the `k`-th smallest value in the blocks `seeds`.
fn limits(problem: &Problem, axes: [&Arrangement; 2], seeds: &Ranges, k: usize) -> Vec<f64> {
    let [rows, columns] = axes.map(indices);
    let value = |row: usize, column: usize| -> f64 {
        let point = |axis: usize, at: usize| match &problem.tensors[axis].numbers {
            Numbers::Single(values) => values[at * 3..][..3].to_vec(),
            _ => unreachable!("they are in F32"),
        };
        let pairs = point(0, row).into_iter().zip(point(1, column));
        pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum()
    };
    let limit = |(position, row): (usize, &usize)| {
        let own = seeds.of_row(0, position).flatten();
        let values: Vec<f64> = own.map(|at| value(*row, columns[at])).collect();
        match values.len() < k {
            true => f64::INFINITY,
            false => 1.0001 * smallest(&values, k),
        }
    };
    rows.iter().enumerate().map(limit).collect()
}

#[test]
fn few_pairs_of_a_cloud_are_kept() {
    let problem = two_clouds([4096, 4096], 3);
    let bounds =
        Bounds::new(&problem.formula, Axis::J, Precision::F32).expect("distances are known");
    let arrange =
        |own: &Operands| Arrangement::sorted(own, USUAL[usize::from(own.axis == Axis::J)]);
    problem.arranged(arrange, |axes, tensors| {
        let pruning = Pruning::new(&bounds, axes, tensors, &[]).expect("the operands fit");
        let seeds = pruning.seeds(2, End::Smallest).expect("the operands fit");
        assert_eq!(seeds.lengths_of_rows(&[]), vec![128; 4096]);
        let limits = limits(&problem, axes, &seeds, 10);
        let kept = ranges(
            pruning
                .kept(Rule::Smallest(&limits), u128::MAX)
                .expect("they fit"),
        );
        let part = kept.pairs() as f64 / (4096.0 * 4096.0);
        assert!(part < 0.3, "{part} of the pairs are kept");
        let estimate = pruning.sample(10, End::Smallest).expect("the operands fit");
        assert!(
            part < estimate && estimate < 5.0 * part,
            "{estimate} for {part}"
        );
        // For the 2048 smallest of 4096 columns hardly any block can be left out, and for 5000 none can.
        let estimates = [2048, 5000].map(|count| pruning.sample(count, End::Smallest));
        let [half, all] = estimates.map(|own| own.expect("the operands fit"));
        assert!(half > 0.9 && all == 1.0, "{half}, {all}");
        let some = kept.pairs();
        let rule = Rule::Smallest(&limits);
        assert_eq!(
            pruning.kept(rule, some).expect("they fit"),
            Kept::Ranges(kept)
        );
        let too_many = pruning.kept(rule, some - 1).expect("they fit");
        assert_eq!(too_many, Kept::TooMany(some));
        let Kept::TooMany(about) = pruning.kept(rule, some / 10).expect("they fit") else {
            panic!("a tenth is not enough");
        };
        let ratio = about as f64 / some as f64;
        assert!(ratio > 0.7 && ratio < 1.4, "about {about} of {some}");
        // The farthest points are in the corners of the cube.
        let seeds = pruning.seeds(1, End::Largest).expect("the operands fit");
        let far = self::limits(&problem, axes, &seeds, 1);
        let mean = far.iter().sum::<f64>() / far.len() as f64;
        assert!(mean > 0.75, "the farthest blocks are at {mean}");
    });
}

#[test]
fn seeds_hold_near_columns() {
    let blocks = |axis| match axis {
        Axis::I => Blocks { rows: 2, group: 16 },
        Axis::J => Blocks { rows: 8, group: 4 },
    };
    let arrange = |own: &Operands| Arrangement::sorted(own, blocks(own.axis));
    // With many rows the search begins with groups, with few rows it looks at each block.
    for (rows, most) in [(20_000, 1.6), (300, 2.8)] {
        let problem = two_clouds([rows, 6000], 3);
        let bounds = Bounds::new(&problem.formula, Axis::J, Precision::F32);
        let bounds = bounds.expect("distances are known");
        problem.arranged(arrange, |axes, tensors| {
            let pruning = Pruning::new(&bounds, axes, tensors, &[]).expect("the operands fit");
            let seeds = pruning.seeds(3, End::Smallest).expect("the operands fit");
            assert_eq!(seeds.lengths_of_rows(&[]), vec![24; rows]);
            let own = limits(&problem, axes, &seeds, 1);
            // The radius of a ball that contains one column on average.
            let radius = (3.0 / (4.0 * std::f64::consts::PI * 6000.0)).powf(1.0 / 3.0);
            let mean = own.iter().map(|square| square.sqrt()).sum::<f64>() / own.len() as f64;
            assert!(mean < most * radius, "{mean} for {radius}, {rows} rows");
        });
    }
}

#[test]
fn nothing_is_known_of_some_formulas() {
    let nothing =
        |expr: &Expr| Bounds::new(&Formula::new(expr).0, Axis::J, Precision::F32).is_none();
    assert!(nothing(&p(0, 3).sqnorm()));
    assert!(nothing(&x(0, 3).sqdist(&y(1, 3)).spherical_bessel(1)));
    assert!(!nothing(&x(0, 3).sqnorm()));
    assert!(!nothing(&x(0, 3).sqdist(&y(1, 3))));
}

#[test]
fn empty_axes_have_no_pairs() {
    for sizes in [[0, 0], [0, 5], [5, 0]] {
        let problem = two_clouds(sizes, 3);
        problem.pruned(USUAL, |pruning, _| {
            let none = Ranges::lengths(&[sizes[0]], &[sizes[1]]).expect("one segment each");
            assert_eq!(pruning.seeds(3, End::Largest), Ok(none.clone()));
            let limits = vec![1.0; sizes[0]];
            assert_eq!(
                pruning.kept(Rule::Smallest(&limits), 0),
                Ok(Kept::Ranges(none))
            );
            assert_eq!(pruning.sample(3, End::Smallest), Ok(0.0));
        });
    }
}

#[test]
fn unknown_limits_keep_their_rows() {
    let problem = two_clouds([64, 640], 3);
    problem.pruned(SMALL, |pruning, _| {
        let limits: Vec<f64> = (0..64)
            .map(|row| if row == 21 { f64::NAN } else { -1.0 })
            .collect();
        let kept = ranges(
            pruning
                .kept(Rule::Smallest(&limits), u128::MAX)
                .expect("they fit"),
        );
        let lengths: Vec<usize> = (0..64)
            .map(|row| if row / 4 == 5 { 640 } else { 0 })
            .collect();
        assert_eq!(kept.lengths_of_rows(&[]), lengths);
    });
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let problem = two_clouds([20, 30], 3);
    let own: Vec<HostTensor> = problem.tensors.iter().map(Tensor::view).collect();
    let short = Tensor::new(&[0.0; 57], &[19, 3], Precision::F32);
    let batches = Tensor::new(&[0.0; 120], &[2, 20, 3], Precision::F32);
    let double = Tensor::new(&[0.0; 60], &[20, 3], Precision::F64);
    let narrow = Tensor::new(&[0.0; 40], &[20, 2], Precision::F32);
    let flat = Tensor::new(&[0.0; 3], &[3], Precision::F32);
    let arranged = |tensors: &[HostTensor]| {
        let operands = Operands {
            formula: &problem.formula,
            axis: Axis::I,
            tensors,
            size: 20,
            precision: Precision::F32,
        };
        Arrangement::sorted(&operands, Blocks::ROWS).map(|own| own.size())
    };
    assert_eq!(arranged(&own), Ok(20));
    assert!(matches!(
        arranged(&own[..1]),
        Err(HostError::Operands(OperandError::Count { .. }))
    ));
    for wrong in [&short, &batches, &double, &narrow, &flat] {
        let tensors = [wrong.view(), own[1]];
        let refused = matches!(
            arranged(&tensors),
            Err(HostError::Operands(OperandError::Tensor { index: 0, .. }))
        );
        assert!(refused, "{:?}", wrong.shape);
    }
    // One row may stand for all rows, and batches of size 1 are allowed.
    let one = Tensor::new(&[0.0; 3], &[1, 1, 3], Precision::F32);
    assert_eq!(arranged(&[one.view(), own[1]]), Ok(20));
}

#[test]
fn weights_do_not_change_the_order() {
    const SIZES: [usize; 2] = [500, 700];
    let operand = |id: u64| match id {
        // Weights vary far more than the coordinates of points.
        2 => Rng::new(id).vec(SIZES[1], 0.0, 1e3),
        5 => Rng::new(id).vec(SIZES[0], 0.0, 1e3),
        id => Rng::new(id).vec(SIZES[id as usize] * 3, 0.0, 1.0),
    };
    let orders = |expr: &Expr| {
        let problem = Problem::new((expr, Axis::J), SIZES, Precision::F32, operand);
        problem.arranged(
            |own| Arrangement::sorted(own, Blocks::ROWS),
            |axes, _| axes.map(indices),
        )
    };
    let distance = x(0, 3).sqdist(&y(1, 3));
    let weighted = (-distance.clone()).exp() * y(2, 1) + x(5, 1);
    assert_eq!(orders(&weighted), orders(&distance));
}

#[test]
fn strides_make_no_difference() {
    let mut problem = two_clouds([300, 500], 3);
    let all = |problem: &Problem| {
        let all = std::cell::RefCell::new(Vec::new());
        problem.pruned(USUAL, |pruning, axes| {
            let limits = vec![0.02; 300];
            let kept = pruning.kept(Rule::Smallest(&limits), u128::MAX);
            all.borrow_mut().push((kept, axes.map(indices)));
        });
        all.into_inner()
    };
    let before = all(&problem);
    for (tensor, size) in problem.tensors.iter_mut().zip([300, 500]) {
        let Numbers::Single(values) = &tensor.numbers else {
            unreachable!("they are in F32");
        };
        let at = |k: usize, row: usize| values[row * 3 + k];
        let turned = (0..3).flat_map(|k| (0..size).map(move |row| at(k, row)));
        tensor.numbers = Numbers::Single(turned.collect());
        tensor.strides = vec![1, size as isize];
    }
    assert_eq!(all(&problem), before);
}

#[test]
fn an_order_may_be_shared() {
    let problem = two_clouds([64, 64], 3);
    let order: std::sync::Arc<[u32]> = (0..64).rev().collect();
    let arrange = |own: &Operands| Arrangement::in_order(own, Blocks::ROWS, order.clone());
    problem.arranged(arrange, |axes, _| {
        for axis in axes {
            assert!(std::sync::Arc::ptr_eq(
                axis.order().expect("it has one"),
                &order
            ));
        }
    });
    let twice = |_: &Operands| std::sync::Arc::from([[0; 32], [1; 32]].concat());
    let wrong = std::panic::catch_unwind(|| {
        let arrange = |own: &Operands| Arrangement::in_order(own, Blocks::ROWS, twice(own));
        problem.arranged(arrange, |_, _| ())
    });
    assert!(wrong.is_err(), "rows are there twice");
}
