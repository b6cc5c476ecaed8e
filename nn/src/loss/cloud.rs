//! Point clouds as inputs of losses.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};

use super::error::{LossError, differ};

/// Points, optionally with weights, normals and a mask of padding.
///
/// `Cloud<2>` holds the points `[N, D]` of one cloud, `Cloud<3>` the points `[B, N, D]` of a batch of clouds. Clouds of
/// different sizes make a batch if the smaller ones are padded.
///
/// ```
/// use burn::prelude::*;
/// use burn_lazy_nn::loss::{ChamferLossConfig, Cloud};
///
/// let device = Device::default();
/// let x = Tensor::<3>::from_data([[[0.0], [1.0]], [[5.0], [9.0]]], &device);
/// let y = Tensor::<3>::from_data([[[1.0], [3.0]], [[5.0], [7.0]]], &device);
/// // The second cloud of `x` has one point.
/// let padding = Tensor::<2, Bool>::from_data([[false, false], [false, true]], &device);
/// let loss = ChamferLossConfig::new().init();
/// let output = loss.forward_clouds(&Cloud::new(x).with_padding(padding), &Cloud::new(y));
/// // (1 + 0) / 2 + (0 + 4) / 2, and 0 + (0 + 4) / 2.
/// output.into_data().assert_eq(&TensorData::from([2.5f32, 2.0]), false);
/// ```
#[derive(Clone, Debug)]
pub struct Cloud<const R: usize> {
    points: Tensor<R>,
    weights: Option<Tensor<R>>,
    normals: Option<Tensor<R>>,
    padding: Option<Tensor<R, Bool>>,
}

impl<const R: usize> Cloud<R> {
    /// A cloud of points of equal weights, whose sum is 1.
    ///
    /// # Shapes
    /// - points: `[N, D]`, or `[B, N, D]` for a batch
    pub fn new(points: Tensor<R>) -> Self {
        Self {
            points,
            weights: None,
            normals: None,
            padding: None,
        }
    }

    /// The same cloud with a normal at each point. Normals need not have the length 1.
    ///
    /// # Shapes
    /// - normals: as the points
    pub fn with_normals(self, normals: Tensor<R>) -> Self {
        Self {
            normals: Some(normals),
            ..self
        }
    }
}

/// Defines the methods for weights and padding, whose tensors have one dimension less than the points.
macro_rules! parts_of_clouds {
    ($($rank:literal: $part:literal $shape:literal;)*) => {$(
        impl Cloud<$rank> {
            /// The same cloud with a weight for each point.
            ///
            /// # Shapes
            #[doc = concat!("- weights: `", $shape, "`")]
            pub fn with_weights(self, weights: Tensor<$part>) -> Self {
                Self {
                    weights: Some(weights.unsqueeze_dim($part)),
                    ..self
                }
            }

            /// The same cloud without the points at which `padding` is true. Their coordinates do not matter, even if
            /// they are NaN.
            ///
            /// # Shapes
            #[doc = concat!("- padding: `", $shape, "`")]
            pub fn with_padding(self, padding: Tensor<$part, Bool>) -> Self {
                Self {
                    padding: Some(padding.unsqueeze_dim($part)),
                    ..self
                }
            }
        }
    )*};
}

parts_of_clouds! {
    2: 1 "[N]";
    3: 2 "[B, N]";
}

/// A cloud that has been checked, converted to the type in which the loss is computed.
#[derive(Clone, Debug)]
pub(crate) struct Side<const R: usize> {
    /// `[.., N, D]`, 0 at padding.
    pub points: Tensor<R>,
    /// `[.., N, 1]`, 0 at padding.
    pub weights: Tensor<R>,
    /// Whether the weights were given by the user.
    pub is_weighted: bool,
    pub normals: Option<Tensor<R>>,
    /// `[.., N, 1]`.
    pub padding: Option<Tensor<R, Bool>>,
}

/// Two clouds that have been checked, and the type of the points.
#[derive(Clone, Debug)]
pub(crate) struct Pair<const R: usize> {
    pub x: Side<R>,
    pub y: Side<R>,
    pub dtype: DType,
}

