//! Finds, block by block, the pairs that a mask within a formula leaves out.

use burn::tensor::DType;
use burn_lazy_kernels::{
    Axis, Expr, Ranges as Pairs, ReductionKind, catalogue::ScalarOp, expr::Node,
};

use crate::{
    backends::{self, computed},
    bounded::Bounded,
    kept::Kept,
    lazy::LazyTensor,
    operand::Value,
    pruning::Pruning,
    ranges::Ranges,
    request::{Request, simplified},
};

/// The smallest number of pairs for which blocks are examined.
const FEW_PAIRS: u128 = 1 << 20;

/// The largest fraction of the pairs that may remain. If more remain, ranges do not pay.
const MOST_LEFT: f64 = 0.85;

impl LazyTensor {
    /// This formula with ranges that leave out the blocks in which masks hide every pair. None if this does not pay
    /// or is not possible.
    ///
    /// A mask must give hidden pairs a value that does not change the reduction, and must be computed from indices
    /// and numbers, as for causal attention and windows.
    pub(crate) fn of_masks(&self, request: Request) -> Option<Self> {
        /// The digest of the formula of the mask, its run-time scalars, the sizes of the matrix, the reduced axis,
        /// and whether the mask is computed in F64.
        type Mask = (u128, Vec<u64>, [usize; 2], Axis, bool);
        static MASKS: Kept<Mask, Option<Pairs>> = Kept::new();

        let extent = self.extent();
        let [m, n] = self.sizes();
        let batches: usize = extent.batch.iter().product();
        let all = m as u128 * n as u128;
        let is_large = all * batches as u128 >= FEW_PAIRS;
        if self.pruning == Pruning::Off || self.ranges.is_some() || !is_large {
            return None;
        }
        let exists = self.exists(request.kind)?;
        // Kernels of graphics cards that use matrix instructions take no ranges.
        if !backends::is_processor(extent.device.as_ref()?) {
            return None;
        }
        let (formula, leaves) = simplified(&exists);
        let numbers = leaves
            .iter()
            .filter_map(|leaf| self.number_of(&Expr::var(*leaf)));
        let numbers = numbers.map(f64::to_bits).collect();
        let double = computed(extent.dtype?) == DType::F64;
        let digest = formula.root().digest();
        let key = (digest, numbers, [m, n], request.axis, double);
        let pairs = MASKS.get(key, |_| {
            let most = (all as f64 * MOST_LEFT) as u128;
            let bounded = Bounded::new(self, &exists, request.axis, 0).ok()?;
            bounded.pairs_not_zero(most)
        });
        let pairs = pairs.as_ref().clone()?;
        Some(Self {
            ranges: Some(Ranges::reduced_over(request.axis, pairs)),
            ..self.clone()
        })
    }

    /// A formula that is 0 where a mask gives a pair a value that does not change the reduction, such as 0 in a sum.
    /// None if there is no such mask.
    fn exists(&self, kind: ReductionKind) -> Option<Expr> {
        let (masked, nothing) = match kind {
            ReductionKind::Sum(_) => (self.expr.clone(), 0.0),
            ReductionKind::Smallest { .. } => (self.expr.clone(), f64::INFINITY),
            ReductionKind::LogSumExp { scores } if scores == self.dim() => {
                (self.expr.clone(), f64::NEG_INFINITY)
            }
            ReductionKind::SoftmaxSum => match self.expr.node() {
                Node::Concat(parts) => (parts[0].clone(), f64::NEG_INFINITY),
                _ => return None,
            },
            _ => return None,
        };
        let mut exists: Option<Expr> = None;
        let mut own = &masked;
        while let Node::Scalar(ScalarOp::MaskWhere, args) = own.node() {
            let [value, mask, other] = &args[..] else {
                break;
            };
            // A pair that gets any other value counts, whatever the masks inside this one hide.
            if self.number_of(other) != Some(nothing) {
                break;
            }
            // Masks that read tensors are skipped: only indices and numbers are looked at here.
            let has_tensor = |part: &Expr| matches!(part.node(), Node::Var(var) if !var.scalar);
            if mask.dim() == 1 && !mask.topological().into_iter().any(has_tensor) {
                let absent = Expr::scalar(ScalarOp::Equal, vec![mask.clone(), Expr::constant(0.0)]);
                exists = Some(match exists {
                    None => absent,
                    Some(all) => all * absent,
                });
            }
            own = value;
        }
        exists
    }

    /// The value of an expression that is a number.
    fn number_of(&self, expr: &Expr) -> Option<f64> {
        match expr.node() {
            Node::Const(value) => Some(*value),
            Node::Expand(number, _) => self.number_of(number),
            Node::Var(var) if var.scalar => {
                let operand = self.operands.iter().find(|own| own.var == *var)?;
                match operand.value {
                    Value::Scalar(value) => Some(value),
                    Value::Tensor(_) => None,
                }
            }
            _ => None,
        }
    }
}

#[cfg(all(test, any_backend))]
mod tests {
    use burn::prelude::*;
    use burn_lazy_kernels::Wanted;

    use super::*;

    /// The number of pairs that remain of a square matrix of 1100 rows.
    fn left(masked: &LazyTensor, kind: ReductionKind) -> Option<u128> {
        let found = masked.of_masks(Request::new(kind, Wanted::VALUES, Axis::J))?;
        Some(found.ranges.expect("it was made with ranges").pairs())
    }

    #[test]
    fn masks_are_found_where_they_change_nothing() {
        let device = Device::default();
        let points = || Tensor::<2>::ones([1100, 2], &device);
        let scores = LazyTensor::vi(points()).dot(LazyTensor::vj(points()));
        let later = LazyTensor::offset().less(0.0);
        let masked = scores.mask_where(&later, f64::NEG_INFINITY);
        let softmax = LazyTensor::concat(&[masked.clone(), LazyTensor::vj(points())]);
        let log_sum = ReductionKind::LogSumExp { scores: 1 };
        let list = ReductionKind::Smallest { k: 3 };
        let cases = [
            (&softmax, ReductionKind::SoftmaxSum),
            (&masked, log_sum),
            (
                &scores.mask_where(&later, 0.0),
                ReductionKind::Sum(Default::default()),
            ),
            (&scores.mask_where(&later, f64::INFINITY), list),
        ];
        let all = 1100 * 1100;
        for (masked, kind) in cases {
            match backends::is_processor(&device) {
                true => {
                    let left = left(masked, kind).expect("a causal mask");
                    assert!(
                        left > all / 2 && left < all * 6 / 10,
                        "{left} pairs of {kind}"
                    );
                }
                false => assert_eq!(left(masked, kind), None),
            }
        }
        // Masked pairs count if they get another value, or if the mask reads a tensor.
        assert_eq!(left(&masked, list), None);
        assert_eq!(left(&scores.mask_where(&later, 1.0), log_sum), None);
        let by_tensor = LazyTensor::vi(points()).less(LazyTensor::vj(points()).slice(0..1));
        let by_tensor = by_tensor.slice(0..1);
        assert_eq!(
            left(&scores.mask_where(by_tensor, f64::NEG_INFINITY), log_sum),
            None
        );
    }
}
