//! Parameters that are positive numbers.

use burn::{
    module::Param,
    prelude::*,
    tensor::{TensorCreationOptions, activation::sigmoid},
};
use burn_lazy::{LazyError, LazyTensor, solve::LinearOperator};

use crate::error::{LayerError, check_not_negative, check_setting, expect};

/// Configuration to create a [`Positive`] parameter with [`init`](PositiveConfig::init): how it starts, and between which
/// bounds it stays.
#[derive(Config, Debug)]
pub struct PositiveConfig {
    /// The values at the start, one for each component.
    pub values: Vec<f64>,
    /// The number of parameters in a batch, which all start with these values. Without it there is one, which
    /// adds no batch dimension to a formula.
    pub batch: Option<usize>,
    /// What all values stay above.
    #[config(default = 0.0)]
    pub lower: f64,
    /// What all values stay below, if anything.
    pub upper: Option<f64>,
}

impl PositiveConfig {
    /// The parameter, on a device (`&device`) in its default type, or in a given type (`(&device, DType::F64)`).
    ///
    /// # Panics
    /// As [`try_init`](Self::try_init) gives errors.
    #[track_caller]
    pub fn init(&self, options: impl Into<TensorCreationOptions>) -> Positive {
        expect(self.try_init(options))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no values, if a value or bound is not finite, if the lower bound is negative, or if a value is
    /// not between the bounds.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Positive, LayerError> {
        let Self {
            ref values,
            batch,
            lower,
            upper,
        } = *self;
        if values.is_empty() || batch == Some(0) {
            return Err(LayerError::Empty("a positive parameter"));
        }
        check_not_negative("lower", lower)?;
        if let Some(end) = upper {
            let bound = "finite and above the lower bound";
            check_setting("upper", end, bound, end > lower)?;
        }
        for value in values {
            let within = *value > lower && upper.is_none_or(|end| *value < end);
            check_setting("value", *value, "finite and between the bounds", within)?;
        }
        let raw = |value: &f64| match upper {
            None => (value - lower).ln(),
            Some(upper) => ((value - lower) / (upper - value)).ln(),
        };
        let count = batch.unwrap_or(1);
        let raws: Vec<f64> = (0..count).flat_map(|_| values.iter().map(raw)).collect();
        let data = TensorData::new(raws, [count, values.len()]);
        Ok(Positive {
            raw: Param::from_tensor(Tensor::from_data(data, options)),
            batch,
            lower,
            upper,
        })
    }
}

/// A parameter of positive numbers $v$, which gradient descent moves freely: what is learned is a number $r$ for each.
///
/// $$v = a + e^r \text{ without an upper bound, } \quad v = a + (b - a) \frac 1 {1 + e^{-r}} \text{ with one,}$$
///
/// where $a$, 0 by default, and $b$ are the bounds. Without bounds $r$ is the logarithm, so that a step of gradient
/// descent changes the value by a factor.
///
/// # Shapes
/// The values are `[batch, D]`, of a batch of 1 if there is none.
///
/// ```
/// use burn::prelude::*;
/// use burn_lazy_nn::{Positive, PositiveConfig};
///
/// let noise: Positive = PositiveConfig::new(vec![0.1])
///     .with_lower(1e-6)
///     .init(&Device::default());
/// let value: f32 = noise.value().into_scalar();
/// assert!((value - 0.1).abs() < 1e-6);
/// ```
#[derive(Module, Debug)]
pub struct Positive {
    /// What is learned, `[batch, D]`.
    pub raw: Param<Tensor<2>>,
    batch: Option<usize>,
    lower: f64,
    upper: Option<f64>,
}

impl Positive {
    /// The values, `[batch, D]`.
    #[must_use]
    pub fn value(&self) -> Tensor<2> {
        let raw = self.raw.val();
        let unit = match self.upper {
            None => raw.exp(),
            Some(upper) => sigmoid(raw) * (upper - self.lower),
        };
        match self.lower {
            0.0 => unit,
            lower => unit + lower,
        }
    }

    /// The number of values.
    #[must_use]
    pub fn dim(&self) -> usize {
        let [_, dim] = self.raw.lazy_shape().dims();
        dim
    }

    /// The number of parameters in a batch, if there is one.
    #[must_use]
    pub fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// The values as a parameter of formulas over `points`, in their type.
    pub(crate) fn of(&self, points: &LazyTensor) -> Result<LazyTensor, LazyError> {
        let value = self.value();
        let value = match LinearOperator::<2>::vectors(points) {
            Ok((_, dtype)) if dtype != value.dtype() => value.cast(dtype),
            _ => value,
        };
        match self.batch {
            Some(_) => LazyTensor::try_pm(value),
            None => LazyTensor::try_pm(value.squeeze_dim::<1>(0)),
        }
    }

    /// The same where each coordinate of `points` has its own value, or all have one.
    pub(crate) fn by_coordinate(&self, points: &LazyTensor) -> Result<LazyTensor, LazyError> {
        let value = self.of(points)?;
        if value.dim() > 1 {
            // Points of one coordinate would be taken as points of equal coordinates.
            let _ = points.try_dot(&value)?;
        }
        Ok(value)
    }
}
