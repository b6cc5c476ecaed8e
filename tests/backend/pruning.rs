//! Reductions that leave out pairs, against reductions of all pairs. Results must be equal in every
//! bit.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyTensor, Pruned, Pruning, Unpruned};

use super::support::*;

/// Points, some with special values.
struct Cloud {
    name: &'static str,
    points: Vec<f64>,
}

/// Clouds of `size` points with `dim` components.
fn clouds(size: usize, dim: usize, seed: u64) -> Vec<Cloud> {
    let mut random = Random::new(seed);
    let uniform = random.vec(size * dim);
    let moved = |by: &dyn Fn(f64) -> f64| uniform.iter().map(|v| by(*v)).collect::<Vec<f64>>();
    let with = |every: usize, value: f64| {
        let mut points = uniform.clone();
        for at in (0..size).step_by(every) {
            points[at * dim + at % dim] = value;
        }
        points
    };
    let centres: Vec<f64> = (0..8 * dim).map(|_| 10.0 * random.next()).collect();
    let clusters = (0..size * dim)
        .map(|at| centres[at / dim % 8 * dim + at % dim] + 0.1 * uniform[at])
        .collect();
    let mut outlier = uniform.clone();
    if size > 2 {
        outlier[2 * dim] = 1e15;
    }
    let cloud = |name, points| Cloud { name, points };
    vec![
        cloud("uniform", uniform.clone()),
        cloud("clusters", clusters),
        // Points at the sites of a lattice: many equal distances, and several points at each site.
        cloud("lattice", moved(&|v| (v * 3.0).round())),
        cloud("equal", vec![0.5; size * dim]),
        cloud("outlier", outlier),
        cloud("far from the origin", moved(&|v| v + 1e6)),
        cloud("so small that squares vanish", moved(&|v| v * 1e-22)),
        cloud("so large that squares are infinite", moved(&|v| v * 1e20)),
        cloud(
            "zeros of both signs",
            moved(&|v| if v < 0.0 { -0.0 } else { 0.0 }),
        ),
        cloud("one NaN", with(size.max(1), f64::NAN)),
        cloud("some NaN", with(17, f64::NAN)),
        cloud("all NaN", vec![f64::NAN; size * dim]),
        cloud("infinities", with(13, f64::INFINITY)),
        cloud("negative infinities", with(29, f64::NEG_INFINITY)),
    ]
}

/// The bits of values. All NaN are equal.
fn bits<const R: usize>(values: Tensor<R>) -> Vec<Option<u64>> {
    let bits = |value: f64| (!value.is_nan()).then(|| value.to_bits());
    host(values).into_iter().map(bits).collect()
}

/// Asserts that pruned reductions of `k` give exactly the results of all pairs.
fn check(what: &str, k: &LazyTensor, axis: Axis, counts: &[usize]) {
    let both = || [Pruning::Exact, Pruning::Off].map(|how| k.prune(how));
    let found = k.prune(Pruning::Exact).pruning(2, axis);
    assert!(
        matches!(found, Pruned::Pairs { .. }),
        "{what} over {axis}: {found}"
    );
    let [pruned, all] = both().map(|k| k.min_argmin::<2>(axis));
    assert_eq!(
        numbers(pruned.1),
        numbers(all.1),
        "argmin of {what} over {axis}"
    );
    assert_eq!(bits(pruned.0), bits(all.0), "min of {what} over {axis}");
    let [pruned, all] = both().map(|k| k.max_argmax::<2>(axis));
    assert_eq!(
        numbers(pruned.1),
        numbers(all.1),
        "argmax of {what} over {axis}"
    );
    assert_eq!(bits(pruned.0), bits(all.0), "max of {what} over {axis}");
    let [pruned, all] = both().map(|k| bits(k.min::<2>(axis)));
    assert_eq!(pruned, all, "min alone of {what} over {axis}");
    for count in counts {
        let [pruned, all] = both().map(|k| k.kmin_argkmin::<2>(*count, axis));
        let what = format!("{count} smallest of {what} over {axis}");
        assert_eq!(numbers(pruned.1), numbers(all.1), "indices of the {what}");
        assert_eq!(bits(pruned.0), bits(all.0), "the {what}");
    }
}