impl<const R: usize> Pair<R> {
    /// Checks that the clouds fit together.
    pub fn new(x: &Cloud<R>, y: &Cloud<R>) -> Result<Self, LossError> {
        let shapes = |what| differ(("x", x.points.dims()), ("y", y.points.dims()), what);
        let [own, other] = [x, y].map(|cloud| cloud.points.dims());
        if R < 2 || own[R - 1] != other[R - 1] {
            return Err(shapes("the dimension of points, the last one"));
        }
        if own[..R - 2] != other[..R - 2] {
            return Err(shapes("the dimensions of the batch"));
        }
        let dtype = x.points.dtype();
        if dtype != y.points.dtype() {
            return Err(LossError::Dtypes {
                left: "x",
                left_dtype: dtype,
                right: "y",
                right_dtype: y.points.dtype(),
            });
        }
        Ok(Self {
            x: Side::new("x", x)?,
            y: Side::new("y", y)?,
            dtype,
        })
    }

    /// The same clouds, moved so that their common centre is 0. Distances stay the same, and are computed with more
    /// digits if the points were far from 0.
    pub fn centred(self) -> Self {
        let mean = |side: &Side<R>| side.points.clone().detach().mean_dim(R - 2);
        let centre = (mean(&self.x) + mean(&self.y)) * 0.5;
        self.map_points(|points| points - centre.clone())
    }

    /// The same clouds with `change` applied to their points.
    pub fn map_points(self, change: impl Fn(Tensor<R>) -> Tensor<R>) -> Self {
        let changed = |side: Side<R>| Side {
            points: change(side.points),
            ..side
        };
        Self {
            x: changed(self.x),
            y: changed(self.y),
            dtype: self.dtype,
        }
    }

    /// The same clouds with weights whose sum is 1.
    pub fn normalized(self) -> Self {
        let of_sum_one = |side: Side<R>| match side.is_weighted {
            true => Side {
                weights: side.weights.clone() / side.weights.sum_dim(R - 2),
                ..side
            },
            false => side,
        };
        Self {
            x: of_sum_one(self.x),
            y: of_sum_one(self.y),
            dtype: self.dtype,
        }
    }

    /// Both clouds, cloud `k` first.
    pub fn from(&self, k: usize) -> [&Side<R>; 2] {
        match k {
            0 => [&self.x, &self.y],
            _ => [&self.y, &self.x],
        }
    }

    /// One value for each batch, in the type of the points.
    pub fn values(&self, values: Tensor<R>) -> Tensor<1> {
        per_batch(values).cast(self.dtype)
    }
}

impl<const R: usize> Side<R> {
    fn new(name: &'static str, cloud: &Cloud<R>) -> Result<Self, LossError> {
        let dims = cloud.points.dims();
        for (size, what) in [(dims[R - 2], "points"), (dims[R - 1], "coordinates")] {
            if size == 0 {
                return Err(LossError::Empty {
                    operand: name,
                    shape: dims.to_vec(),
                    what,
                });
            }
        }
        let mut one_each = dims;
        one_each[R - 1] = 1;
        let check = |part: &str, shape: [usize; R], wanted: [usize; R]| match shape == wanted {
            true => Ok(()),
            false => Err(differ(
                (&format!("{part} of {name}"), shape),
                (name, dims),
                "the number of points",
            )),
        };
        if let Some(weights) = &cloud.weights {
            check("weights", weights.dims(), one_each)?;
        }
        if let Some(normals) = &cloud.normals {
            check("normals", normals.dims(), dims)?;
        }
        if let Some(padding) = &cloud.padding {
            check("padding", padding.dims(), one_each)?;
            check_padding(name, padding)?;
        }
        let dtype = wide(cloud.points.dtype());
        let points = cloud.points.clone().cast(dtype);
        let without = |values: Tensor<R>| match &cloud.padding {
            Some(padding) => {
                let dim = values.dims()[R - 1];
                values.mask_fill(padding.clone().repeat_dim(R - 1, dim), 0.0)
            }
            None => values,
        };
        let weights = match &cloud.weights {
            Some(weights) => without(weights.clone().cast(dtype)),
            None => {
                let ones = Tensor::ones(one_each, (&points.device().inner(), points.dtype()));
                let present = without(ones);
                let count = present.clone().sum_dim(R - 2);
                present / count
            }
        };
        Ok(Self {
            points: without(points),
            weights,
            is_weighted: cloud.weights.is_some(),
            normals: cloud
                .normals
                .clone()
                .map(|normals| without(normals.cast(dtype))),
            padding: cloud.padding.clone(),
        })
    }

    /// $\sum_i w_i v_i$ for values `[.., N, 1]`, of shape `[.., 1, 1]`.
    pub fn weighted(&self, values: Tensor<R>) -> Tensor<R> {
        (self.weights.clone() * values).sum_dim(R - 2)
    }

