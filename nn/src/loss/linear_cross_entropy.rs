//! Cross-entropy of a linear layer, whose logits are never stored all at once.

use super::{
    cloud::wide,
    error::{LossError, differ},
    logits::{Classes, Rows},
};
use crate::error::{check_setting, expect};
use burn::{
    module::{Initializer, Param},
    nn::loss::Reduction,
    prelude::*,
};

/// Configuration to create a [`LinearCrossEntropyLoss`] with [`init`](LinearCrossEntropyLossConfig::init).
#[derive(Config, Debug)]
pub struct LinearCrossEntropyLossConfig {
    /// The size of the representations.
    pub d_model: usize,
    /// The number of classes.
    pub vocab: usize,
    /// Whether each class has a bias.
    #[config(default = false)]
    pub bias: bool,
    /// Logits $z$ are replaced by $c \tanh(z / c)$ with this $c$.
    pub softcap: Option<f64>,
    /// Rows with this target are ignored.
    #[config(default = "-100")]
    pub ignore_index: i64,
    /// The part of the probability that is spread evenly over all classes, from 0 to 1.
    #[config(default = 0.0)]
    pub label_smoothing: f64,
    /// The factor of the square of the logarithm of the sum of exponentials. This term keeps the logarithm near 0.
    #[config(default = 0.0)]
    pub z_loss: f64,
    /// The largest number of logits that are stored at once for representations of more than 128 numbers, for which
    /// products of matrices are faster than formulas. The logits of at least one row are stored. With 0 no logits
    /// are stored. The default is $2^{22}$, or the number of entries of the weights if that is more.
    pub max_logits: Option<usize>,
    /// How the parameters are initialised.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/3.0f64.sqrt(), fan_out_only:false}")]
    pub initializer: Initializer,
}

impl LinearCrossEntropyLossConfig {
    /// Creates the loss with its parameters.
    ///
    /// # Panics
    /// If there are no classes, if representations have no components, or a setting is out of its range.
    #[track_caller]
    pub fn init(&self, device: &Device) -> LinearCrossEntropyLoss {
        expect(self.try_init(device))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`init`](Self::init) panics.
    pub fn try_init(&self, device: &Device) -> Result<LinearCrossEntropyLoss, LossError> {
        for (setting, size) in [("d_model", self.d_model), ("vocab", self.vocab)] {
            check_setting(setting, size as f64, "more than 0", size > 0)?;
        }
        if let Some(softcap) = self.softcap {
            check_setting("softcap", softcap, "more than 0", softcap > 0.0)?;
        }
        let is_part = (0.0..=1.0).contains(&self.label_smoothing);
        check_setting(
            "label_smoothing",
            self.label_smoothing,
            "from 0 to 1",
            is_part,
        )?;
        check_setting("z_loss", self.z_loss, "0 or more", self.z_loss >= 0.0)?;
        let fans = (Some(self.d_model), Some(self.vocab));
        let bias = || {
            self.initializer
                .init_with([self.vocab], fans.0, fans.1, device)
        };
        Ok(LinearCrossEntropyLoss {
            weight: (self.initializer).init_with(
                [self.vocab, self.d_model],
                fans.0,
                fans.1,
                device,
            ),
            bias: self.bias.then(bias),
            softcap: self.softcap,
            ignore_index: self.ignore_index,
            label_smoothing: self.label_smoothing,
            z_loss: self.z_loss,
            max_logits: self.max_logits,
        })
    }
}

/// The last layer of a classifier with its cross-entropy: the loss of a row $h$ with the target $t$ is
/// $$-z_t + \log \sum_v e^{z_v}, \quad z_v = h \cdot w_v + b_v,$$
/// where the logits $z$ of T rows and V classes are never stored (Wijmans et al., "Cut your losses in large-vocabulary
/// language models", 2024). It needs memory for T + V vectors.
///
/// With label smoothing $\alpha$ the first term is $-(1 - \alpha) z_t - \frac \alpha V \sum_v z_v$ (Szegedy et al.,
/// "Rethinking the inception architecture for computer vision", 2016). `z_loss` is the factor of an additional term
/// $(\log \sum_v e^{z_v})^2$ (Chowdhery et al., "PaLM", 2022).
///
/// Created by [`LinearCrossEntropyLossConfig`]. F16 and BF16 are computed in F32. The targets are read from the device
/// and checked.
///
/// ```
/// use burn::{nn::loss::Reduction, prelude::*, tensor::Distribution};
/// use burn_lazy_nn::loss::LinearCrossEntropyLossConfig;
///
/// let device = Device::default();
/// let loss = LinearCrossEntropyLossConfig::new(16, 1000).init(&device);
/// let h = Tensor::<2>::random([4, 16], Distribution::Default, &device);
/// // The last row does not count.
/// let targets = Tensor::<1, Int>::from_data([3, 999, 0, -100], &device);
/// let value: f32 = loss.forward(h, targets, Reduction::Mean).into_scalar();
/// assert!((value - 1000f32.ln()).abs() < 1.0);
/// ```
#[derive(Module, Debug)]
pub struct LinearCrossEntropyLoss {
    /// The weights of the layer, `[V, D]`: one vector for each class.
    pub weight: Param<Tensor<2>>,
    /// The bias of each class, `[V]`, if there is one.
    pub bias: Option<Param<Tensor<1>>>,
    softcap: Option<f64>,
    ignore_index: i64,
    label_smoothing: f64,
    z_loss: f64,
    max_logits: Option<usize>,
}

