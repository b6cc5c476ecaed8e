//! Variances and means in one pass.

use burn::{
    backend::{Dispatch, DispatchTensor, TensorMetadata, ops::FloatTensorOps},
    tensor::{Shape, Tensor},
};
use burn_lazy_kernels::{Accumulation, Axis, ReductionKind, Wanted};

use crate::{
    backends::{computed, narrow},
    cast::cast,
    error::LazyError,
    lazy::{LazyTensor, expect},
    operand::Operand,
    ops::Reduced,
    reduce::{Axes, reductions},
    request::Request,
};

reductions! {
    /// The variance over a symbolic axis, $\frac{1}{N - 1} \sum_j (f_{ij} - \mu_i)^2$ with the mean $\mu_i$, shaped
    /// as the [`sum`](Self::sum). As in Burn's `var`, the divisor is one less than the number of values, so that the
    /// variance of a single value is NaN. It is also NaN over an empty axis and where any value is infinite.
    ///
    /// Deviations are taken from a running mean, and the results of blocks are merged. So no digits are lost where
    /// values are large compared with their variance (Welford, "Note on a method for calculating corrected sums of
    /// squares and products", 1962; Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    /// computing sample variances", 1979). F16 and BF16 are computed in F32. Differentiable.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, LazyTensor};
    ///
    /// let device = Device::default();
    /// let x = Tensor::<2>::from_data([[0.0], [10.0]], &device);
    /// let y = Tensor::<2>::from_data([[1.0], [2.0], [3.0]], &device);
    /// let products = LazyTensor::vi(x) * LazyTensor::vj(y);
    /// let variances: Tensor<2> = products.var(Axis::J);
    /// variances.into_data().assert_eq(&TensorData::from([[0.0f32], [100.0]]), false);
    /// # }
    /// ```
    var / try_var(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.moments("var", true, axis.into()).map(|[variance, _]| variance);

    /// The variance over a symbolic axis, divided by the number of values: $\frac{1}{N} \sum_j (f_{ij} - \mu_i)^2$.
    /// See [`var`](Self::var).
    var_bias / try_var_bias(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.moments("var_bias", false, axis.into()).map(|[variance, _]| variance);

    /// [`var`](Self::var) and [`mean`](Self::mean) in one pass.
    var_mean / try_var_mean(axis: impl Into<Axes>) -> (Tensor<R>, Tensor<R>) =
        |k| k.moments("var_mean", true, axis.into()).map(|[variance, mean]| (variance, mean));

    /// [`var_bias`](Self::var_bias) and [`mean`](Self::mean) in one pass.
    var_mean_bias / try_var_mean_bias(axis: impl Into<Axes>) -> (Tensor<R>, Tensor<R>) =
        |k| k.moments("var_mean_bias", false, axis.into()).map(|[variance, mean]| (variance, mean));
}

impl LazyTensor {
    /// The variance and the mean.
    fn moments<const R: usize>(
        &self,
        operation: &'static str,
        unbiased: bool,
        axes: Axes,
    ) -> Result<[Tensor<R>; 2], LazyError> {
        let moments = self.wide_moments(operation, unbiased, axes)?;
        let dtype = self.extent().dtype.expect("it has been reduced");
        Ok(moments.map(|moment| cast(moment, dtype.into())))
    }

    /// The variance and the mean in the type in which kernels compute.
    pub(crate) fn wide_moments<const R: usize>(
        &self,
        operation: &'static str,
        unbiased: bool,
        axes: Axes,
    ) -> Result<[Tensor<R>; 2], LazyError> {
        self.check_moments::<R>(operation, axes)?;
        match axes {
            Axes::One(axis) => {
                let kind = ReductionKind::Variance { unbiased };
                let moments = self.moments_of(Request::new(kind, Wanted::VALUES, axis).wide())?;
                Ok(moments.map(Tensor::from_dispatch))
            }
            Axes::Both => self.moments_of_all(unbiased),
        }
    }

    /// Checks that moments over `axes` are tensors of `R` dimensions.
    fn check_moments<const R: usize>(
        &self,
        operation: &'static str,
        axes: Axes,
    ) -> Result<(), LazyError> {
        let reduced: &[Axis] = match &axes {
            Axes::One(axis) => std::slice::from_ref(axis),
            Axes::Both => &[Axis::I, Axis::J],
        };
        for axis in reduced {
            self.check_axis(*axis)?;
        }
        self.check_tensor()?;
        let mut shape = self.extent().batch.clone();
        if let Axes::One(axis) = axes {
            let [m, n] = self.sizes();
            shape.push(if axis == Axis::I { n } else { m });
        }
        shape.push(self.dim());
        self.check_rank::<R>(operation, &shape)
    }

    /// The variance and the mean as the kernel gives them.
    fn moments_of(&self, request: Request) -> Result<[DispatchTensor; 2], LazyError> {
        let Reduced { values, .. } = self.reduce_unchecked(request)?;
        Ok(split(values.expect("they are wanted"), self.dim()))
    }

    /// The variance and the mean over both axes, in the type in which kernels compute. The variance is the mean of
    /// the variances of the rows plus the variance of their means.
    fn moments_of_all<const R: usize>(&self, unbiased: bool) -> Result<[Tensor<R>; 2], LazyError> {
        if self.ranges.is_some() {
            return self.moments_of_ranges(unbiased);
        }
        let request = |kind| Request::new(kind, Wanted::VALUES, Axis::J).wide();
        let biased = request(ReductionKind::Variance { unbiased: false });
        let [variances, means] = self.moments_of(biased)?;
        let extent = self.extent();
        let device = extent.device.expect("it has been reduced");
        let leaf = |values: DispatchTensor| {
            Operand::dispatch(values, device.clone(), Some(Axis::J)).map(LazyTensor::leaf)
        };
        let sum = request(ReductionKind::Sum(Accumulation::Blocks)).squeezed(true);
        let Reduced { values: within, .. } = leaf(variances)?.reduce_unchecked(sum)?;
        let within = Tensor::<R>::from_dispatch(within.expect("they are wanted"));
        let [between, mean] = leaf(means)?.moments_of(biased.squeezed(true))?;
        let [m, n] = self.sizes().map(|size| size as f64);
        // Not divided by `m`, as Burn's derivative of a division by a scalar divides in F32.
        let biased = within * (1.0 / m) + Tensor::from_dispatch(between);
        let variance = match unbiased {
            true => biased * (m * n / (m * n - 1.0)),
            false => biased,
        };
        Ok([variance, Tensor::from_dispatch(mean)])
    }
}

impl LazyTensor {
    /// The variance and the mean over both axes of a matrix with ranges. Rows may have different numbers of columns,
    /// for which the formula of [`moments_of_all`](Self::moments_of_all) does not hold. So the mean is computed
    /// first, and then the squared deviations from it.
    fn moments_of_ranges<const R: usize>(
        &self,
        unbiased: bool,
    ) -> Result<[Tensor<R>; 2], LazyError> {
        let dtype = self.extent().dtype.expect("an axis was checked");
        let wide = self.try_cast(computed(dtype).into())?;
        let kind = ReductionKind::Sum(Accumulation::Blocks);
        let sum: Tensor<R> = wide.wide_values("var", kind, Axes::Both)?;
        let mean = wide.divided_by_count(sum, Axes::Both, 0.0);
        let deviations = wide.try_sub(LazyTensor::try_pm(mean.clone())?)?;
        let squares = deviations.try_mul(&deviations)?;
        let squares: Tensor<R> = squares.wide_values("var", kind, Axes::Both)?;
        let fewer = if unbiased { 1.0 } else { 0.0 };
        let variance = wide.divided_by_count(squares, Axes::Both, fewer);
        // The variance of no pairs is NaN, not 0 / -1.
        let variance = variance.mask_fill(mean.clone().is_nan(), f64::NAN);
        Ok([variance, mean])
    }
}

/// Splits `[.., 2, width]`, or `[.., 2]` for a width of 1, into the variance and the mean.
fn split(values: DispatchTensor, width: usize) -> [DispatchTensor; 2] {
    let mut shape = values.shape().to_vec();
    let places = if width == 1 {
        shape.len() - 1
    } else {
        shape.len() - 2
    };
    shape.remove(places);
    if width == 1 {
        shape.push(1);
    }
    [0, 1].map(|place| {
        let moment = narrow::<Dispatch>(values.clone(), places, place..place + 1);
        Dispatch::float_reshape(moment, Shape::from(shape.clone()))
    })
}
