//! Attention of several heads with learned projections.

use burn::{
    module::{Content, DisplaySettings, Initializer, Module, ModuleDisplay},
    nn::{Dropout, DropoutConfig, Linear, LinearConfig},
    prelude::*,
};

use super::Attention;
use crate::error::{LayerError, check_setting, expect};

/// Configuration to create a [`MultiHeadAttention`] layer with [`init`](MultiHeadAttentionConfig::init). Fields
/// that `burn-nn` also has keep their names and defaults.
#[derive(Config, Debug)]
pub struct MultiHeadAttentionConfig {
    /// The size of the inputs and of the output.
    pub d_model: usize,
    /// The number of heads of queries, which divides `d_model`.
    pub n_heads: usize,
    /// The number of heads of keys and values, which divides `n_heads`. It is `n_heads` if not given.
    pub n_kv_heads: Option<usize>,
    /// The probability with which weights are left out in training. Default: 0.1
    #[config(default = 0.1)]
    pub dropout: f64,
    /// Whether a query may attend to nothing; see [`Attention::quiet`]. Default: false
    #[config(default = false)]
    pub quiet_softmax: bool,
    /// How many positions a query sees; see [`Attention::window`].
    pub window: Option<usize>,
    /// The bound of the absolute values of scores; see [`Attention::softcap`].
    pub softcap: Option<f64>,
    /// How the parameters of the projections are initialised.
    #[config(
        default = "Initializer::KaimingUniform { gain: 1.0 / f64::sqrt(3.0), fan_out_only: false }"
    )]
    pub initializer: Initializer,
    /// Whether the projection of keys has a bias. Default: true
    #[config(default = true)]
    pub key_bias: bool,
    /// Whether the projection of values has a bias. Default: true
    #[config(default = true)]
    pub value_bias: bool,
    /// Whether the projection of queries has a bias. Default: true
    #[config(default = true)]
    pub query_bias: bool,
    /// Whether the projection of the output has a bias. Default: true
    #[config(default = true)]
    pub output_bias: bool,
}

impl MultiHeadAttentionConfig {
    /// The layer, with new parameters.
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) returns an error.
    #[track_caller]
    pub fn init(&self, device: &Device) -> MultiHeadAttention {
        expect(self.try_init(device))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If `n_heads` does not divide `d_model`, `n_kv_heads` does not divide `n_heads`, or a number is out of its
    /// range.
    pub fn try_init(&self, device: &Device) -> Result<MultiHeadAttention, LayerError> {
        let Self {
            d_model, n_heads, ..
        } = *self;
        let n_kv_heads = self.n_kv_heads.unwrap_or(n_heads);
        let positive = "at least 1";
        check_setting("d_model", d_model as f64, positive, d_model > 0)?;
        let divides = |part: usize, whole: usize| part > 0 && whole.is_multiple_of(part);
        let heads = "a divisor of `d_model`";
        check_setting("n_heads", n_heads as f64, heads, divides(n_heads, d_model))?;
        let shared = "a divisor of `n_heads`";
        check_setting(
            "n_kv_heads",
            n_kv_heads as f64,
            shared,
            divides(n_kv_heads, n_heads),
        )?;
        let kept = (0.0..1.0).contains(&self.dropout);
        check_setting("dropout", self.dropout, "at least 0 and less than 1", kept)?;
        if let Some(length) = self.window {
            check_setting("window", length as f64, positive, length > 0)?;
        }
        if let Some(c) = self.softcap {
            check_setting(
                "softcap",
                c,
                "positive and finite",
                c.is_finite() && c > 0.0,
            )?;
        }
        let d_kv = d_model / n_heads * n_kv_heads;
        let linear = |outputs: usize, bias: bool| {
            LinearConfig::new(d_model, outputs)
                .with_bias(bias)
                .with_initializer(self.initializer.clone())
                .init(device)
        };
        Ok(MultiHeadAttention {
            query: linear(d_model, self.query_bias),
            key: linear(d_kv, self.key_bias),
            value: linear(d_kv, self.value_bias),
            output: linear(d_model, self.output_bias),
            dropout: DropoutConfig::new(self.dropout).init(),
            d_model,
            n_heads,
            n_kv_heads,
            quiet_softmax: self.quiet_softmax,
            window: self.window,
            softcap: self.softcap,
        })
    }
}