impl LinearCrossEntropyLoss {
    /// The mean or the sum of the losses of all rows.
    ///
    /// The mean is taken over the rows that are not ignored. It is 0 if all rows are ignored.
    ///
    /// # Shapes
    /// - h: `[T, D]`
    /// - targets: `[T]`
    /// - output: `[1]`
    ///
    /// # Panics
    /// If shapes or types do not fit, if a target is not a class, or if the reduction is [`Reduction::BatchMean`].
    #[track_caller]
    pub fn forward(
        &self,
        h: Tensor<2>,
        targets: Tensor<1, Int>,
        reduction: Reduction,
    ) -> Tensor<1> {
        expect(self.try_forward(h, targets, reduction))
    }

    /// Like [`forward`](Self::forward), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward`](Self::forward) panics.
    pub fn try_forward(
        &self,
        h: Tensor<2>,
        targets: Tensor<1, Int>,
        reduction: Reduction,
    ) -> Result<Tensor<1>, LossError> {
        let is_mean = match reduction {
            Reduction::Mean | Reduction::Auto => true,
            Reduction::Sum => false,
            other => return Err(LossError::Reduction(format!("{other:?}"))),
        };
        let dtype = h.dtype();
        let (rows, classes) = self.checked(h, targets)?;
        let sum = rows.sum_of_losses(&classes, self.max_logits)?;
        let value = match is_mean {
            true => sum * (1.0 / rows.counted.max(1) as f64),
            false => sum,
        };
        Ok(value.cast(dtype))
    }

    /// The loss of each row, which is 0 for rows that are ignored.
    ///
    /// # Shapes
    /// - h: `[T, D]`
    /// - targets: `[T]`
    /// - output: `[T]`
    ///
    /// # Panics
    /// If shapes or types do not fit, or if a target is not a class.
    #[track_caller]
    pub fn forward_no_reduction(&self, h: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        expect(self.try_forward_no_reduction(h, targets))
    }

    /// Like [`forward_no_reduction`](Self::forward_no_reduction), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward_no_reduction`](Self::forward_no_reduction) panics.
    pub fn try_forward_no_reduction(
        &self,
        h: Tensor<2>,
        targets: Tensor<1, Int>,
    ) -> Result<Tensor<1>, LossError> {
        let dtype = h.dtype();
        let (rows, classes) = self.checked(h, targets)?;
        let losses = rows.symbolic_losses(&classes)?;
        Ok(losses.squeeze_dim::<1>(1).cast(dtype))
    }

    /// The rows and the classes in the type in which the loss is computed, checked to fit together.
    fn checked(&self, h: Tensor<2>, targets: Tensor<1, Int>) -> Result<(Rows, Classes), LossError> {
        let weight = self.weight.val();
        let ([count, dim], [vocab, own_dim]) = (h.dims(), weight.dims());
        if dim != own_dim {
            let (h, weight) = (("h", h.dims()), ("weight", weight.dims()));
            return Err(differ(h, weight, "the last dimension"));
        }
        if count != targets.dims()[0] {
            let (h, targets) = (("h", h.dims()), ("targets", targets.dims()));
            return Err(differ(targets, h, "the number of rows"));
        }
        if wide(h.dtype()) != wide(weight.dtype()) {
            return Err(LossError::Dtypes {
                left: "h",
                left_dtype: h.dtype(),
                right: "weight",
                right_dtype: weight.dtype(),
            });
        }
        let counted = self.count(&targets, vocab)?;
        let dtype = wide(h.dtype());
        let is_ignored = targets.clone().equal_elem(self.ignore_index);
        let targets = targets.mask_fill(is_ignored.clone(), 0);
        let is_ignored: Tensor<2, Bool> = is_ignored.unsqueeze_dim(1);
        // The values of ignored rows have no influence, even if they are not finite.
        let h = h.cast(dtype);
        let rows = Rows {
            h: h.mask_fill(is_ignored.clone().repeat_dim(1, dim), 0.0),
            targets,
            is_ignored: Some(is_ignored),
            counted,
            left_out: None,
            label_smoothing: self.label_smoothing,
            z_loss: self.z_loss,
        };
        let column = |bias: &Param<Tensor<1>>| bias.val().cast(dtype).unsqueeze_dim(1);
        let classes = Classes {
            weight: weight.cast(dtype),
            bias: self.bias.as_ref().map(column),
            softcap: self.softcap,
        };
        Ok((rows, classes))
    }

    /// The number of rows that are not ignored, or an error if one of their targets is not a class.
    fn count(&self, targets: &Tensor<1, Int>, classes: usize) -> Result<usize, LossError> {
        let targets = targets.clone().into_data();
        let counted = targets
            .iter::<i64>()
            .filter(|target| *target != self.ignore_index);
        let counted: Vec<i64> = counted.collect();
        let ends = counted.iter().min().zip(counted.iter().max());
        match ends {
            Some((least, largest)) if *least < 0 || *largest >= classes as i64 => {
                Err(LossError::Targets {
                    least: *least,
                    largest: *largest,
                    classes,
                })
            }
            _ => Ok(counted.len()),
        }
    }
}