#[test]
fn nothing_differs_on_clouds_of_any_kind() {
    let (m, n) = (311, 709);
    let dims: &[usize] = match is_interpreted() {
        true => &[1, 2, 3, 6],
        false => &[3],
    };
    for (dtype, _) in some_of(dtypes(), 2) {
        for dim in dims.iter().copied() {
            let (rows, columns) = (clouds(m, dim, 61), clouds(n, dim, 62));
            for (x, y) in rows.iter().zip(&columns) {
                let [x_i, y_j] = points_of(&x.points, &y.points, dim, dtype);
                let k = x_i.sqdist(y_j);
                let what = format!("squares of {} in {dtype:?}, D = {dim}", x.name);
                check(&what, &k, Axis::J, &[2, 10]);
                if dim == 3 {
                    check(&what, &k, Axis::I, &[10]);
                }
            }
        }
    }
}

/// Only the columns have special points.
#[test]
fn nothing_differs_where_only_columns_are_special() {
    let (m, n) = (130, 400);
    let rows = &clouds(m, 3, 63)[0];
    for y in clouds(n, 3, 64) {
        let [x_i, y_j] = points_of(&rows.points, &y.points, 3, DType::F32);
        let what = format!("squares of uniform points and {}", y.name);
        check(&what, &x_i.sqdist(y_j), Axis::J, &[2]);
    }
}

#[test]
fn nothing_differs_in_halves() {
    for dtype in [DType::F16, DType::BF16]
        .into_iter()
        .filter(|own| reduces(*own))
    {
        let (rows, columns) = (clouds(200, 3, 65), clouds(333, 3, 66));
        for (x, y) in rows.iter().zip(&columns) {
            let [x_i, y_j] = points_of(&x.points, &y.points, 3, dtype);
            let what = format!("squares of {} in {dtype:?}", x.name);
            check(&what, &x_i.sqdist(y_j), Axis::J, &[10]);
        }
    }
}

/// Sizes around the size of a block, and lists of several lengths.
#[test]
fn nothing_differs_for_any_size_and_length() {
    let sizes: &[usize] = match is_interpreted() {
        true => &[1, 15, 16, 17, 63, 64, 65, 300],
        false => &[1, 17, 65],
    };
    for m in sizes.iter().copied() {
        for n in sizes.iter().copied() {
            let (x, y) = (&clouds(m, 2, 67)[2], &clouds(n, 2, 68)[2]);
            let [x_i, y_j] = points_of(&x.points, &y.points, 2, DType::F32);
            check(&format!("{m} x {n}"), &x_i.sqdist(y_j), Axis::J, &[2, 10]);
        }
    }
    let (x, y) = (&clouds(150, 2, 69)[2], &clouds(260, 2, 70)[2]);
    let [x_i, y_j] = points_of(&x.points, &y.points, 2, DType::F32);
    let counts: &[usize] = match is_interpreted() {
        true => &[1, 63, 64, 65, 200, 261],
        false => &[1, 65],
    };
    check("lists of any length", &x_i.sqdist(y_j), Axis::J, counts);
}

#[test]
fn nothing_differs_for_other_formulas() {
    let (m, n) = (300, 500);
    let mut random = Random::new(71);
    // There are many compiled kernels here, so F64 and the other axis are tested only on the host.
    let all = is_interpreted();
    for (dtype, _) in some_of(dtypes(), 2) {
        let [x_i, y_j] = points_of(&random.vec(m * 2), &random.vec(n * 2), 2, dtype);
        let [u_i, v_j] = points_of(&random.vec(m), &random.vec(n), 1, dtype);
        let scale = tensor(&[0.3, 2.0], [2], dtype, &device());
        let scaled = ((&x_i - &y_j) / LazyTensor::pm(scale)).norm();
        let labels = |size: usize| {
            let labels: Vec<i64> = (0..size as i64).map(|k| k * k % 3).collect();
            Tensor::<2, Int>::from_data(burn::tensor::TensorData::new(labels, [size, 1]), &device())
        };
        let same = LazyTensor::vi(labels(m)).equal(LazyTensor::vj(labels(n)));
        let near = LazyTensor::offset().abs() / 50.0;
        let gaussian = "opposite Gaussian";
        let formulas = [
            ("weighted", x_i.sqdist(&y_j) * 0.7 + &v_j - &u_i),
            (gaussian, -(-x_i.sqdist(&y_j)).exp()),
            ("dot", x_i.dot(&y_j)),
            ("scaled", scaled),
            ("near in indices, too", x_i.sqdist(&y_j) + near),
            ("masked", x_i.sqdist(&y_j).mask_where(same, f64::INFINITY)),
            // Infinite for pairs of equal rounded points.
            ("logarithm", (&x_i.round() - &y_j.round()).sqnorm().log()),
            (
                "indices alone",
                (&u_i + &v_j) * 0.0 + LazyTensor::offset().abs(),
            ),
            ("angle", (x_i.dot(&y_j) / (x_i.norm() * y_j.norm())).acos()),
        ];
        for (name, k) in &formulas {
            // For all pairs graphics cards compute this formula in another form, which rounds
            // differently.
            if *name == gaussian && !is_processor() {
                continue;
            }
            check(&format!("{name} in {dtype:?}"), k, Axis::J, &[10]);
            if all || *name == "weighted" {
                check(&format!("{name} in {dtype:?}"), k, Axis::I, &[10]);
            }
        }
    }
}