/// Multi-head attention (Vaswani et al., "Attention is all you need", 2017): the inputs are projected,
/// [`Attention`] is applied to each head, and the concatenated outputs of the heads are projected once more.
///
/// It replaces the layer of the same name of `burn-nn`: parameters have the same names and shapes, so that records
/// and files of that layer load. There are two differences:
/// - the output is the context alone, because weights of the shape `[batch, heads, length_1, length_2]` are never
///   stored;
/// - masks hide keys completely, whereas the layer of `burn-nn` gives them a score of `min_float`. A query that
///   sees no key gives 0 before the last projection.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy_nn::attention::{AttentionInput, MultiHeadAttentionConfig};
///
/// let device = Device::default();
/// let layer = MultiHeadAttentionConfig::new(64, 4).with_window(Some(128)).init(&device);
/// let x = Tensor::<3>::random([2, 500, 64], Distribution::Default, &device);
/// let context = layer.forward(AttentionInput::self_attn(x).causal());
/// assert_eq!(context.dims(), [2, 500, 64]);
/// # }
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct MultiHeadAttention {
    /// The projection of queries, from `d_model` features to `d_model` features.
    pub query: Linear,
    /// The projection of keys, from `d_model` features to the features of all heads of keys.
    pub key: Linear,
    /// The projection of values, from `d_model` features to the features of all heads of values.
    pub value: Linear,
    /// The projection of the concatenated heads to the output.
    pub output: Linear,
    /// The probability with which weights are left out in training.
    pub dropout: Dropout,
    /// The size of the inputs and of the output.
    pub d_model: usize,
    /// The number of heads of queries.
    pub n_heads: usize,
    /// The number of heads of keys and values.
    pub n_kv_heads: usize,
    /// Whether a query may attend to nothing.
    pub quiet_softmax: bool,
    /// How many positions a query sees.
    pub window: Option<usize>,
    /// The bound of the absolute values of scores.
    pub softcap: Option<f64>,
}

impl ModuleDisplay for MultiHeadAttention {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("d_model", &self.d_model)
            .add("n_heads", &self.n_heads)
            .add("n_kv_heads", &self.n_kv_heads)
            .add("dropout", &self.dropout.prob)
            .add("quiet_softmax", &self.quiet_softmax)
            .optional()
    }
}

/// The inputs of a [`MultiHeadAttention`] layer.
#[derive(Clone, Debug)]
#[must_use]
pub struct AttentionInput {
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    causal: bool,
    mask_pad: Option<Tensor<2, Bool>>,
    mask_attn: Option<Tensor<3, Bool>>,
    bias: Option<Tensor<4>>,
}

impl AttentionInput {
    /// A sequence that attends to itself.
    ///
    /// # Shapes
    /// - x: `[batch, length, d_model]`
    pub fn self_attn(x: Tensor<3>) -> Self {
        Self::new(x.clone(), x.clone(), x)
    }

    /// Queries that attend to the keys and values of another sequence.
    ///
    /// # Shapes
    /// - query: `[batch, length_1, d_model]`
    /// - key, value: `[batch, length_2, d_model]`
    pub fn new(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>) -> Self {
        Self {
            query,
            key,
            value,
            causal: false,
            mask_pad: None,
            mask_attn: None,
            bias: None,
        }
    }

    /// Hides the keys at later positions than the query; see [`Attention::causal`]. It takes no memory, and halves
    /// the time on CPUs.
    pub fn causal(self) -> Self {
        Self {
            causal: true,
            ..self
        }
    }

    /// Hides keys that are padding, where `mask_pad` is `true`.
    ///
    /// # Shapes
    /// - mask_pad: `[batch, length_2]`
    pub fn mask_pad(self, mask_pad: Tensor<2, Bool>) -> Self {
        Self {
            mask_pad: Some(mask_pad),
            ..self
        }
    }

    /// Hides keys from queries, where `mask_attn` is `true`.
    ///
    /// # Shapes
    /// - mask_attn: `[batch or 1, length_1, length_2]`
    pub fn mask_attn(self, mask_attn: Tensor<3, Bool>) -> Self {
        Self {
            mask_attn: Some(mask_attn),
            ..self
        }
    }

