//! Attention of queries, keys and values.

use burn::{
    prelude::*,
    tensor::{DType, Distribution, kind::Basic},
};
use burn_lazy::{Axis, LazyTensor};

use crate::error::{LayerError, check_setting, expect};

/// Queries, keys or values: batch, heads of keys, heads of queries for each head of keys, length, components.
type Grouped = Tensor<5>;

/// Scaled dot-product attention (Vaswani et al., "Attention is all you need", 2017):
/// $$o_i = \frac{\sum_j e^{s_{ij}} v_j}{\sum_j e^{s_{ij}}}, \qquad
/// s_{ij} = c \tanh\!\left(\frac{\lambda \langle q_i, k_j \rangle}{c}\right) + b_{ij}$$
/// over the keys that no mask hides. The scale $\lambda$ is $1 / \sqrt d$ by default, and without a cap the score is
/// $\lambda \langle q_i, k_j \rangle + b_{ij}$.
///
/// If the sequences have different lengths, query $i$ of $L_1$ has the position of key $i + L_2 - L_1$ of $L_2$:
/// causal masks and windows are aligned at the last query and the last key.
///
/// A query whose keys are all hidden gives 0, and has a gradient of 0. Hidden keys and their values have no
/// influence, even if they are NaN.
///
/// # Memory
/// Scores are never stored. The forward and the backward pass take memory that is linear in the lengths. In
/// addition there are the tensors given to [`mask`](Self::mask) and [`bias`](Self::bias), a copy of the mask as
/// numbers in F32, and the gradient by the bias, which has the shape of the bias. On CPUs, blocks of keys that a
/// causal mask or a window hides take no time.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy_nn::attention::Attention;
///
/// let device = Device::default();
/// let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Default, &device);
/// // Four heads of queries share two heads of keys and values.
/// let (q, k, v) = (random([1, 4, 100, 16]), random([1, 2, 100, 16]), random([1, 2, 100, 8]));
/// let out = Attention::new().causal().window(32).forward(q, k, v);
/// assert_eq!(out.dims(), [1, 4, 100, 8]);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Attention {
    pub(super) scale: Option<f64>,
    pub(super) softcap: Option<f64>,
    pub(super) causal: bool,
    pub(super) window: Option<usize>,
    pub(super) quiet: bool,
    pub(super) dropout: f64,
    pub(super) padding: Option<Tensor<2, Bool>>,
    pub(super) mask: Option<Tensor<4, Bool>>,
    pub(super) bias: Option<Tensor<4>>,
}

impl Attention {
    /// Attention without masks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the scale $\lambda$ of the scores.
    pub fn scale(self, scale: f64) -> Self {
        Self {
            scale: Some(scale),
            ..self
        }
    }

    /// Keeps scores between $-c$ and $c$, before masks and bias.
    pub fn softcap(self, c: f64) -> Self {
        Self {
            softcap: Some(c),
            ..self
        }
    }

    /// Hides the keys at later positions than the query.
    pub fn causal(self) -> Self {
        Self {
            causal: true,
            ..self
        }
    }

    /// Hides the keys that are `length` or more positions away from a query. With [`causal`](Self::causal), a query
    /// sees the last `length` keys, including the key at its own position.
    pub fn window(self, length: usize) -> Self {
        Self {
            window: Some(length),
            ..self
        }
    }

    /// Adds 1 to the denominator, so that a query may attend to nothing: "quiet softmax", softmax times
    /// $1 / (1 + e^{-\log \sum_j e^{s_{ij}}})$.
    pub fn quiet(self) -> Self {
        Self {
            quiet: true,
            ..self
        }
    }

    /// Leaves out each weight with this probability, and divides the others by the probability that a weight is
    /// kept.
    ///
    /// Whether a weight is kept is computed from a random seed for each head, which the device draws, and from the
    /// positions of the query and the key. The backward pass computes it again, so nothing is stored for each
    /// weight.
    pub fn dropout(self, probability: f64) -> Self {
        Self {
            dropout: probability,
            ..self
        }
    }

