//! Points of many kinds for the tests of pruning.

use crate::support::Rng;

/// Whether all coordinates of a point are finite.
pub fn is_known(point: &[f64]) -> bool {
    point.iter().all(|x| (*x as f32).is_finite())
}

/// Sets of `size` points with `dim` coordinates that F32 represents, one set for each kind, with
/// its name.
pub fn clouds(size: usize, dim: usize, seed: u64) -> Vec<(&'static str, Vec<f64>)> {
    let mut rng = Rng::new(seed);
    let uniform = rng.vec(size * dim, 0.0, 1.0);
    let with = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        let values = uniform.iter().enumerate().map(|(at, x)| f(at, *x));
        values.map(|x| f64::from(x as f32)).collect()
    };
    let centres: Vec<f64> = Rng::new(7).vec(5 * dim, -10.0, 10.0);
    let cluster = |at: usize| (at / dim * 7 % 5) * dim + at % dim;
    vec![
        ("uniform", uniform.clone()),
        ("clusters", with(&|at, x| centres[cluster(at)] + 0.1 * x)),
        ("a lattice", with(&|_, x| (4.0 * x).floor())),
        (
            "signed zeros",
            with(&|at, x| if at % 3 == 0 { -0.0 } else { (2.0 * x).floor() }),
        ),
        ("equal points", with(&|_, _| 0.25)),
        (
            "an outlier",
            with(&|at, x| if at / dim == size / 2 { 1e15 } else { x }),
        ),
        ("far away", with(&|_, x| x + 1e6)),
        ("tiny", with(&|_, x| x * 1e-22)),
        ("huge", with(&|_, x| x * 1e20)),
        (
            "NaN",
            with(&|at, x| if at / dim % 9 == 2 { f64::NAN } else { x }),
        ),
        (
            "infinite",
            with(&|at, x| if at % 13 == 5 { f64::INFINITY } else { x }),
        ),
        (
            "all kinds",
            with(&|at, x| match at / dim % 17 {
                3 => f64::NEG_INFINITY,
                7 => f64::NAN,
                11 => 3e38,
                _ => x,
            }),
        ),
    ]
}
