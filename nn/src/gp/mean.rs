//! The prior mean of a process.

use burn::{module::Param, prelude::*, tensor::TensorCreationOptions};

use crate::error::LayerError;

/// The kind of function that the prior [`Mean`] of a process is.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum MeanConfig {
    /// 0.
    Zero,
    /// A number that is learned, initially 0.
    Constant,
    /// A linear function of this many coordinates that is learned, initially 0.
    Linear(usize),
}

impl MeanConfig {
    /// The mean, on a device (`&device`) in its default type, or in a given type (`(&device, DType::F64)`).
    pub fn init(&self, options: impl Into<TensorCreationOptions>) -> Mean {
        let options = options.into();
        let zeros = |size: usize| Param::from_tensor(Tensor::zeros([size], options.clone()));
        match *self {
            MeanConfig::Zero => Mean {
                offset: None,
                slope: None,
            },
            MeanConfig::Constant => Mean {
                offset: Some(zeros(1)),
                slope: None,
            },
            MeanConfig::Linear(dim) => Mean {
                offset: Some(zeros(1)),
                slope: Some(zeros(dim)),
            },
        }
    }
}

/// The prior mean $m(x) = c + \langle w, x \rangle$ of a process.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::gp::MeanConfig;
///
/// let device = Device::default();
/// let mean = MeanConfig::Linear(2).init(&device);
/// assert_eq!(mean.forward(Tensor::ones([5, 2], &device)).dims(), [5, 1]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Mean {
    /// $c$, or `None` if it is 0.
    pub offset: Option<Param<Tensor<1>>>,
    /// $w$, or `None` if it is 0.
    pub slope: Option<Param<Tensor<1>>>,
}

impl Mean {
    /// The mean at points.
    ///
    /// # Shapes
    /// - x: `[N, D]`
    /// - output: `[N, 1]`
    ///
    /// # Panics
    /// If [`try_forward`](Self::try_forward) returns an error.
    #[track_caller]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        crate::error::expect(self.try_forward(x))
    }

    /// Like [`forward`](Self::forward), with an error instead of a panic.
    ///
    /// # Errors
    /// If the points have another number of coordinates than the slope.
    pub fn try_forward(&self, x: Tensor<2>) -> Result<Tensor<2>, LayerError> {
        let [points, dim] = x.dims();
        let options = (&x.device(), x.dtype());
        let in_type = |own: &Param<Tensor<1>>| own.val().cast(options.1);
        let mut mean = Tensor::zeros([points, 1], options);
        if let Some(offset) = &self.offset {
            mean = mean + in_type(offset).unsqueeze::<2>();
        }
        if let Some(slope) = &self.slope {
            let slope = in_type(slope);
            if slope.dims() != [dim] {
                return Err(LayerError::Shape {
                    what: "the points",
                    shape: vec![points, dim],
                    other: "the slope of the mean",
                    other_shape: slope.dims().to_vec(),
                    expected: "a coordinate for each number",
                });
            }
            let product = x * slope.unsqueeze::<2>();
            mean = mean + product.sum_dim(1);
        }
        Ok(mean)
    }
}
