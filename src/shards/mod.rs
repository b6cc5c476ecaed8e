//! Reductions on several devices at once.

mod sharded;

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use burn_lazy_kernels::{Accumulation, Axis, ReductionKind, Wanted};

use crate::{
    backends::{check, is_processor},
    error::LazyError,
    lazy::{LazyTensor, expect},
    request::Request,
};

pub use sharded::Sharded;

/// Devices that share the rows or the columns of a symbolic matrix. They may be of any kinds, such as several cards,
/// or a card and the processor. A device may be there several times.
///
/// [`rows`](Self::rows) gives each device a block of rows, with all columns. [`columns`](Self::columns) gives each
/// device a block of columns, with all rows, which pays if there are few rows. The result is a [`Sharded`] matrix
/// with the reductions of [`LazyTensor`], and a [`LinearOperator`](crate::solve::LinearOperator).
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{Axis, LazyTensor, Shards};
///
/// let device = Device::default();
/// let x = Tensor::<2>::random([300, 3], Distribution::Default, &device);
/// let y = Tensor::<2>::random([200, 3], Distribution::Default, &device);
/// let k_ij = (-LazyTensor::vi(x).sqdist(LazyTensor::vj(y))).exp();
///
/// // Two devices, of which the first one takes three quarters of the rows: Device::cuda(0) and Device::cuda(1), say.
/// let shards = Shards::new([device.clone(), device]).weights([3.0, 1.0]);
/// let sums: Tensor<2> = shards.rows(&k_ij).sum(Axis::J);
/// let expected: Tensor<2> = k_ij.sum(Axis::J);
/// sums.into_data().assert_approx_eq::<f32>(&expected.into_data(), Default::default());
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Shards {
    devices: Vec<Device>,
    weights: Vec<f64>,
}

/// The block of rows or columns of one device.
#[derive(Clone)]
struct Block {
    formula: LazyTensor,
    range: Range<usize>,
    device: Device,
}

impl Shards {
    /// Devices that share equally.
    ///
    /// # Panics
    /// If there are no devices.
    #[track_caller]
    pub fn new(devices: impl IntoIterator<Item = Device>) -> Self {
        expect(Self::try_new(devices))
    }

    /// Like [`new`](Self::new), with an error instead of a panic.
    pub fn try_new(devices: impl IntoIterator<Item = Device>) -> Result<Self, LazyError> {
        let devices: Vec<Device> = devices.into_iter().map(Device::inner).collect();
        match devices.is_empty() {
            true => Err(LazyError::NoDevices),
            false => Ok(Self {
                weights: vec![1.0; devices.len()],
                devices,
            }),
        }
    }

    /// The same devices, each with a share in proportion to its weight. A device with weight 0 has nothing.
    ///
    /// # Panics
    /// If there is not one weight for each device, or if weights are negative, not finite, or all 0.
    #[track_caller]
    #[must_use]
    pub fn weights(self, weights: impl IntoIterator<Item = f64>) -> Self {
        expect(self.try_weights(weights))
    }

    /// Like [`weights`](Self::weights), with an error instead of a panic.
    pub fn try_weights(self, weights: impl IntoIterator<Item = f64>) -> Result<Self, LazyError> {
        let weights: Vec<f64> = weights.into_iter().collect();
        let all: f64 = weights.iter().sum();
        let is_share = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        let fits = weights.len() == self.devices.len() && weights.iter().all(is_share);
        match fits && all > 0.0 && all.is_finite() {
            true => Ok(Self { weights, ..self }),
            false => Err(LazyError::ShardWeights {
                weights: format!("{weights:?}"),
                devices: self.devices.len(),
            }),
        }
    }

    /// The same devices, each with a share in proportion to its speed. Each device computes a sum over the columns
    /// for some rows of `k` twice: first to compile the kernels, and then to measure the time. Measure again for
    /// formulas that take another time for a pair. Devices that compute on the processor of this machine compete for
    /// its cores, so that only the fastest of them has a share.
    ///
    /// # Panics
    /// If a device cannot run the formula, or no operand depends on one of the axes.
    #[cfg(not(target_family = "wasm"))]
    #[track_caller]
    #[must_use]
    pub fn balanced(self, k: &LazyTensor) -> Self {
        expect(self.try_balanced(k))
    }