/// Each component has its own list.
#[test]
fn nothing_differs_for_several_components() {
    let (x, y) = (&clouds(200, 2, 72)[2], &clouds(300, 2, 73)[0]);
    let [x_i, y_j] = points_of(&x.points, &y.points, 2, DType::F32);
    let k = (x_i - y_j).square();
    let [pruned, all] = [Pruning::Exact, Pruning::Off].map(|how| {
        let (values, indices) = k.prune(how).kmin_argkmin::<3>(5, Axis::J);
        (bits(values), numbers(indices))
    });
    assert_eq!(pruned, all);
    check("two components", &k, Axis::J, &[]);
}

#[test]
fn most_pairs_are_left_out_where_that_pays() {
    let (size, many) = (6000, 45_000);
    let (x, y) = (&clouds(size, 3, 74)[0], &clouds(many, 3, 75)[0]);
    let [x_i, y_j] = points_of(&x.points, &y.points, 3, DType::F32);
    let k = x_i.sqdist(&y_j);
    let left = |k: &LazyTensor| match k.prune(Pruning::Exact).pruning(10, Axis::J) {
        Pruned::Pairs { left, all } => left as f64 / all as f64,
        other => panic!("{other}"),
    };
    assert!(left(&k) < 0.25, "{}", left(&k));
    // Pruning is tried by default on devices that are processors.
    let by_default = k.pruning(10, Axis::J);
    match is_processor() {
        true => assert!(matches!(by_default, Pruned::Pairs { .. }), "{by_default}"),
        false => assert_eq!(by_default, Pruned::All(Unpruned::FewPairs)),
    }
    let why = |k: &LazyTensor, count: usize| match k.pruning(count, Axis::J) {
        Pruned::All(why) => why,
        other => panic!("{other}"),
    };
    assert_eq!(why(&k.prune(Pruning::Off), 1), Unpruned::Off);
    let few = &clouds(100, 3, 75)[0];
    let [x_i, y_j] = points_of(&few.points, &few.points, 3, DType::F32);
    assert_eq!(why(&x_i.sqdist(&y_j), 1), Unpruned::FewPairs);
    if is_processor() {
        assert_eq!(k.pruning(1000, Axis::I), Pruned::All(Unpruned::ManyValues));
        let size = 17_000;
        let mut random = Random::new(76);
        let many = random.vec(size * 10);
        let [x_i, y_j] = points_of(&many, &many, 10, DType::F32);
        assert_eq!(why(&x_i.sqdist(&y_j), 10), Unpruned::ManyComponents);
        let equal = &clouds(size, 3, 77)[3];
        let [x_i, y_j] = points_of(&equal.points, &equal.points, 3, DType::F32);
        let why = why(&x_i.sqdist(&y_j), 10);
        assert!(matches!(why, Unpruned::FewExcluded { .. }), "{why}");
    }
}

