//! Contrastive losses of representations.

use burn::{module::Param, prelude::*};
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::{
    cloud::wide,
    error::{LossError, differ},
    logits::{Classes, Rows},
};
use crate::error::{check_setting, expect};

/// Configuration to create a [`ContrastiveLoss`] with [`init`](ContrastiveLossConfig::init).
#[derive(Config, Debug)]
pub struct ContrastiveLossConfig {
    /// The number that cosines are divided by. If it is learnable, this is its initial value.
    #[config(default = 0.07)]
    pub temperature: f64,
    /// Whether the temperature is a parameter that is learned, as the logarithm of its inverse.
    #[config(default = false)]
    pub learnable: bool,
    /// The largest inverse of a learnable temperature. Larger inverses are clamped to it.
    #[config(default = 100.0)]
    pub max_scale: f64,
    /// The largest number of scores that are stored at once for representations of more than 128 numbers, for which
    /// products of matrices are faster than formulas. The scores of at least one row are stored. With 0 no scores
    /// are stored. The default is $2^{22}$, or the number of entries of all representations of one side if that is
    /// more.
    pub max_logits: Option<usize>,
    /// Whether [`forward`](ContrastiveLoss::forward) takes the mean of the losses of both directions.
    #[config(default = true)]
    pub symmetric: bool,
}

impl ContrastiveLossConfig {
    /// Creates the loss.
    ///
    /// # Panics
    /// If the temperature or `max_scale` is not positive, or if a learnable temperature starts below 1 /
    /// `max_scale`.
    #[track_caller]
    pub fn init(&self, device: &Device) -> ContrastiveLoss {
        expect(self.try_init(device))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`init`](Self::init) panics.
    pub fn try_init(&self, device: &Device) -> Result<ContrastiveLoss, LossError> {
        check_setting(
            "temperature",
            self.temperature,
            "more than 0",
            self.temperature > 0.0,
        )?;
        check_setting(
            "max_scale",
            self.max_scale,
            "more than 0",
            self.max_scale > 0.0,
        )?;
        let scale = 1.0 / self.temperature;
        // The tolerance allows for the rounding of the logarithm.
        let is_within = !self.learnable || scale <= self.max_scale * (1.0 + 1e-6);
        check_setting(
            "temperature",
            self.temperature,
            "1 / max_scale or more",
            is_within,
        )?;
        let log_scale = || Param::from_tensor(Tensor::from_data([scale.ln()], device));
        Ok(ContrastiveLoss {
            log_scale: self.learnable.then(log_scale),
            scale,
            max_scale: self.max_scale,
            max_logits: self.max_logits,
            symmetric: self.symmetric,
        })
    }
}

/// Contrastive losses, whose memory is that of N representations, not of N x N scores.
///
/// The score of two representations is $s_{ij} = \cos(a_i, b_j) / t$ with the temperature $t$. A representation
/// that is 0 has the cosine 0 with all others.
///
/// The loss of a row is
/// - for [`forward`](Self::forward): $-s_{ii} + \log \sum_j e^{s_{ij}}$, from both sides if it is symmetric. This
///   is InfoNCE (van den Oord et al., "Representation learning with contrastive predictive coding", 2018) and CLIP
///   (Radford et al., "Learning transferable visual models from natural language supervision", 2021);
/// - for [`forward_views`](Self::forward_views): $-s_{i p(i)} + \log \sum_{j \neq i} e^{s_{ij}}$ over the rows of
///   both views, with the other view $p(i)$ of $i$. This is NT-Xent (Chen et al., "A simple framework for
///   contrastive learning of visual representations", 2020);
/// - for [`forward_labels`](Self::forward_labels): the mean of $-s_{ip} + \log \sum_{j \neq i} e^{s_{ij}}$ over the
///   other rows $p$ of the same label. This is SupCon (Khosla et al., "Supervised contrastive learning", 2020).
///
/// Created by [`ContrastiveLossConfig`]. The only parameter is the logarithm of $1 / t$, if it is learnable.
///
/// ```
/// # #[cfg(feature = "autodiff")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy_nn::loss::ContrastiveLossConfig;
///
/// let device = Device::default().autodiff();
/// let loss = ContrastiveLossConfig::new().with_learnable(true).init(&device);
/// let images = Tensor::<2>::random([20, 8], Distribution::Default, &device).require_grad();
/// let texts = Tensor::<2>::random([20, 8], Distribution::Default, &device);
/// let gradients = loss.forward(images.clone(), texts).backward();
/// assert_eq!(images.grad(&gradients).unwrap().dims(), [20, 8]);
/// assert!(loss.log_scale.unwrap().val().grad(&gradients).is_some());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ContrastiveLoss {
    /// The logarithm of $1 / t$ of shape `[1]`, if it is learnable.
    pub log_scale: Option<Param<Tensor<1>>>,
    /// $1 / t$, if it is not learnable.
    scale: f64,
    max_scale: f64,
    max_logits: Option<usize>,
    symmetric: bool,
}