    /// Like [`balanced`](Self::balanced), with an error instead of a panic.
    #[cfg(not(target_family = "wasm"))]
    pub fn try_balanced(self, k: &LazyTensor) -> Result<Self, LazyError> {
        /// About how many pairs are computed.
        const PAIRS: usize = 1 << 22;

        k.check_axis(Axis::I)?;
        k.check_axis(Axis::J)?;
        let [rows, columns] = k.sizes();
        let rows = rows.min((PAIRS / columns.max(1)).max(1));
        let sample = k.inner().try_block(0..rows, 0..columns)?;
        let speed = |device: &Device| {
            let range = 0..rows;
            let block = Block::new(&sample, (Axis::I, &range), device)?;
            let run = || {
                let kind = ReductionKind::Sum(Accumulation::default());
                let request = Request::new(kind, Wanted::VALUES, Axis::J);
                let reduced = block.formula.reduce_unchecked(request);
                let reduced = reduced.map_err(|error| block.named(error, Axis::I))?;
                let values = reduced.values.expect("they are wanted");
                // The values are read, as an operation whose result is not read may stay queued. A device that fails
                // gives its error when it is used.
                let _ = Tensor::<1>::from_dispatch(values).try_into_data();
                Ok(())
            };
            run()?;
            let start = std::time::Instant::now();
            run()?;
            Ok(1.0 / start.elapsed().as_secs_f64().max(1e-9))
        };
        let speeds = self.devices.iter().map(speed);
        let mut speeds = speeds.collect::<Result<Vec<f64>, LazyError>>()?;
        let on_processor: Vec<bool> = self.devices.iter().map(is_processor).collect();
        let processors = || (0..speeds.len()).filter(|place| on_processor[*place]);
        let fastest = processors().max_by(|a, b| speeds[*a].total_cmp(&speeds[*b]));
        for place in processors().collect::<Vec<_>>() {
            if Some(place) != fastest {
                speeds[place] = 0.0;
            }
        }
        self.try_weights(speeds)
    }

    /// The matrix `k` with its rows shared out.
    ///
    /// # Panics
    /// If no operand depends on one of the axes, or a device does not run formulas of this type.
    #[track_caller]
    pub fn rows(&self, k: &LazyTensor) -> Sharded {
        expect(self.try_rows(k))
    }

    /// Like [`rows`](Self::rows), with an error instead of a panic.
    pub fn try_rows(&self, k: &LazyTensor) -> Result<Sharded, LazyError> {
        self.share(k, Axis::I)
    }

    /// The matrix `k` with its columns shared out.
    ///
    /// # Panics
    /// If no operand depends on one of the axes, or a device does not run formulas of this type.
    #[track_caller]
    pub fn columns(&self, k: &LazyTensor) -> Sharded {
        expect(self.try_columns(k))
    }

    /// Like [`columns`](Self::columns), with an error instead of a panic.
    pub fn try_columns(&self, k: &LazyTensor) -> Result<Sharded, LazyError> {
        self.share(k, Axis::J)
    }

    fn share(&self, k: &LazyTensor, axis: Axis) -> Result<Sharded, LazyError> {
        k.check_axis(Axis::I)?;
        k.check_axis(Axis::J)?;
        k.check_tensor()?;
        let len = k.extent().size(axis).expect("it was checked");
        let ranges = shares(len, &self.weights);
        let mut blocks: Vec<_> = ranges
            .into_iter()
            .zip(self.devices.iter().cloned())
            .collect();
        blocks.retain(|(range, _)| !range.is_empty());
        if blocks.is_empty() {
            blocks.push((0..len, self.devices[0].clone()));
        }
        Sharded::new(k, axis, blocks)
    }
}

/// Consecutive parts of `len` in proportion to weights.
fn shares(len: usize, weights: &[f64]) -> Vec<Range<usize>> {
    let all: f64 = weights.iter().sum();
    let (mut before, mut start) = (0.0, 0);
    let parts = weights.iter().enumerate().map(|(k, weight)| {
        before += weight;
        let end = match k + 1 == weights.len() {
            true => len,
            false => ((before / all * len as f64).round() as usize).clamp(start, len),
        };
        let part = start..end;
        start = end;
        part
    });
    parts.collect()
}

impl Block {
    /// The part `range` of `k` along `axis`, on `device`.
    fn new(
        k: &LazyTensor,
        (axis, range): (Axis, &Range<usize>),
        device: &Device,
    ) -> Result<Self, LazyError> {
        let [rows, columns] = k.sizes();
        let block = match axis {
            Axis::I => k.try_block(range.clone(), 0..columns)?,
            Axis::J => k.try_block(0..rows, range.clone())?,
        };
        let mut block = Self {
            formula: block,
            range: range.clone(),
            device: device.clone(),
        };
        // This is checked first, as tensors cannot be moved to a device that does not have their type.
        let kind = ReductionKind::Sum(Accumulation::default());
        check(device, k.extent().dtype, kind, Wanted::VALUES, 1)
            .map_err(|error| block.named(k.unsupported(device, error), axis))?;
        block.formula = block.formula.to_device(device);
        Ok(block)
    }

    /// The error of this block, with its device and its range of the axis.
    fn named(&self, error: LazyError, axis: Axis) -> LazyError {
        LazyError::Shard {
            device: format!("{:?}", self.device),
            axis,
            start: self.range.start,
            end: self.range.end,
            error: Box::new(error),
        }
    }
}