/// The largest difference of sums relative to the sums of absolute values, and the largest absolute
/// difference.
fn differ(k: &LazyTensor, pruning: Pruning, axis: Axis) -> [f64; 2] {
    let [pruned, all] = [pruning, Pruning::Off].map(|how| host(k.prune(how).sum::<2>(axis)));
    let sizes = host(k.abs().prune(Pruning::Off).sum::<2>(axis));
    let mut most = [0f64; 2];
    for ((pruned, all), size) in pruned.iter().zip(&all).zip(&sizes) {
        let by = (pruned - all).abs();
        assert!(by.is_finite(), "{pruned}, of all pairs {all}");
        most = [most[0].max(by / size.max(1e-300)), most[1].max(by)];
    }
    most
}

fn left(pruned: Pruned) -> f64 {
    match pruned {
        Pruned::Pairs { left, all } => left as f64 / all as f64,
        other => panic!("{other}"),
    }
}

/// By default zeros are left out if there are so many pairs that the search costs little.
#[test]
fn sums_of_many_pairs_leave_out_zeros() {
    if !is_processor() {
        return skipped("the device is no processor");
    }
    let size = 47_000;
    let mut random = Random::new(91);
    let [x_i, y_j] = points_of(&random.vec(size * 2), &random.vec(size * 2), 2, DType::F32);
    let squares = x_i.sqdist(&y_j);
    let narrow = (-&squares * 2e4).exp();
    let part = left(narrow.pruning_of_sum(Axis::J));
    assert!(part < 0.1, "{part}");
    let wide = (-&squares).exp().pruning_of_sum(Axis::J);
    assert!(
        matches!(wide, Pruned::All(Unpruned::FewExcluded { .. })),
        "{wide}"
    );
    let sums = host(narrow.sum::<2>(Axis::J));
    // Compared with all pairs of some rows.
    let few = narrow.block(100..110, 0..size);
    assert_close(
        "ten rows",
        &sums[100..110],
        &host(few.prune(Pruning::Off).sum::<2>(Axis::J)),
        1e-5,
    );
}

/// Weights of both signs, one of which is large.
#[test]
fn sums_differ_by_no_more_than_the_tolerance() {
    let (m, n) = (1500, 2000);
    let mut random = Random::new(81);
    let mut weights = random.vec(n * 2);
    weights[77] = 1e6;
    for (dtype, rounding) in dtypes() {
        let [x_i, y_j] = points_of(&random.vec(m * 2), &random.vec(n * 2), 2, dtype);
        let b_j = LazyTensor::vj(tensor(&weights, [n, 2], dtype, &device()));
        let gaussian = (-x_i.sqdist(&y_j) * 800.0).exp();
        let weighted = &gaussian * &b_j;
        let mut before = 1.0;
        for tolerance in [0.0, 1e-7, 1e-5, 1e-3] {
            let what = format!("tolerance {tolerance} in {dtype:?}");
            let relative = match tolerance {
                0.0 => Pruning::Exact,
                _ => Pruning::Relative(tolerance),
            };
            for axis in [Axis::J, Axis::I] {
                let [by, _] = differ(&weighted, relative, axis);
                assert!(by <= tolerance + 10.0 * rounding, "{what}: {by}");
            }
            let part = left(weighted.prune(relative).pruning_of_sum(Axis::J));
            // A server may use larger blocks of rows.
            let most = if is_remote() { 0.8 } else { 0.75 };
            assert!(
                part <= before && part < most,
                "{what} leaves {part}, before {before}"
            );
            before = part;
            // A sum of positive terms has an error relative to the sum itself.
            let [by, _] = differ(&gaussian, relative, Axis::J);
            assert!(
                by <= tolerance + 10.0 * rounding,
                "{what} of positive terms: {by}"
            );
            if tolerance > 1e-6 {
                let [_, by] = differ(&gaussian, Pruning::Absolute(tolerance), Axis::J);
                assert!(by <= tolerance + 100.0 * rounding, "{what}, absolute: {by}");
                let absolute = gaussian.prune(Pruning::Absolute(tolerance));
                assert!(
                    left(absolute.pruning_of_sum(Axis::J)) < 0.5,
                    "{what}, absolute"
                );
            }
        }
        // Blocks of rows are larger on devices that are not processors.
        let most = if is_processor() { 0.2 } else { 0.4 };
        assert!(before < most, "{before} are left in {dtype:?}");
    }
}