/// Defines for each loss the mean over all rows and the losses of each row. These functions panic where the `try_`
/// functions return an error.
macro_rules! row_losses {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident / $try:ident, $rows:ident / $try_rows:ident ($($arg:ident: $type:ty),*)
    )*) => {
        impl ContrastiveLoss {
            $(
                $(#[doc = $doc])*
                #[track_caller]
                pub fn $name(&self, $($arg: $type),*) -> Tensor<1> {
                    expect(self.$try($($arg),*))
                }

                #[doc = concat!("Like [`", stringify!($name), "`](Self::", stringify!($name),
                    "), with the loss of each row instead of the mean.")]
                #[track_caller]
                pub fn $rows(&self, $($arg: $type),*) -> Tensor<1> {
                    expect(self.$try_rows($($arg),*))
                }
            )*
        }
    };
}

row_losses! {
    /// The mean loss of pairs of representations: row $i$ of `a` belongs to row $i$ of `b`. The scores of long
    /// representations are stored for some rows at a time; see [`ContrastiveLossConfig::max_logits`].
    ///
    /// # Shapes
    /// - a: `[N, D]`
    /// - b: `[N, D]`
    /// - output: `[1]`, or `[N]` for the losses of rows
    ///
    /// # Panics
    /// If shapes or types differ, or there are no rows.
    forward / try_forward, forward_no_reduction / try_forward_no_reduction(a: Tensor<2>, b: Tensor<2>)

    /// The mean loss of two views of the same items. Each representation is compared with all others of both views.
    /// Scores are stored as by [`forward`](Self::forward).
    ///
    /// # Shapes
    /// - a: `[N, D]`
    /// - b: `[N, D]`
    /// - output: `[1]`, or `[2 N]` for the losses of rows, those of `a` first
    ///
    /// # Panics
    /// If shapes or types differ, or there are no rows.
    forward_views / try_forward_views, forward_views_no_reduction / try_forward_views_no_reduction(
        a: Tensor<2>,
        b: Tensor<2>
    )

    /// The mean loss of representations with labels. Representations with the same label belong together. A row
    /// whose label no other row has contributes the loss 0.
    ///
    /// # Shapes
    /// - z: `[N, D]`
    /// - labels: `[N]`
    /// - output: `[1]`, or `[N]` for the losses of rows
    ///
    /// # Panics
    /// If there are no rows, or if the number of labels is not the number of rows.
    forward_labels / try_forward_labels, forward_labels_no_reduction / try_forward_labels_no_reduction(
        z: Tensor<2>,
        labels: Tensor<1, Int>
    )
}

impl ContrastiveLoss {
    /// Like [`forward`](Self::forward), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward`](Self::forward) panics.
    pub fn try_forward(&self, a: Tensor<2>, b: Tensor<2>) -> Result<Tensor<1>, LossError> {
        let dtype = a.dtype();
        let [a, b] = pair(a, b)?;
        let mean = |own: &Tensor<2>, other: &Tensor<2>| {
            let (rows, classes) = self.partners(own, other);
            let sum = rows.sum_of_losses(&classes, self.max_logits)?;
            Ok::<_, LazyError>(sum * (1.0 / rows.counted as f64))
        };
        let mean = match self.symmetric {
            true => (mean(&a, &b)? + mean(&b, &a)?) * 0.5,
            false => mean(&a, &b)?,
        };
        Ok(mean.cast(dtype))
    }

    /// Like [`forward_views`](Self::forward_views), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward_views`](Self::forward_views) panics.
    pub fn try_forward_views(&self, a: Tensor<2>, b: Tensor<2>) -> Result<Tensor<1>, LossError> {
        let dtype = a.dtype();
        let (rows, classes) = self.views(pair(a, b)?);
        let sum = rows.sum_of_losses(&classes, self.max_logits)?;
        Ok((sum * (1.0 / rows.counted as f64)).cast(dtype))
    }

    /// Like [`forward_labels`](Self::forward_labels), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward_labels`](Self::forward_labels) panics.
    pub fn try_forward_labels(
        &self,
        z: Tensor<2>,
        labels: Tensor<1, Int>,
    ) -> Result<Tensor<1>, LossError> {
        Ok(self.try_forward_labels_no_reduction(z, labels)?.mean())
    }

    /// Like [`forward_no_reduction`](Self::forward_no_reduction), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward_no_reduction`](Self::forward_no_reduction) panics.
    pub fn try_forward_no_reduction(
        &self,
        a: Tensor<2>,
        b: Tensor<2>,
    ) -> Result<Tensor<1>, LossError> {
        let dtype = a.dtype();
        let [a, b] = pair(a, b)?;
        let rows = |own: &Tensor<2>, other: &Tensor<2>| {
            let (rows, classes) = self.partners(own, other);
            rows.symbolic_losses(&classes)
        };
        let rows = match self.symmetric {
            true => (rows(&a, &b)? + rows(&b, &a)?) * 0.5,
            false => rows(&a, &b)?,
        };
        Ok(rows.squeeze_dim::<1>(1).cast(dtype))
    }