    /// Hides keys that are padding: `true` hides a key.
    ///
    /// # Shapes
    /// - padding: `[batch, length_2]`
    pub fn mask_pad(self, padding: Tensor<2, Bool>) -> Self {
        Self {
            padding: Some(padding),
            ..self
        }
    }

    /// Hides keys from queries: `true` hides a key. Both the mask and a copy of it as numbers are stored.
    ///
    /// # Shapes
    /// - mask: `[batch or 1, heads or 1, length_1, length_2]`
    pub fn mask(self, mask: Tensor<4, Bool>) -> Self {
        Self {
            mask: Some(mask),
            ..self
        }
    }

    /// Adds a bias to the scores, for example for relative positions. The bias is stored and is read without a
    /// copy. Its gradient has the same shape.
    ///
    /// # Shapes
    /// - bias: `[batch or 1, heads or 1, length_1, length_2]`
    pub fn bias(self, bias: Tensor<4>) -> Self {
        Self {
            bias: Some(bias),
            ..self
        }
    }

    /// The output for queries `q`, keys `k` and values `v`. Several heads of queries may share a head of keys and
    /// values: `heads_2` divides `heads_1` (Ainslie et al., "GQA: training generalized multi-query transformer
    /// models", 2023).
    ///
    /// # Shapes
    /// - q: `[batch, heads_1, length_1, d]`
    /// - k: `[batch, heads_2, length_2, d]`
    /// - v: `[batch, heads_2, length_2, d_v]`
    /// - output: `[batch, heads_1, length_1, d_v]`
    ///
    /// # Panics
    /// If [`try_forward`](Self::try_forward) returns an error.
    #[track_caller]
    pub fn forward(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        expect(self.try_forward(q, k, v))
    }

    /// Like [`forward`](Self::forward), with an error instead of a panic.
    ///
    /// # Errors
    /// If shapes do not fit, a number is out of its range, or the device refuses the formula.
    pub fn try_forward(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
    ) -> Result<Tensor<4>, LayerError> {
        let sizes = Sizes::new(&q, &k, &v)?;
        self.check(&sizes)?;
        let [batch, heads, rows, _] = q.dims();
        let [_, _, _, width] = v.dims();
        // Burn reads a 0 in a new shape as the size that was there before, so empty tensors must not be reshaped.
        if [batch, heads, rows, sizes.columns].contains(&0) {
            let options = (&sizes.device, sizes.dtype);
            return Ok(Tensor::zeros([batch, heads, rows, width], options));
        }
        let scale = self.scale.unwrap_or(1.0 / (sizes.dim as f64).sqrt());
        let (q_i, k_j) = (
            LazyTensor::try_vi(sizes.grouped(q))?,
            LazyTensor::try_vj(sizes.shared(k))?,
        );
        let mut scores = q_i.try_dot(&k_j)?.try_mul(scale)?;
        if let Some(c) = self.softcap {
            scores = scores.try_div(c)?.tanh().try_mul(c)?;
        }
        if let Some(bias) = &self.bias {
            scores = scores.try_add(sizes.of_pairs(bias.clone())?)?;
        }
        let hidden = self.hidden(&sizes)?;
        for mask in &hidden {
            scores = scores.try_mask_where(mask, f64::NEG_INFINITY)?;
        }
        let mut weighted = LazyTensor::try_vj(sizes.shared(v.clone()))?;
        if self.dropout > 0.0 {
            weighted = weighted.try_mul(self.kept(&sizes, &v.device())?)?;
        }
        let (mut out, total): (Grouped, Option<Grouped>) = if self.quiet {
            let (out, total) = scores.try_sumsoftmaxweight_logsumexp(&weighted, Axis::J)?;
            (out, Some(total))
        } else {
            (scores.try_sumsoftmaxweight(&weighted, Axis::J)?, None)
        };
        // Rows without a key are filled before any other operation on the output, because NaN times a gradient of 0
        // would be NaN.
        if let Some(nothing) = self.sees_nothing(&sizes, &hidden)? {
            let nothing = nothing.expand(out.dims());
            out = out.mask_fill(nothing, 0.0);
        }
        if let Some(total) = total {
            // Burn's own sigmoid is computed in F32 on some devices, so the sigmoid is computed by a formula.
            let weight: Grouped = LazyTensor::try_vi(total)?.sigmoid().try_evaluate()?;
            out = out * weight;
        }
        Ok(out.reshape([batch, heads, rows, width]))
    }