#[test]
fn products_counts_and_means_leave_out_zeros() {
    let (m, n) = (700, 900);
    let mut random = Random::new(82);
    let [x_i, y_j] = points_of(&random.vec(m * 2), &random.vec(n * 2), 2, DType::F32);
    let k = (-x_i.sqdist(&y_j) * 5000.0).exp();
    let b = tensor(&random.vec(n), [n], DType::F32, &device());
    let products = [Pruning::Exact, Pruning::Off].map(|how| host(k.prune(how).matmul(b.clone())));
    assert_close("products", &products[0], &products[1], 1e-5);
    let means = [Pruning::Exact, Pruning::Off].map(|how| host(k.prune(how).mean::<2>(Axis::J)));
    assert_close("means", &means[0], &means[1], 1e-5);
    let near = x_i.sqdist(&y_j).less(0.001);
    let counts =
        [Pruning::Exact, Pruning::Off].map(|how| numbers(near.prune(how).count::<2>(Axis::J)));
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0].iter().any(|count| *count > 0));
}

/// If sums of sizes overflow, nothing is left out. Tiny terms are handled like all others.
#[test]
fn sums_of_large_and_of_tiny_terms_are_those_of_all_pairs() {
    let (m, n) = (200, 1000);
    let mut random = Random::new(89);
    for (dtype, _) in dtypes() {
        let (large, tiny) = match dtype {
            DType::F64 => (1e306, 1e-200),
            _ => (1e36, 1e-30),
        };
        let [x_i, y_j] = points_of(&random.vec(m), &random.vec(n), 1, dtype);
        let sign = |_| if random.next() < 0.0 { -large } else { large };
        let signs: Vec<f64> = (0..n).map(sign).collect();
        let w_j = LazyTensor::vj(tensor(&signs, [n, 1], dtype, &device()));
        for (what, k) in [
            ("large", (&x_i - &y_j).cos() * w_j),
            ("tiny", (&x_i - &y_j).square() * tiny),
        ] {
            let [_, by] = differ(&k, Pruning::Relative(1e-6), Axis::J);
            let sizes = host((k.abs() / 1000.0).prune(Pruning::Off).sum::<2>(Axis::J));
            let size = sizes.iter().fold(0f64, |most, size| most.max(*size)) * 1000.0;
            assert!(by <= 1e-4 * size, "{what} in {dtype:?}: {by} of {size}");
        }
    }
}

/// Terms that are NaN or infinite are never left out.
#[test]
fn sums_of_special_points_are_those_of_all_pairs() {
    let (m, n) = (300, 500);
    let kind = |value: &f64| match value {
        value if value.is_nan() => 2,
        value if value.is_infinite() => 1,
        _ => 0,
    };
    for (x, y) in clouds(m, 3, 83).iter().zip(&clouds(n, 3, 84)) {
        let [x_i, y_j] = points_of(&x.points, &y.points, 3, DType::F32);
        let k = (-x_i.sqdist(&y_j) * 30.0).exp() * y_j.slice(0..1);
        for how in [Pruning::Exact, Pruning::Relative(1e-3)] {
            let [pruned, all] = [how, Pruning::Off].map(|how| host(k.prune(how).sum::<2>(Axis::J)));
            let sizes = host(k.abs().sum::<2>(Axis::J));
            for ((pruned, all), size) in pruned.iter().zip(&all).zip(&sizes) {
                assert_eq!(kind(pruned), kind(all), "{}: {pruned}, {all}", x.name);
                let close = (pruned - all).abs() <= 1.1e-3 * size + 1e-30;
                assert!(kind(all) > 0 || close, "{}: {pruned}, {all}", x.name);
            }
        }
    }
}