    /// The same cloud without gradients by points, weights and normals.
    pub fn inner(&self) -> Self {
        Self {
            points: self.points.clone().inner(),
            weights: self.weights.clone().inner(),
            is_weighted: self.is_weighted,
            normals: self.normals.clone().map(Tensor::inner),
            padding: self.padding.clone(),
        }
    }
}

/// A tensor `[.., 1, 1]` as a vector with one value for each batch.
fn per_batch<const R: usize>(values: Tensor<R>) -> Tensor<1> {
    let count = values.dims().iter().product::<usize>();
    values.reshape([count])
}

/// The type in which a loss of tensors of type `dtype` is computed.
pub(crate) fn wide(dtype: DType) -> FloatDType {
    match dtype {
        DType::F64 => FloatDType::F64,
        _ => FloatDType::F32,
    }
}

/// Returns an error if all points of a cloud in the batch are padding.
fn check_padding<const R: usize>(
    name: &'static str,
    padding: &Tensor<R, Bool>,
) -> Result<(), LossError> {
    let points = padding.dims()[R - 2];
    let is_padding: Vec<bool> = padding.clone().into_data().iter::<bool>().collect();
    let batch = is_padding
        .chunks(points)
        .position(|cloud| cloud.iter().all(|own| *own));
    match batch {
        Some(batch) => Err(LossError::AllPadding {
            operand: name,
            batch,
        }),
        None => Ok(()),
    }
}

/// Defines the methods that take two clouds or two tensors of points. The loss has a method `losses`, which takes a
/// [`Pair`] and gives a value for each batch, `[.., 1, 1]`.
macro_rules! forward_clouds {
    ($loss:ident) => {
        impl $loss {
            /// The loss of two clouds of points of equal weights.
            ///
            /// # Shapes
            /// - x: `[N, D]`
            /// - y: `[M, D]`
            /// - output: `[1]`
            ///
            /// # Panics
            /// If the clouds do not fit together, or one is empty.
            #[track_caller]
            pub fn forward(&self, x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
                crate::error::expect(self.try_forward(x, y))
            }

            /// Like [`forward`](Self::forward), with an error instead of a panic.
            ///
            /// # Errors
            /// Where [`forward`](Self::forward) panics.
            pub fn try_forward(&self, x: Tensor<2>, y: Tensor<2>) -> Result<Tensor<1>, LossError> {
                self.try_forward_clouds(&Cloud::new(x), &Cloud::new(y))
            }

            /// The losses of a batch of pairs of clouds of points of equal weights.
            ///
            /// # Shapes
            /// - x: `[B, N, D]`
            /// - y: `[B, M, D]`
            /// - output: `[B]`
            ///
            /// # Panics
            /// If the clouds do not fit together, or one is empty.
            #[track_caller]
            pub fn forward_batch(&self, x: Tensor<3>, y: Tensor<3>) -> Tensor<1> {
                crate::error::expect(self.try_forward_batch(x, y))
            }

            /// Like [`forward_batch`](Self::forward_batch), with an error instead of a panic.
            ///
            /// # Errors
            /// Where [`forward_batch`](Self::forward_batch) panics.
            pub fn try_forward_batch(
                &self,
                x: Tensor<3>,
                y: Tensor<3>,
            ) -> Result<Tensor<1>, LossError> {
                self.try_forward_clouds(&Cloud::new(x), &Cloud::new(y))
            }

            /// The losses of clouds that may have weights and padding.
            ///
            /// # Shapes
            /// - points of x: `[N, D]`, or `[B, N, D]` for a batch
            /// - points of y: `[M, D]`, or `[B, M, D]` for a batch
            /// - output: `[1]`, or `[B]` for a batch
            ///
            /// # Panics
            /// If the clouds or their parts do not fit together, or if a cloud has no points except padding.
            #[track_caller]
            pub fn forward_clouds<const R: usize>(&self, x: &Cloud<R>, y: &Cloud<R>) -> Tensor<1> {
                crate::error::expect(self.try_forward_clouds(x, y))
            }

            /// Like [`forward_clouds`](Self::forward_clouds), with an error instead of a panic.
            ///
            /// # Errors
            /// Where [`forward_clouds`](Self::forward_clouds) panics.
            pub fn try_forward_clouds<const R: usize>(
                &self,
                x: &Cloud<R>,
                y: &Cloud<R>,
            ) -> Result<Tensor<1>, LossError> {
                let pair = Pair::new(x, y)?;
                Ok(pair.values(self.losses(pair.clone())?))
            }
        }
    };
}
pub(crate) use forward_clouds;