    fn check(&self, sizes: &Sizes) -> Result<(), LayerError> {
        let positive = "positive and finite";
        if let Some(c) = self.softcap {
            check_setting("softcap", c, positive, c > 0.0)?;
        }
        if let Some(scale) = self.scale {
            check_setting("scale", scale, "finite", true)?;
        }
        if let Some(length) = self.window {
            check_setting("window", length as f64, "at least 1", length > 0)?;
        }
        let p = self.dropout;
        check_setting(
            "dropout",
            p,
            "at least 0 and less than 1",
            (0.0..1.0).contains(&p),
        )?;
        if let Some(padding) = &self.padding {
            let wanted = [sizes.batch, sizes.columns];
            sizes.fits(
                "the padding mask",
                &padding.dims(),
                &wanted,
                "[batch, length_2]",
            )?;
        }
        let expected = "[batch or 1, heads or 1, length_1, length_2]";
        let of_pairs = [
            ("the mask", self.mask.as_ref().map(Tensor::dims)),
            ("the bias", self.bias.as_ref().map(Tensor::dims)),
        ];
        for (what, shape) in of_pairs {
            if let Some(shape) = shape {
                let own = |given: usize, all: usize| if given == 1 { 1 } else { all };
                let wanted = [
                    own(shape[0], sizes.batch),
                    own(shape[1], sizes.heads()),
                    sizes.rows,
                    sizes.columns,
                ];
                sizes.fits(what, &shape, &wanted, expected)?;
            }
        }
        Ok(())
    }

    /// Formulas that are not 0 where a key is hidden. The formulas of positions (causal mask and window) come last,
    /// so that the blocks of pairs that they hide can be skipped.
    fn hidden(&self, sizes: &Sizes) -> Result<Vec<LazyTensor>, LayerError> {
        let mut hidden = Vec::new();
        if let Some(mask) = &self.mask {
            hidden.push(sizes.of_pairs(mask.clone())?);
        }
        if let Some(padding) = &self.padding {
            let shape = [sizes.batch, 1, 1, sizes.columns, 1];
            hidden.push(LazyTensor::try_vj(padding.clone().reshape(shape))?);
        }
        // The position of the query minus the position of the key: negative for keys after the query.
        let ahead = LazyTensor::offset().try_add(sizes.columns as f64 - sizes.rows as f64)?;
        if self.causal {
            hidden.push(ahead.try_less(0.0)?);
        }
        if let Some(length) = self.window {
            let away = if self.causal { ahead } else { ahead.abs() };
            hidden.push(away.try_greater_equal(length as f64)?);
        }
        Ok(hidden)
    }

    /// The factors of the weights under dropout: 0, or the reciprocal of the probability that a weight is kept.
    fn kept(&self, sizes: &Sizes, device: &Device) -> Result<LazyTensor, LayerError> {
        // Seeds are whole numbers below 2^24, which F32 represents exactly.
        let range = Distribution::Uniform(0.0, f64::from(1 << 24));
        let shape = [sizes.batch, sizes.shared, sizes.group, 1];
        let seeds = Tensor::<4>::random(shape, range, (device, DType::F32));
        let seeds = seeds.floor().int();
        let uniform = LazyTensor::try_uniform(LazyTensor::try_pm(seeds)?)?;
        let kept = uniform.try_greater_equal(self.dropout)?;
        Ok(kept.try_mul(1.0 / (1.0 - self.dropout))?)
    }