#[test]
fn exponentials_leave_out_what_is_nothing_beside_the_largest() {
    let (m, n) = (600, 1100);
    let mut random = Random::new(85);
    for (dtype, rounding) in dtypes() {
        let [x_i, y_j] = points_of(&random.vec(m * 2), &random.vec(n * 2), 2, dtype);
        let scores = -x_i.sqdist(&y_j) * 3000.0;
        let mut values = random.vec(n * 3);
        values[3] = f64::NAN;
        let v_j = LazyTensor::vj(tensor(&values, [n, 3], dtype, &device()));
        for (how, tolerance) in [
            (Pruning::Exact, 0.0),
            (Pruning::Relative(1e-3), 1e-3),
            (Pruning::Absolute(1e-5), 1e-5),
        ] {
            let what = format!("{how:?} in {dtype:?}");
            let [pruned, all] =
                [how, Pruning::Off].map(|how| host(scores.prune(how).logsumexp::<2>(Axis::J)));
            // The logarithms are up to some thousands.
            for (pruned, all) in pruned.iter().zip(&all) {
                let by = (pruned - all).abs();
                assert!(
                    by <= tolerance + 10.0 * rounding * all.abs().max(1.0),
                    "{what}: {by}"
                );
            }
            let [pruned, all] = [how, Pruning::Off]
                .map(|how| host(scores.prune(how).sumsoftmaxweight::<2>(&v_j, Axis::J)));
            for (pruned, all) in pruned.iter().zip(&all) {
                let same = pruned.is_nan() && all.is_nan();
                let by = (pruned - all).abs();
                assert!(
                    same || by <= 2.0 * tolerance + 10.0 * rounding,
                    "{what}: {by}"
                );
            }
        }
    }
}

/// Masks of indices leave out blocks of pairs without further settings.
#[test]
fn masks_of_indices_leave_out_blocks() {
    let (m, n) = (1300, 1100);
    let mut random = Random::new(86);
    let [q_i, k_j] = points_of(&random.vec(m * 4), &random.vec(n * 4), 4, DType::F32);
    let v_j = LazyTensor::vj(tensor(&random.vec(n * 4), [n, 4], DType::F32, &device()));
    let offset = LazyTensor::offset;
    let masks = [
        ("causal", offset().less(0.0)),
        ("window", offset().less(-10.0) + offset().greater(100.0)),
        (
            "prefix",
            LazyTensor::column_index().greater(200.0) * offset().not_equal(0.0),
        ),
        ("columns", LazyTensor::column_index().greater_equal(301.0)),
    ];
    let scores = q_i.dot(&k_j);
    for (name, absent) in &masks {
        let masked = scores.mask_where(absent, f64::NEG_INFINITY);
        let both = |of: &dyn Fn(&LazyTensor) -> Vec<f64>| {
            [Pruning::Auto, Pruning::Off].map(|how| of(&masked.prune(how)))
        };
        let weighted = |k: &LazyTensor| host(k.sumsoftmaxweight::<2>(&v_j, Axis::J));
        let dense = |mask: &LazyTensor| {
            // The mask depends on a tensor, so that nothing is known about it before the tensor is
            // read.
            let zero = k_j.slice(0..1) * 0.0;
            scores.mask_where(mask + zero, f64::NEG_INFINITY)
        };
        // Rows without any pair are NaN.
        let known = |v: Vec<f64>| v.into_iter().map(|v| if v.is_nan() { 1e3 } else { v });
        let [own, all] =
            [&masked, &dense(absent)].map(|k| known(weighted(k)).collect::<Vec<f64>>());
        assert_close(name, &own, &all, 1e-5);
        let [auto, off] = both(&|k| host(k.logsumexp::<2>(Axis::J)));
        let finite = |v: &Vec<f64>| v.iter().map(|v| v.max(-1e3)).collect::<Vec<f64>>();
        assert_close(name, &finite(&auto), &finite(&off), 1e-5);
        let zero = scores.mask_where(absent, 0.0);
        for axis in [Axis::J, Axis::I] {
            let [auto, off] =
                [Pruning::Auto, Pruning::Off].map(|how| host(zero.prune(how).sum::<2>(axis)));
            assert_close(name, &auto, &off, 1e-5);
        }
        let infinite = scores.mask_where(absent, f64::INFINITY);
        let [auto, off] = [Pruning::Auto, Pruning::Off].map(|how| {
            let (values, indices) = infinite.prune(how).kmin_argkmin::<2>(3, Axis::J);
            (bits(values), numbers(indices))
        });
        assert_eq!(auto, off, "{name}");
        if is_processor() {
            let part = left(zero.pruning_of_sum(Axis::J));
            assert!(part < 0.7, "{name} leaves {part}");
        }
    }
    // An outer mask around a masked formula gives pairs that count.
    let inner = scores.mask_where(offset().less(0.0), f64::NEG_INFINITY);
    let last = LazyTensor::column_index().greater_equal((n - 1) as f64);
    let nested = inner.mask_where(last, 0.0);
    let [auto, off] =
        [Pruning::Auto, Pruning::Off].map(|how| host(nested.prune(how).logsumexp::<2>(Axis::J)));
    assert_close("nested masks", &auto, &off, 1e-5);
    // A mask that holds in F64 but not in F32.
    for (dtype, _) in dtypes().into_iter().rev() {
        let [q_i, k_j] = points_of(&random.vec(m), &random.vec(n), 1, dtype);
        let far = (-offset().square()).exp().equal(0.0);
        let near = (q_i * k_j).mask_where(far, 0.0);
        let [auto, off] =
            [Pruning::Auto, Pruning::Off].map(|how| host(near.prune(how).sum::<2>(Axis::J)));
        assert_close("a mask that depends on the type", &auto, &off, 1e-5);
    }
    // Blocks are only left out if the masked value does not change the result.
    let other = scores.mask_where(offset().less(0.0), 1.0);
    assert_eq!(
        other.pruning_of_sum(Axis::J),
        Pruned::All(Unpruned::FewPairs)
    );
    let batches = random.vec(2 * m);
    let batched =
        LazyTensor::vi(tensor(&batches, [2, m, 1], DType::F32, &device())) * k_j.slice(0..1);
    let zero = batched.mask_where(offset().less(0.0), 0.0);
    let [auto, off] =
        [Pruning::Auto, Pruning::Off].map(|how| host(zero.prune(how).sum::<3>(Axis::J)));
    assert_close("batches", &auto, &off, 1e-5);
}

