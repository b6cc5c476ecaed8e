//! Scaling and norms of vectors over the whole range of their type. Vectors are scaled by powers of two, which is
//! exact. Norms are those of scaled vectors, whose squares neither overflow nor vanish.

use burn::tensor::{DType, Device, Tensor};
use burn_lazy_kernels::Axis;
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, StandardNormal};

use super::{
    SolveError,
    system::{PRODUCT, dots, host, row, tensor},
};
use crate::{error::LazyError, lazy::LazyTensor};

/// The largest absolute value of each column, or 0 if there are no rows. NaN counts as the largest value.
fn largest<const R: usize>(v: &Tensor<R>) -> Result<Vec<f64>, LazyError> {
    let shape = v.dims();
    if shape[R - 2] == 0 {
        let columns = shape[..R - 2].iter().product::<usize>() * shape[R - 1];
        return Ok(vec![0.0; columns]);
    }
    let largest: Tensor<R> = LazyTensor::try_vj(v.clone())?.abs().try_max(Axis::J)?;
    Ok(host(largest))
}

/// For each column, the exponent of the power of two that is near its largest absolute value. A column of zeros has
/// none.
pub(crate) struct Scale(pub Vec<Option<i32>>);

impl Scale {
    /// The scale of the columns of `v`. If a value is not finite, the error names `what`.
    pub fn of<const R: usize>(v: &Tensor<R>, what: &'static str) -> Result<Self, SolveError> {
        let exponent = |largest: f64| match largest {
            0.0 => Ok(None),
            finite if finite.is_finite() => Ok(Some(finite.log2().floor() as i32)),
            _ => Err(SolveError::NotFinite(what)),
        };
        let exponents: Result<Vec<_>, _> = largest(v)?.into_iter().map(exponent).collect();
        exponents.map(Self)
    }

    /// The columns of `v` divided by the powers. Squares of columns with this scale then neither overflow nor vanish.
    pub fn down<const R: usize>(&self, v: Tensor<R>) -> Tensor<R> {
        times_powers(v, &self.exponents(-1))
    }

    /// The columns of `v` times the powers.
    pub fn up<const R: usize>(&self, v: Tensor<R>) -> Tensor<R> {
        times_powers(v, &self.exponents(1))
    }

    /// The exponents times `sign`.
    fn exponents(&self, sign: i32) -> Vec<i32> {
        let signed = |exponent: &Option<i32>| sign * exponent.unwrap_or_default();
        self.0.iter().map(signed).collect()
    }
}

/// The columns of `v` times $2^e$, with an exponent for each column. Only results below the normal range are rounded.
pub(crate) fn times_powers<const R: usize>(v: Tensor<R>, exponents: &[i32]) -> Tensor<R> {
    // A power may be out of the range of F32 though the product is not, so it is applied in two steps.
    const ONE_STEP: i32 = 100;
    let powers = |part: &dyn Fn(i32) -> i32| {
        let powers: Vec<f64> = exponents.iter().map(|e| 2f64.powi(part(*e))).collect();
        row(&powers, &v)
    };
    if exponents.iter().all(|exponent| *exponent == 0) {
        return v;
    }
    if exponents.iter().all(|exponent| exponent.abs() <= ONE_STEP) {
        let powers = powers(&|e| e);
        return v * powers;
    }
    let (first, second) = (powers(&|e| e / 2), powers(&|e| e - e / 2));
    v * first * second
}

/// Exponents by which an operator is scaled so that squares of its products are far from the limits of the type.
/// `image` is a product of the operator with vectors of norm about 1, and each of its columns has an exponent. The
/// exponent is 0 if no scaling is needed.
pub(crate) fn balance<const R: usize>(image: &Tensor<R>) -> Result<Vec<i32>, SolveError> {
    const FAR: i32 = 30;
    let exponents = Scale::of(image, PRODUCT)?.0.into_iter();
    let far = exponents.map(|exponent| exponent.filter(|exponent| exponent.abs() > FAR));
    Ok(far.map(|exponent| -exponent.unwrap_or_default()).collect())
}

/// The norm of each column.
pub(crate) fn norms<const R: usize>(
    v: &Tensor<R>,
    what: &'static str,
) -> Result<Vec<f64>, SolveError> {
    let scale = Scale::of(v, what)?;
    let scaled = scale.down(v.clone());
    let squares = host(dots(&[[&scaled, &scaled]])?.remove(0));
    let norms = squares.iter().zip(scale.exponents(1));
    Ok(norms
        .map(|(square, exponent)| square.sqrt() * 2f64.powi(exponent))
        .collect())
}

/// Checks that all values are finite.
pub(crate) fn check_finite<const R: usize>(
    v: &Tensor<R>,
    what: &'static str,
) -> Result<(), SolveError> {
    match largest(v)?.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(SolveError::NotFinite(what)),
    }
}

/// Estimates of the norm of an operator, one for each matrix of a batch, from random vectors of the given shape. An
/// estimate is seldom far below the largest singular value, and at most about the root of the sum of the squares of
/// all singular values.
///
/// `forth` is a product with the operator and `back` one with its transpose.
pub(crate) fn operator_norms<const R: usize>(
    shape: [usize; R],
    options: (&Device, DType),
    forth: impl Fn(Tensor<R>) -> Result<Tensor<R>, LazyError>,
    back: impl Fn(Tensor<R>) -> Result<Tensor<R>, LazyError>,
) -> Result<Vec<f64>, SolveError> {
    let count = shape.iter().product();
    let rng = StdRng::seed_from_u64(0);
    let random: Vec<f64> = StandardNormal.sample_iter(rng).take(count).collect();
    let image = forth(tensor(random, shape, options))?;
    let sizes = norms(&image, PRODUCT)?;
    let unit = Scale::of(&image, PRODUCT)?.down(image);
    let (before, after) = (norms(&unit, PRODUCT)?, norms(&back(unit)?, PRODUCT)?);
    // The first product mostly points along the left singular vectors of the largest singular values. The second
    // product measures the norm of the operator there.
    let gains = before.iter().zip(&after);
    let gains = gains.map(|(before, after)| after / before.max(f64::MIN_POSITIVE));
    let columns: Vec<f64> = sizes.iter().zip(gains).map(|(a, b)| a.max(b)).collect();
    let batches = columns.chunks(shape[R - 1].max(1));
    Ok(batches
        .map(|own| own.iter().copied().fold(0.0, f64::max))
        .collect())
}