    /// Like [`forward_views_no_reduction`](Self::forward_views_no_reduction), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward_views_no_reduction`](Self::forward_views_no_reduction) panics.
    pub fn try_forward_views_no_reduction(
        &self,
        a: Tensor<2>,
        b: Tensor<2>,
    ) -> Result<Tensor<1>, LossError> {
        let dtype = a.dtype();
        let (rows, classes) = self.views(pair(a, b)?);
        let rows = rows.symbolic_losses(&classes)?;
        Ok(rows.squeeze_dim::<1>(1).cast(dtype))
    }

    /// Like [`forward_labels_no_reduction`](Self::forward_labels_no_reduction), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward_labels_no_reduction`](Self::forward_labels_no_reduction) panics.
    pub fn try_forward_labels_no_reduction(
        &self,
        z: Tensor<2>,
        labels: Tensor<1, Int>,
    ) -> Result<Tensor<1>, LossError> {
        let dtype = z.dtype();
        if z.dims()[0] != labels.dims()[0] {
            let (z, labels) = (("z", z.dims()), ("labels", labels.dims()));
            return Err(differ(labels, z, "the number of rows"));
        }
        let z = directions("z", z)?;
        let labels: Tensor<2, Int> = labels.unsqueeze_dim(1);
        let same = LazyTensor::try_vi(labels.clone())?.try_equal(LazyTensor::try_vj(labels)?)?;
        let positive = same.try_mask_where(itself(), 0.0)?;
        let count: Tensor<2, Int> = positive.try_count(Axis::J)?;
        let is_alone = count.clone().equal_elem(0);
        let scaled = LazyTensor::try_vi(self.scaled(&z))?;
        let scores = scaled.try_dot(LazyTensor::try_vj(z)?)?;
        let sum: Tensor<2> = scores.try_mul(positive)?.try_sum(Axis::J)?;
        let count = count.float().clamp_min(1.0).cast(sum.dtype());
        let others = scores.try_mask_where(itself(), f64::NEG_INFINITY)?;
        let rows = others.try_logsumexp::<2>(Axis::J)? - sum / count;
        let rows = rows.mask_fill(is_alone, 0.0);
        Ok(rows.squeeze_dim::<1>(1).cast(dtype))
    }

    /// The directions `own` as rows and the directions `other` as classes. The class of each row is the same row of
    /// `other`.
    fn partners(&self, own: &Tensor<2>, other: &Tensor<2>) -> (Rows, Classes) {
        let [count, _] = own.dims();
        let rows = Rows {
            h: self.scaled(own),
            targets: Tensor::arange(0..count as i64, &own.device().inner()),
            is_ignored: None,
            counted: count,
            left_out: None,
            label_smoothing: 0.0,
            z_loss: 0.0,
        };
        let classes = Classes {
            weight: other.clone(),
            bias: None,
            softcap: None,
        };
        (rows, classes)
    }

    /// The directions of both views as rows and as classes. The class of each row is the same row of the other
    /// view, and each row leaves out itself as a class.
    fn views(&self, [a, b]: [Tensor<2>; 2]) -> (Rows, Classes) {
        let all = Tensor::cat(vec![a, b], 0);
        let (rows, classes) = self.partners(&all, &all);
        let half = rows.targets.clone().chunk(2, 0);
        let rows = Rows {
            targets: Tensor::cat(half.into_iter().rev().collect(), 0),
            left_out: Some(0),
            ..rows
        };
        (rows, classes)
    }

    /// The directions, divided by the temperature.
    fn scaled(&self, directions: &Tensor<2>) -> Tensor<2> {
        let directions = directions.clone();
        match self.learned() {
            Some(scale) => directions.clone() * scale.cast(directions.dtype()).unsqueeze_dim(1),
            None => directions * self.scale,
        }
    }

    /// The inverse of the temperature, if it is learnable.
    fn learned(&self) -> Option<Tensor<1>> {
        let log_scale = self.log_scale.as_ref()?;
        Some(log_scale.val().exp().clamp_max(self.max_scale))
    }
}

/// 1 where the row and the column have the same index.
fn itself() -> LazyTensor {
    LazyTensor::offset().equal(0.0)
}

/// The normalised rows of two tensors, which must have the same shape and type.
fn pair(a: Tensor<2>, b: Tensor<2>) -> Result<[Tensor<2>; 2], LossError> {
    if a.dims() != b.dims() {
        return Err(differ(("a", a.dims()), ("b", b.dims()), "their sizes"));
    }
    if a.dtype() != b.dtype() {
        return Err(LossError::Dtypes {
            left: "a",
            left_dtype: a.dtype(),
            right: "b",
            right_dtype: b.dtype(),
        });
    }
    Ok([directions("a", a)?, directions("b", b)?])
}

/// The rows, normalised to the length 1. Rows of 0 stay 0.
fn directions(operand: &'static str, rows: Tensor<2>) -> Result<Tensor<2>, LossError> {
    let shape = rows.dims();
    for (size, what) in shape.into_iter().zip(["rows", "components"]) {
        if size == 0 {
            return Err(LossError::Empty {
                operand,
                shape: shape.to_vec(),
                what,
            });
        }
    }
    let rows = rows.clone().cast(wide(rows.dtype()));
    Ok(LazyTensor::try_vi(rows)?.normalize().try_evaluate()?)
}