/// A matrix that keeps its points sorted gives the same results.
#[test]
fn arranged_matrices_are_the_same() {
    let size = 500;
    let mut random = Random::new(88);
    let points = random.vec(size * 2);
    let [x_i, x_j] = points_of(&points, &points, 2, DType::F32);
    let k = (-x_i.sqdist(&x_j) * 4000.0).exp();
    let near = k.arranged();
    let why = near.prune(Pruning::Exact).pruning_of_sum(Axis::J);
    assert_eq!(why, Pruned::All(Unpruned::RangesOrBatches));
    let [own, all] = [&near, &k].map(|k| host(k.dense::<3>()));
    assert_eq!(own, all);
    let b = tensor(&random.vec(size * 3), [size, 3], DType::F32, &device());
    for (of, k) in [("rows", &k), ("columns", &k.t())] {
        let near = if of == "rows" { near.clone() } else { near.t() };
        let [own, all] = [&near, k].map(|k| host(k.matmul(b.clone())));
        assert_close(of, &own, &all, 1e-5);
    }
    let [own, all] = [&near, &k].map(|k| host(k.diag::<2>()));
    assert_eq!(own, all);
    let [own, all] = [&near, &k].map(|k| {
        let part = k.block(10..60, 5..300);
        host(part.sum::<2>(Axis::J))
    });
    assert_close("a block", &own, &all, 1e-5);
    // Another formula of the same points uses the same pairs.
    let [own, all] = [&near, &k].map(|k| host((k * &x_j.slice(0..1)).sum::<2>(Axis::J)));
    assert_close("a product", &own, &all, 1e-5);
    let [own, all] = [&near, &k].map(|k| {
        let options = burn_lazy::solve::SolveOptions::default().ridge(0.1);
        let solved = k.solve(b.clone(), &options);
        host(solved.expect("it is positive definite").solution)
    });
    assert_close("a solution", &own, &all, 1e-4);
    // If no entry is 0, the matrix is used as it is.
    let wide = (-x_i.sqdist(&x_j)).exp();
    let [own, all] = [&wide.arranged(), &wide].map(|k| host(k.matmul(b.clone())));
    assert_close("a wide matrix", &own, &all, 1e-5);
}

