//! Gradients of reductions over columns, computed one chunk after the other.

use burn::tensor::{Gradients, Tensor};
use burn_lazy_kernels::Axis;

use super::{Formula, Stream, StreamError, signed, softmax};
use crate::{
    cast::cast,
    lazy::{IntoLazy, LazyTensor},
    merge::{Kind, Parted},
};

/// Tensors to differentiate by: one, or a tuple of up to four.
pub trait Leaves {
    /// The gradients: a tensor for each leaf, of its shape.
    type Gradients;

    /// Checks that autodiff tracks all of them.
    #[doc(hidden)]
    fn check(&self) -> Result<(), StreamError>;

    /// Gradients that are 0.
    #[doc(hidden)]
    fn zeros(&self) -> Self::Gradients;

    /// The sum of `sum` and the gradients in `gradients`.
    #[doc(hidden)]
    fn add(&self, sum: Self::Gradients, gradients: &Gradients) -> Self::Gradients;
}

impl<const R: usize> Leaves for Tensor<R> {
    type Gradients = Tensor<R>;

    fn check(&self) -> Result<(), StreamError> {
        match self.is_tracked() {
            true => Ok(()),
            false => Err(StreamError::Untracked {
                shape: self.dims().to_vec(),
            }),
        }
    }

    fn zeros(&self) -> Tensor<R> {
        self.clone().inner().zeros_like()
    }

    fn add(&self, sum: Tensor<R>, gradients: &Gradients) -> Tensor<R> {
        match self.grad(gradients) {
            Some(gradient) => sum + gradient,
            None => sum,
        }
    }
}

impl<L: Leaves> Leaves for &L {
    type Gradients = L::Gradients;

    fn check(&self) -> Result<(), StreamError> {
        (**self).check()
    }

    fn zeros(&self) -> L::Gradients {
        (**self).zeros()
    }

    fn add(&self, sum: L::Gradients, gradients: &Gradients) -> L::Gradients {
        (**self).add(sum, gradients)
    }
}

macro_rules! leaves_of_tuples {
    ($($($leaf:ident $at:tt),*;)*) => {$(
        impl<$($leaf: Leaves),*> Leaves for ($($leaf,)*) {
            type Gradients = ($($leaf::Gradients,)*);

            fn check(&self) -> Result<(), StreamError> {
                $(self.$at.check()?;)*
                Ok(())
            }

            fn zeros(&self) -> Self::Gradients {
                ($(self.$at.zeros(),)*)
            }

            fn add(&self, sum: Self::Gradients, gradients: &Gradients) -> Self::Gradients {
                ($(self.$at.add(sum.$at, gradients),)*)
            }
        }
    )*};
}

leaves_of_tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

/// Reductions of columns in chunks that also give gradients. Made by [`Stream::value_and_grad`].
///
/// Each method is a reduction over all columns. It takes the formula as a function of the columns of a chunk, and the
/// loss as a function of the result of the reduction. It returns the value of the loss and its gradients by the
/// leaves. Both the formula and the loss may depend on the leaves.
///
/// Columns are read twice. The first pass gives the result, and from it the derivatives of the loss. In the second
/// pass each chunk is differentiated on its own, and its part of the graph is then freed. So the memory does not
/// depend on the number of columns. Whatever the formula computes from leaves, such as
/// `LazyTensor::vi(x.clone() * scale)`, must be computed within the function, as autodiff can differentiate a
/// computed tensor only once.
///
/// There are no gradients by the columns.
///
/// # Errors
/// Those of [`Stream`]. Also if a leaf is not tracked, or if the loss is not a single number.
#[derive(Debug)]
pub struct ValueAndGrad<'a, L, const S: usize> {
    stream: Stream<'a, S>,
    leaves: L,
}

