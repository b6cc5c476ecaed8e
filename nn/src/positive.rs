//! Parameters that are positive numbers.

use burn::{
    module::Param,
    prelude::*,
    tensor::{TensorCreationOptions, activation::sigmoid},
};
use burn_lazy::{LazyError, LazyTensor, solve::LinearOperator};

use crate::error::{LayerError, check_not_negative, check_setting, expect};

/// Configuration to create a [`Positive`] parameter with [`init`](PositiveConfig::init): its initial values and its
/// bounds.
#[derive(Config, Debug)]
pub struct PositiveConfig {
    /// The initial values, one for each component.
    pub values: Vec<f64>,
    /// The number of parameters in a batch, which all start with these values. Without it there is a single
    /// parameter, which adds no batch dimension to a formula.
    pub batch: Option<usize>,
    /// The lower bound of all values, which they never reach.
    #[config(default = 0.0)]
    pub lower: f64,
    /// The upper bound of all values, which they never reach, if there is one.
    pub upper: Option<f64>,
}

impl PositiveConfig {
    /// The parameter, on a device (`&device`) in its default type, or in a given type (`(&device, DType::F64)`).
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) returns an error.
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

/// A parameter of positive numbers $v$. Each is a function of an unbounded number $r$, which gradient descent
/// learns:
///
/// $$v = a + e^r \text{ without an upper bound, } \quad v = a + (b - a) \frac 1 {1 + e^{-r}} \text{ with one,}$$
///
/// where $a$ (0 by default) and $b$ are the bounds. Without bounds $r$ is the logarithm of $v$, so that a step of
/// gradient descent multiplies the value by a factor.
///
/// # Shapes
/// The values are `[batch, D]`, where `batch` is 1 if no batch was asked for.
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
    /// The unbounded numbers $r$ that are learned, `[batch, D]`.
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

    /// The values as a parameter of formulas over `points`, cast to the type of `points`.
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

    /// The values as a parameter of formulas over `points`: one value for all coordinates, or one for each
    /// coordinate.
    pub(crate) fn by_coordinate(&self, points: &LazyTensor) -> Result<LazyTensor, LazyError> {
        let value = self.of(points)?;
        if value.dim() > 1 {
            // The dot product is an error if the numbers of coordinates and values differ. Without it, points of
            // one coordinate would be broadcast to the number of values.
            let _ = points.try_dot(&value)?;
        }
        Ok(value)
    }
}