    /// `true` for each query that sees no key at all. `None` if every query is known to see a key.
    fn sees_nothing(
        &self,
        sizes: &Sizes,
        hidden: &[LazyTensor],
    ) -> Result<Option<Tensor<5, Bool>>, LayerError> {
        // Without a mask, padding or bias, a query sees the key at its own position. Every query has such a key if
        // there are at least as many keys as queries.
        let own_place = sizes.columns >= sizes.rows || !(self.causal || self.window.is_some());
        let by_tensors = self.mask.is_some() || self.padding.is_some() || self.bias.is_some();
        if own_place && !by_tensors {
            return Ok(None);
        }
        let ones = |shape: [usize; 5]| Tensor::<5>::ones(shape, (&sizes.device, sizes.dtype));
        let rows = ones([sizes.batch, sizes.shared, sizes.group, sizes.rows, 1]);
        let columns = ones([1, 1, 1, sizes.columns, 1]);
        let mut seen = LazyTensor::try_vi(rows)?.try_mul(LazyTensor::try_vj(columns)?)?;
        if let Some(bias) = &self.bias {
            let below = sizes
                .of_pairs(bias.clone().detach())?
                .try_equal(f64::NEG_INFINITY)?;
            seen = seen.try_mask_where(&below, 0.0)?;
        }
        for mask in hidden {
            seen = seen.try_mask_where(mask, 0.0)?;
        }
        let any: Tensor<5, Bool> = seen.try_any(Axis::J)?;
        Ok(Some(any.bool_not()))
    }
}

/// The sizes of queries, keys and values.
struct Sizes {
    batch: usize,
    /// The number of heads of keys, and the number of heads of queries for each head of keys (`group`).
    shared: usize,
    group: usize,
    rows: usize,
    columns: usize,
    dim: usize,
    /// The shape of the queries.
    shape: [usize; 4],
    dtype: DType,
    device: Device,
}

impl Sizes {
    fn new(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>) -> Result<Self, LayerError> {
        let shape = q.dims();
        let [batch, heads, rows, dim] = shape;
        let [_, shared, columns, _] = k.dims();
        let sizes = Self {
            batch,
            shared,
            group: heads / shared.max(1),
            rows,
            columns,
            dim,
            shape,
            dtype: q.dtype(),
            device: q.device(),
        };
        let keys = [batch, shared, columns, dim];
        let expected = "[batch, heads_2, length_2, d], where heads_2 divides heads_1";
        sizes.fits("keys", &k.dims(), &keys, expected)?;
        if shared == 0 || !heads.is_multiple_of(shared) {
            return Err(sizes.wrong("keys", &k.dims(), expected));
        }
        let [_, _, _, width] = v.dims();
        let values = [batch, shared, columns, width];
        let expected = "[batch, heads_2, length_2, d_v], as many as there are keys";
        sizes.fits("values", &v.dims(), &values, expected)?;
        for (size, what) in [
            (dim, "the components of queries"),
            (width, "the components of values"),
        ] {
            if size == 0 {
                return Err(LayerError::Empty(what));
            }
        }
        Ok(sizes)
    }

    /// The number of heads of queries.
    fn heads(&self) -> usize {
        self.shared * self.group
    }

    fn fits(
        &self,
        what: &'static str,
        shape: &[usize],
        wanted: &[usize],
        expected: &'static str,
    ) -> Result<(), LayerError> {
        match shape == wanted {
            true => Ok(()),
            false => Err(self.wrong(what, shape, expected)),
        }
    }

    fn wrong(&self, what: &'static str, shape: &[usize], expected: &'static str) -> LayerError {
        LayerError::Shape {
            what,
            shape: shape.to_vec(),
            other: "queries",
            other_shape: self.shape.to_vec(),
            expected,
        }
    }

    /// Queries with their heads in groups, where each group shares a head of keys.
    fn grouped(&self, q: Tensor<4>) -> Grouped {
        let [batch, _, rows, dim] = q.dims();
        q.reshape([batch, self.shared, self.group, rows, dim])
    }

    /// Keys or values, with a dimension of 1 for the heads of queries of a group.
    fn shared(&self, tensor: Tensor<4>) -> Grouped {
        tensor.unsqueeze_dim(2)
    }

    /// A mask or a bias, which may be the same for all batches or heads, as a formula of pairs.
    fn of_pairs<K: Basic>(&self, tensor: Tensor<4, K>) -> Result<LazyTensor, LayerError> {
        let [batch, heads, rows, columns] = tensor.dims();
        let [shared, group] = match heads {
            1 => [1, 1],
            _ => [self.shared, self.group],
        };
        let shape = [batch, shared, group, rows, columns, 1];
        Ok(LazyTensor::try_vij(tensor.reshape(shape))?)
    }
}