/// Defines the reductions.
macro_rules! reductions {
    ($(
        $(#[$doc:meta])*
        $name:ident ($($arg:ident: $type:ty),*) = $kind:expr;
    )*) => {
        impl<L: Leaves, const S: usize> ValueAndGrad<'_, L, S> {
            $(
                $(#[$doc])*
                pub fn $name<const R: usize, T: IntoLazy>(
                    &self,
                    $($arg: $type,)*
                    mut formula: impl FnMut([LazyTensor; S]) -> T,
                    loss: impl FnOnce(Tensor<R>) -> Tensor<1>,
                ) -> Result<(Tensor<1>, L::Gradients), StreamError> {
                    let reduction = Parted::new(stringify!($name), $kind, Axis::J);
                    self.differentiate(reduction, &mut |chunk| formula(chunk).into_lazy(), loss)
                }
            )*
        }
    };
}

reductions! {
    /// A loss of [`Stream::sum`].
    sum() = Kind::Sum;

    /// A loss of [`Stream::mean`].
    mean() = Kind::Mean;

    /// A loss of [`Stream::prod`]. Where products of several chunks overflow, the gradient is NaN.
    prod() = Kind::Product { by_parts: true };

    /// A loss of [`Stream::logsumexp`].
    logsumexp() = Kind::LogSumExp;

    /// A loss of [`Stream::min`].
    min() = Kind::Minimum;

    /// A loss of [`Stream::max`].
    max() = Kind::Maximum;

    /// A loss of [`Stream::kmin`].
    kmin(count: usize) = Kind::Smallest(count);

    /// A loss of [`Stream::var`].
    var() = Kind::Variance { unbiased: true };

    /// A loss of [`Stream::var_bias`].
    var_bias() = Kind::Variance { unbiased: false };
}

impl<'a, L: Leaves, const S: usize> ValueAndGrad<'a, L, S> {
    pub(super) fn new(stream: Stream<'a, S>, leaves: L) -> Self {
        Self { stream, leaves }
    }

    /// A loss of [`Stream::sumsoftmaxweight`].
    pub fn sumsoftmaxweight<const R: usize, T: IntoLazy, U: IntoLazy>(
        &self,
        mut formula: impl FnMut([LazyTensor; S]) -> (T, U),
        loss: impl FnOnce(Tensor<R>) -> Tensor<1>,
    ) -> Result<(Tensor<1>, L::Gradients), StreamError> {
        let reduction = Parted::new("sumsoftmaxweight", Kind::SoftmaxSum, Axis::J);
        self.differentiate(reduction, &mut |chunk| softmax(formula(chunk)), loss)
    }

    /// A loss of [`Stream::logsumexp_weighted`].
    pub fn logsumexp_weighted<const R: usize, T: IntoLazy, U: IntoLazy>(
        &self,
        mut formula: impl FnMut([LazyTensor; S]) -> (T, U),
        loss: impl FnOnce(Tensor<R>) -> Tensor<1>,
    ) -> Result<(Tensor<1>, L::Gradients), StreamError> {
        let reduction = Parted::new("logsumexp_weighted", Kind::WeightedLogSumExp, Axis::J);
        self.differentiate(reduction, &mut |chunk| signed(formula(chunk)), loss)
    }

    fn differentiate<const R: usize>(
        &self,
        reduction: Parted,
        formula: &mut Formula<'_, S>,
        loss: impl FnOnce(Tensor<R>) -> Tensor<1>,
    ) -> Result<(Tensor<1>, L::Gradients), StreamError> {
        let Self { stream, leaves } = self;
        leaves.check()?;
        let mut extent = None;
        let whole = stream.partial(reduction, 2, &mut |chunk| {
            let k = formula(chunk)?;
            extent = Some(k.extent());
            Ok(k)
        })?;
        let extent = extent.expect("a chunk has been reduced");
        let dtype = extent.dtype.expect("there are columns");
        let value = reduction.finish(whole.clone(), dtype).value();

        let mut result = value.autodiff();
        // All tensors of an autodiff graph have the same checkpointing strategy.
        let device = extent.device.expect("there are columns");
        if let Some(strategy) = device.gradient_checkpointing_strategy() {
            result = result.with_gradient_checkpointing_strategy(strategy);
        }
        let result = result.require_grad();
        let loss = loss(result.clone());
        if loss.dims() != [1] {
            return Err(StreamError::Loss {
                shape: loss.dims().to_vec(),
            });
        }
        let zeros = leaves.zeros();
        let value = loss.clone().inner();
        if !loss.is_tracked() {
            return Ok((value, zeros));
        }
        let gradients = loss.backward();
        let mut sum = Some(leaves.add(zeros, &gradients));
        if let Some(cotangent) = result.grad(&gradients) {
            let cotangent = cast(cotangent, whole.dtype().into());
            drop(gradients);
            stream.for_each(formula, (1, 2), &mut |k, columns| {
                if k.is_tracked() {
                    let share = reduction.share(&k, columns.start, &whole, cotangent.clone())?;
                    let gradients = share.backward();
                    sum = sum.take().map(|sum| leaves.add(sum, &gradients));
                }
                Ok(())
            })?;
        }
        Ok((value, sum.expect("it is put back")))
    }
}
