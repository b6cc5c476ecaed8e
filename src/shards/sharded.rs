//! A symbolic matrix on several devices.

use std::{fmt, ops::Range, panic::resume_unwind, thread};

use burn::{
    backend::Dispatch,
    tensor::{Bool, DType, Device, FloatDType, Int, Tensor},
};
use burn_lazy_kernels::{Axis, catalogue::ScalarOp};

use super::Block;
use crate::{
    backends::{computes_in_call, narrow},
    cast::cast,
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
    merge::{Kind, Parted, Results, signed_scores, weighted_terms},
    reduce::{Axes, reductions},
    solve::{LinearOperator, SolveError, is_half},
};

/// A symbolic matrix whose rows or columns are shared out to several devices. Made by
/// [`Shards::rows`](super::Shards::rows) and [`Shards::columns`](super::Shards::columns).
///
/// Reductions and products are those of [`LazyTensor`]. Results are on the device of the tensors that the matrix was
/// made of. They are differentiable by these tensors, as Burn's [`to_device`](Tensor::to_device) is. Indices are
/// those of the whole matrix, and of equal values the one with the lowest index is found. Sums over the shared axis
/// are rounded once more for each block.
///
/// Devices that queue their work run at the same time. Devices that compute within the call, such as those of Flex
/// and NdArray, have a thread for each of their blocks.
///
/// A block that fails gives [`LazyError::Shard`], which names the device and the block.
#[derive(Clone)]
#[must_use = "a formula computes nothing until it is reduced"]
pub struct Sharded {
    whole: LazyTensor,
    /// The axis that is shared out.
    axis: Axis,
    blocks: Vec<Block>,
}

impl fmt::Debug for Sharded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shared out along {}:", self.whole, self.axis)?;
        for Block { range, device, .. } in &self.blocks {
            write!(f, " {range:?} on {device:?}")?;
        }
        Ok(())
    }
}