    /// Adds a bias to the scores; see [`Attention::bias`].
    ///
    /// # Shapes
    /// - bias: `[batch or 1, heads or 1, length_1, length_2]`
    pub fn bias(self, bias: Tensor<4>) -> Self {
        Self {
            bias: Some(bias),
            ..self
        }
    }
}

impl MultiHeadAttention {
    /// The context of each query.
    ///
    /// # Shapes
    /// - query: `[batch, length_1, d_model]`
    /// - key, value: `[batch, length_2, d_model]`
    /// - output: `[batch, length_1, d_model]`
    ///
    /// # Panics
    /// If [`try_forward`](Self::try_forward) returns an error.
    #[track_caller]
    #[must_use]
    pub fn forward(&self, input: AttentionInput) -> Tensor<3> {
        expect(self.try_forward(input))
    }

    /// Like [`forward`](Self::forward), with an error instead of a panic.
    ///
    /// # Errors
    /// If shapes do not fit, or the device refuses the formula.
    pub fn try_forward(&self, input: AttentionInput) -> Result<Tensor<3>, LayerError> {
        let [batch, rows, _] = input.query.dims();
        self.check("keys", &input.key, &input.query)?;
        self.check("values", &input.value, &input.query)?;
        self.check("queries", &input.query, &input.query)?;
        let columns = input.key.dims()[1];
        if let Some(mask) = &input.mask_attn {
            let shape = mask.dims();
            let fits = [1, batch].contains(&shape[0]) && shape[1..] == [rows, columns];
            let expected = "[batch or 1, length_1, length_2]";
            check_shape(fits, "mask_attn", &shape, &input.query, expected)?;
        }
        let attention = Attention {
            causal: input.causal,
            window: self.window,
            softcap: self.softcap,
            quiet: self.quiet_softmax,
            dropout: self.dropout_of(&input.query),
            padding: input.mask_pad,
            // Burn refuses to insert a dimension into an empty mask, which hides nothing.
            mask: input
                .mask_attn
                .filter(|mask| mask.shape().num_elements() > 0)
                .map(|mask| mask.unsqueeze_dim(1)),
            bias: input.bias,
            ..Attention::new()
        };
        let heads = |x: Tensor<3>, linear: &Linear, count: usize| {
            let [batch, length, _] = x.dims();
            project(linear, x)
                .reshape([batch, length, count, self.d_model / self.n_heads])
                .swap_dims(1, 2)
        };
        let context = attention.try_forward(
            heads(input.query, &self.query, self.n_heads),
            heads(input.key, &self.key, self.n_kv_heads),
            heads(input.value, &self.value, self.n_kv_heads),
        )?;
        let context = context.swap_dims(1, 2).reshape([batch, rows, self.d_model]);
        Ok(project(&self.output, context))
    }

    /// The probability with which weights are left out: 0 if the layer is not in training.
    fn dropout_of(&self, x: &Tensor<3>) -> f64 {
        match self.dropout.training.is_enabled() && x.device().is_autodiff() {
            true => self.dropout.prob,
            false => 0.0,
        }
    }

    fn check(
        &self,
        what: &'static str,
        x: &Tensor<3>,
        query: &Tensor<3>,
    ) -> Result<(), LayerError> {
        let fits = x.dims()[2] == self.d_model;
        check_shape(fits, what, &x.dims(), query, "[batch, length, d_model]")
    }
}

/// The projection of `x`. An empty `x` is handled apart, because not all backends multiply it by a matrix.
fn project(linear: &Linear, x: Tensor<3>) -> Tensor<3> {
    let [batch, length, _] = x.dims();
    if batch * length > 0 {
        return linear.forward(x);
    }
    let [_, outputs] = linear.weight.dims();
    Tensor::zeros([batch, length, outputs], (&x.device(), x.dtype()))
}

/// Returns an error unless `fits` holds for a tensor of shape `shape`.
fn check_shape(
    fits: bool,
    what: &'static str,
    shape: &[usize],
    query: &Tensor<3>,
    expected: &'static str,
) -> Result<(), LayerError> {
    match fits {
        true => Ok(()),
        false => Err(LayerError::Shape {
            what,
            shape: shape.to_vec(),
            other: "queries",
            other_shape: query.dims().to_vec(),
            expected,
        }),
    }
}