#[test]
fn a_tolerance_is_a_size() {
    let [x_i, y_j] = points_of(&[1.0, 2.0], &[3.0], 1, DType::F32);
    let k = x_i * y_j;
    for tolerance in [-1e-3, f64::NAN] {
        for how in [Pruning::Relative(tolerance), Pruning::Absolute(tolerance)] {
            let error = k.try_prune(how).expect_err("it is no size").to_string();
            assert!(
                error.contains("tolerance") && error.contains("x0"),
                "{error}"
            );
        }
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_are_those_of_all_pairs() {
    let (m, n) = (200, 300);
    let (x, y) = (&clouds(m, 3, 78)[0], &clouds(n, 3, 79)[0]);
    let device = device().autodiff();
    let gradients = |how: Pruning| {
        let leaf =
            |points: &[f64], size| tensor(points, [size, 3], DType::F32, &device).require_grad();
        let (xt, yt) = (leaf(&x.points, m), leaf(&y.points, n));
        let k = LazyTensor::vi(xt.clone())
            .sqdist(LazyTensor::vj(yt.clone()))
            .prune(how);
        let nearest: Tensor<2> = k.kmin(3, Axis::J);
        let back: Tensor<2> = k.min(Axis::I);
        let weights = tensor(&Random::new(80).vec(m * 3), [m, 3], DType::F32, &device);
        let own = ((nearest * weights).sum() + back.sqrt().sum()).backward();
        [&xt, &yt].map(|leaf| host(leaf.grad(&own).expect("it is tracked")))
    };
    let [pruned, all] = [Pruning::Exact, Pruning::Off].map(gradients);
    for (name, (pruned, all)) in ["x", "y"].iter().zip(pruned.iter().zip(&all)) {
        assert_close(&format!("the gradient by {name}"), pruned, all, 1e-5);
    }
}

/// The gradient by a weight of 0 is not 0, so no pair may be left out.
#[cfg(feature = "autodiff")]
#[test]
fn sums_of_tracked_operands_have_all_pairs() {
    let device = device().autodiff();
    let mut random = Random::new(87);
    let x = tensor(&random.vec(200 * 2), [200, 2], DType::F32, &device);
    let b = Tensor::<2>::zeros([200, 1], &device).require_grad();
    let k =
        (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp() * LazyTensor::vj(b.clone());
    let k = k.prune(Pruning::Exact);
    assert_eq!(k.pruning_of_sum(Axis::J), Pruned::All(Unpruned::Tracked));
    let gradients = k.sum::<2>(Axis::J).sum().backward();
    let gradient = host(b.grad(&gradients).expect("it is tracked"));
    assert!(gradient.iter().all(|by| *by > 0.5));
}

/// Masks do not change gradients, and results stay on the device of the operands.
#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_masked_pairs_are_those_of_all_pairs() {
    let device = device().autodiff();
    let (m, n) = (1200, 1000);
    let mut random = Random::new(90);
    let points = [m, n, n].map(|size| random.vec(size * 2));
    let later = || LazyTensor::offset().less(0.0);
    let gradients = |how: Pruning| {
        let leaf =
            |k: usize, size| tensor(&points[k], [size, 2], DType::F32, &device).require_grad();
        let (q, k, v) = (leaf(0, m), leaf(1, n), leaf(2, n));
        let scores = LazyTensor::vi(q.clone()).dot(LazyTensor::vj(k.clone()));
        let masked = scores.mask_where(later(), f64::NEG_INFINITY).prune(how);
        let out: Tensor<2> = masked.sumsoftmaxweight(LazyTensor::vj(v.clone()), Axis::J);
        let total: Tensor<2> = scores.mask_where(later(), 0.0).prune(how).sum(Axis::I);
        let own = (out.square().sum() + total.sum()).backward();
        [&q, &k, &v].map(|leaf| host(leaf.grad(&own).expect("it is tracked")))
    };
    let [auto, all] = [Pruning::Auto, Pruning::Off].map(gradients);
    for (name, (auto, all)) in ["q", "k", "v"].iter().zip(auto.iter().zip(&all)) {
        assert_close(&format!("the gradient by {name}"), auto, all, 1e-4);
    }
    let x = tensor(&points[0], [m, 2], DType::F32, &device);
    let squares = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x));
    let nearest: Tensor<2> = squares.prune(Pruning::Exact).kmin(2, Axis::J);
    let distance: Tensor<2> = squares.prune(Pruning::Off).kmin(2, Axis::J);
    assert_eq!(nearest.device(), distance.device());
}