reductions! {
    impl Sharded;

    /// [`LazyTensor::sum`] of all blocks.
    sum / try_sum(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.reduce(Parted::new("sum", Kind::Sum, axis)).map(Results::value);

    /// [`LazyTensor::mean`] of all blocks.
    mean / try_mean(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.reduce(Parted::new("mean", Kind::Mean, axis)).map(Results::value);

    /// [`LazyTensor::prod`] of all blocks.
    prod / try_prod(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.reduce(Parted::new("prod", Kind::Product { by_parts: false }, axis)).map(Results::value);

    /// [`LazyTensor::logsumexp`] of all blocks.
    logsumexp / try_logsumexp(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.reduce(Parted::new("logsumexp", Kind::LogSumExp, axis)).map(Results::value);

    /// [`LazyTensor::logsumexp_weighted`] of all blocks. Terms of positive and of negative weight are merged
    /// separately, as the sum of a block may be negative and have no logarithm.
    logsumexp_weighted / try_logsumexp_weighted(
        weight: impl IntoLazy,
        axis: impl Into<Axes>
    ) -> Tensor<R> = |k| {
        let reduction = Parted::new("logsumexp_weighted", Kind::WeightedLogSumExp, axis);
        k.weighted(reduction, weight.into_lazy()?)
    };

    /// [`LazyTensor::sumsoftmaxweight`] of all blocks. They are merged by the logarithms of their sums of
    /// exponentials.
    sumsoftmaxweight / try_sumsoftmaxweight(
        weight: impl IntoLazy,
        axis: impl Into<Axes>
    ) -> Tensor<R> = |k| {
        let k = k.like(&k.whole.with_weights("sumsoftmaxweight", weight)?)?;
        let reduction = Parted::new("sumsoftmaxweight", Kind::SoftmaxSum, axis);
        k.reduce(reduction).map(Results::value)
    };

    /// [`LazyTensor::min`] of all blocks.
    min / try_min(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.reduce(Parted::new("min", Kind::Minimum, axis)).map(Results::value);

    /// [`LazyTensor::max`] of all blocks.
    max / try_max(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.reduce(Parted::new("max", Kind::Maximum, axis)).map(Results::value);

    /// [`LazyTensor::argmin`] of all blocks.
    argmin / try_argmin(axis: Axis) -> Tensor<R, Int> =
        |k| k.inner().reduce(Parted::new("argmin", Kind::Minimum, axis)).map(Results::index);

    /// [`LazyTensor::argmax`] of all blocks.
    argmax / try_argmax(axis: Axis) -> Tensor<R, Int> =
        |k| k.inner().reduce(Parted::new("argmax", Kind::Maximum, axis)).map(Results::index);

    /// [`LazyTensor::min_argmin`] of all blocks.
    min_argmin / try_min_argmin(axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.reduce(Parted::new("min_argmin", Kind::Minimum, axis)).map(Results::both);

    /// [`LazyTensor::max_argmax`] of all blocks.
    max_argmax / try_max_argmax(axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.reduce(Parted::new("max_argmax", Kind::Maximum, axis)).map(Results::both);

    /// [`LazyTensor::kmin`] of all blocks.
    kmin / try_kmin(count: usize, axis: Axis) -> Tensor<R> =
        |k| k.reduce(Parted::new("kmin", Kind::Smallest(count), axis)).map(Results::value);

    /// [`LazyTensor::argkmin`] of all blocks.
    argkmin / try_argkmin(count: usize, axis: Axis) -> Tensor<R, Int> = |k| {
        let reduction = Parted::new("argkmin", Kind::Smallest(count), axis);
        k.inner().reduce(reduction).map(Results::index)
    };

    /// [`LazyTensor::kmin_argkmin`] of all blocks.
    kmin_argkmin / try_kmin_argkmin(count: usize, axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.reduce(Parted::new("kmin_argkmin", Kind::Smallest(count), axis)).map(Results::both);

    /// [`LazyTensor::count`] of all blocks.
    count / try_count(axis: impl Into<Axes>) -> Tensor<R, Int> =
        |k| k.reduce(Parted::new("count", Kind::Count, axis)).map(Results::index);

    /// [`LazyTensor::any`] of all blocks.
    any / try_any(axis: impl Into<Axes>) -> Tensor<R, Bool> = |k| {
        let reduction = Parted::new("any", Kind::Maximum, axis);
        let ones = |block: &Block| block.formula.inner().try_apply(ScalarOp::NotEqual, 0.0);
        let ones = k.reduce_blocks::<R>(reduction, ones)?;
        Ok(ones.value().greater_elem(0.5))
    };

    /// [`LazyTensor::var`] of all blocks.
    var / try_var(axis: impl Into<Axes>) -> Tensor<R> = |k| {
        let kind = Kind::Variance { unbiased: true };
        k.reduce(Parted::new("var", kind, axis)).map(Results::value)
    };

    /// [`LazyTensor::var_bias`] of all blocks.
    var_bias / try_var_bias(axis: impl Into<Axes>) -> Tensor<R> = |k| {
        let kind = Kind::Variance { unbiased: false };
        k.reduce(Parted::new("var_bias", kind, axis)).map(Results::value)
    };

    /// [`LazyTensor::var_mean`] of all blocks.
    var_mean / try_var_mean(axis: impl Into<Axes>) -> (Tensor<R>, Tensor<R>) = |k| {
        let kind = Kind::Variance { unbiased: true };
        k.reduce(Parted::new("var_mean", kind, axis)).map(Results::pair)
    };

    /// [`LazyTensor::var_mean_bias`] of all blocks.
    var_mean_bias / try_var_mean_bias(axis: impl Into<Axes>) -> (Tensor<R>, Tensor<R>) = |k| {
        let kind = Kind::Variance { unbiased: false };
        k.reduce(Parted::new("var_mean_bias", kind, axis)).map(Results::pair)
    };
}

impl Sharded {
    /// The matrix `k`, with blocks along `axis` on the given devices.
    pub(super) fn new(
        k: &LazyTensor,
        axis: Axis,
        blocks: impl IntoIterator<Item = (Range<usize>, Device)>,
    ) -> Result<Self, LazyError> {
        let blocks = blocks.into_iter();
        let blocks = blocks.map(|(range, device)| Block::new(k, (axis, &range), &device));
        Ok(Self {
            whole: k.clone(),
            axis,
            blocks: blocks.collect::<Result<_, _>>()?,
        })
    }

    /// Another matrix with the same rows and columns, shared out as this one.
    fn like(&self, k: &LazyTensor) -> Result<Self, LazyError> {
        let blocks = self.blocks.iter();
        let blocks = blocks.map(|block| (block.range.clone(), block.device.clone()));
        Self::new(k, self.axis, blocks)
    }

    /// The same matrix with changed formulas, which is shared out along `axis`.
    fn map(
        &self,
        axis: Axis,
        change: impl Fn(&LazyTensor) -> Result<LazyTensor, LazyError>,
    ) -> Result<Self, LazyError> {
        let block = |block: &Block| {
            let formula = change(&block.formula);
            Ok(Block {
                formula: formula.map_err(|error| block.named(error, self.axis))?,
                ..block.clone()
            })
        };
        Ok(Self {
            whole: change(&self.whole)?,
            axis,
            blocks: self
                .blocks
                .iter()
                .map(block)
                .collect::<Result<_, LazyError>>()?,
        })
    }

    /// The transpose.
    pub fn t(&self) -> Self {
        let transposed = self.map(self.axis.other(), |k| Ok(k.t().accumulate(k.accumulation)));
        transposed.expect("each formula has a transpose")
    }

    /// The same matrix over tensors that are not part of an autodiff graph.
    pub fn inner(&self) -> Self {
        let inner = self.map(self.axis, |k| Ok(k.inner()));
        inner.expect("a formula of other tensors is one")
    }

    /// The product with `b`, as [`LazyTensor::matmul`].
    ///
    /// # Panics
    /// If the formula has an inner dimension other than 1, or `b` does not fit it.
    #[track_caller]
    pub fn matmul<const R: usize>(&self, b: Tensor<R>) -> Tensor<R> {
        expect(self.try_matmul(b))
    }

    /// Like [`matmul`](Self::matmul), with an error instead of a panic.
    pub fn try_matmul<const R: usize>(&self, b: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.whole.check_scalar("matmul")?;
        match R {
            1 => {
                let product = self.product(b.unsqueeze_dim::<2>(1))?;
                let [rows, _] = product.dims();
                Ok(product.reshape([rows; R]))
            }
            _ => self.product(b),
        }
    }

    /// The product with columns `[batch.., N, E]`.
    fn product<const R: usize>(&self, b: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        // This gives the error if `b` does not fit the matrix.
        let _ = self.whole.try_mul(LazyTensor::try_vj(b.clone())?)?;
        let reduction = Parted::new("matmul", Kind::Sum, Axis::J);
        let product = self.reduce_blocks(reduction, |block| {
            let b = match self.axis {
                Axis::I => b.clone(),
                Axis::J => {
                    let part =
                        narrow::<Dispatch>(b.clone().into_dispatch(), R - 2, block.range.clone());
                    Tensor::from_dispatch(part)
                }
            };
            let k = &block.formula;
            let product = k.try_mul(LazyTensor::try_vj(b.to_device(&block.device))?)?;
            product.accumulate(k.accumulation).try_prune(k.pruning)
        })?;
        Ok(product.value())
    }

    /// The logarithm of the sum of exponentials with the weights `weight`.
    fn weighted<const R: usize>(
        &self,
        reduction: Parted,
        weight: LazyTensor,
    ) -> Result<Tensor<R>, LazyError> {
        let name = reduction.operation;
        let mut signed = signed_scores(name, self.whole.clone(), weight)?;
        let stored = signed.extent().dtype.expect("it was checked");
        if !signed.is_tracked() {
            return Ok(self.like(&signed)?.reduce(reduction)?.value());
        }
        if is_half(stored) {
            signed = signed.try_cast(FloatDType::F32)?;
        }
        let value: Tensor<R> = self.like(&signed.inner())?.reduce(reduction)?.value();
        let terms = weighted_terms(&signed, value.clone(), reduction.axes)?;
        let sums: Tensor<R> = self.like(&terms)?.try_sum(reduction.axes)?;
        // This term has the value 0, and carries the gradient.
        let change = sums.clone() - sums.detach();
        Ok(cast(value + change, stored.into()))
    }

    fn reduce<const R: usize>(&self, reduction: Parted) -> Result<Results<R>, LazyError> {
        self.reduce_blocks(reduction, |block| Ok(block.formula.clone()))
    }

    /// The reduction of the formulas that `formula` gives for blocks. The result is on the device of the tensors of
    /// the matrix.
    fn reduce_blocks<const R: usize>(
        &self,
        reduction: Parted,
        formula: impl Fn(&Block) -> Result<LazyTensor, LazyError> + Sync,
    ) -> Result<Results<R>, LazyError> {
        let extent = self.whole.extent();
        let home = extent.device.clone().expect("it was checked");
        let dtype = extent.dtype.expect("it was checked");
        let [m, n] = self.whole.sizes();
        let (merged, len) = match reduction.axes {
            Axes::One(axis) => (axis == self.axis, extent.size(axis).unwrap_or(1)),
            Axes::Both => (true, m.saturating_mul(n)),
        };
        reduction.check_len(&self.whole, len)?;
        let parts = self.on_each(|block| {
            let k = formula(block)?;
            reduction.check_len(&k, len)?;
            let start = if merged { block.range.start } else { 0 };
            let part = reduction.partial::<R>(&k, start)?;
            Ok((part, reduction.rows(R, k.dim())))
        })?;
        let rows = parts[0].1;
        let parts = parts.into_iter().map(|(part, _)| part.on_device(&home));
        match merged {
            true => {
                let merged = reduction.merge(parts.collect())?;
                Ok(reduction.finish(merged, dtype))
            }
            false => {
                let blocks = parts.map(|part| reduction.finish(part, dtype));
                Ok(Results::cat(blocks.collect(), rows))
            }
        }
    }

    /// Calls `run` for all blocks, at the same time where devices allow it. Results are in the order of the blocks.
    fn on_each<T: Send>(
        &self,
        run: impl Fn(&Block) -> Result<T, LazyError> + Sync,
    ) -> Result<Vec<T>, LazyError> {
        let run = |block: &Block| run(block).map_err(|error| block.named(error, self.axis));
        if self.blocks.len() == 1 {
            return self.blocks.iter().map(run).collect();
        }
        thread::scope(|scope| {
            let started = self.blocks.iter().map(|block| {
                let run = &run;
                // This runs on a thread of its own. If no thread can be started, the block is reduced below.
                let reduce = move || {
                    let part = run(block);
                    // With fusion, operations are computed when the thread that queued them waits, or when the result
                    // is read, which one thread does for all blocks. So each thread waits for its device. A failure
                    // is reported where the result is read.
                    let _ = block.device.sync();
                    part
                };
                let thread = || thread::Builder::new().spawn_scoped(scope, reduce);
                match computes_in_call(&block.device) {
                    true => thread().ok(),
                    false => None,
                }
            });
            let started: Vec<_> = started.collect();
            // Other devices queue their work, and nothing waits for them here.
            let queued = self.blocks.iter().zip(&started);
            let queued = queued.map(|(block, thread)| thread.is_none().then(|| run(block)));
            let queued: Vec<_> = queued.collect();
            let results = started
                .into_iter()
                .zip(queued)
                .map(|results| match results {
                    (Some(thread), _) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    (None, queued) => queued.expect("a block without a thread was reduced here"),
                });
            results.collect()
        })
    }
}

impl<const R: usize> LinearOperator<R> for Sharded {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        LinearOperator::<R>::sizes(&self.whole)
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        LinearOperator::<R>::vectors(&self.whole)
    }

    fn batch(&self) -> Vec<usize> {
        LinearOperator::<R>::batch(&self.whole)
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.try_matmul(v)
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.t().try_matmul(v)
    }

    fn inner(&self) -> Self {
        Sharded::inner(self)
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        self.map(self.axis, |k| k.try_cast(dtype))
    }

    fn is_tracked(&self) -> bool {
        self.whole.is_tracked()
    }

    fn check_symmetric(&self) -> Result<(), SolveError> {
        LinearOperator::<R>::check_symmetric(&self.whole)
    }
}
