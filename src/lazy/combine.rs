//! Combines formulas, and checks that their operands fit together.

use std::sync::Arc;

use burn_lazy_kernels::{Accumulation, Axis, Expr, expr::broadcast_dim};

use super::{LazyTensor, print::print};
use crate::{
    error::LazyError,
    operand::{Extent, Operand, broadcast, extent, union},
    pruning::Pruning,
    ranges::{Ranges, common},
};

/// The greatest depth of a formula. A deeper one is most likely built by a loop that does not end.
const MAX_DEPTH: usize = 500;

impl LazyTensor {
    /// This handle with another expression over the same operands.
    pub(crate) fn map(&self, expr: Expr) -> Self {
        Self {
            expr,
            operands: self.operands.clone(),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: self.ranges.clone(),
        }
    }

    /// An expression over the operands of all `parts`, which must fit together.
    pub(crate) fn combine(expr: Expr, parts: &[&LazyTensor]) -> Result<Self, LazyError> {
        if expr.depth() > MAX_DEPTH {
            return Err(LazyError::TooDeep {
                depth: expr.depth(),
                limit: MAX_DEPTH,
            });
        }
        let mut operands = parts
            .iter()
            .fold(vec![], |all, part| union(&all, &part.operands));
        if operands.iter().any(Operand::is_unsaid) {
            operands = settled(&expr, &operands, parts)?;
        }
        extent(&operands, || print(&expr, &operands))?;
        let own = Self {
            expr,
            operands: Arc::new(operands),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: None,
        };
        let ranges: Vec<Option<&Ranges>> = parts.iter().map(|part| part.ranges.as_ref()).collect();
        let own = Self {
            ranges: common(&ranges, || own.boxed_info())?,
            ..own
        };
        own.check_ranges()?;
        Ok(own)
    }

    pub(crate) fn check_broadcast(
        &self,
        operation: &'static str,
        other: &LazyTensor,
    ) -> Result<(), LazyError> {
        match broadcast_dim([&self.expr, &other.expr]) {
            Some(_) => Ok(()),
            None => Err(self.dimension_error(operation, other)),
        }
    }

    /// Checks that the inner dimension is 1.
    pub(crate) fn check_scalar(&self, operation: &'static str) -> Result<(), LazyError> {
        match self.dim() {
            1 => Ok(()),
            _ => Err(LazyError::NotScalar {
                operation,
                formula: self.boxed_info(),
            }),
        }
    }

    pub(crate) fn dimension_error(&self, operation: &'static str, other: &LazyTensor) -> LazyError {
        LazyError::Dimension {
            operation,
            dims: [self.dim(), other.dim()],
            left: self.boxed_info(),
            right: other.boxed_info(),
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        let extent =
            extent(&self.operands, String::new).expect("operands were checked when they met");
        match &self.ranges {
            None => extent,
            Some(ranges) => {
                let [m, n] = ranges.sizes();
                Extent {
                    m: extent.m.or(Some(m)),
                    n: extent.n.or(Some(n)),
                    ..extent
                }
            }
        }
    }

    /// Checks that the ranges fit the operands.
    pub(crate) fn check_ranges(&self) -> Result<(), LazyError> {
        let Some(ranges) = &self.ranges else {
            return Ok(());
        };
        let extent = self.extent();
        let [rows, columns] = ranges.sizes();
        let fits = extent.m == Some(rows) && extent.n == Some(columns);
        match fits && (extent.device.is_none() || ranges.fits_batch(&extent.batch)) {
            true => Ok(()),
            false => Err(LazyError::RangesOfOthers {
                rows,
                columns,
                batch: ranges.batch().to_vec(),
                formula: self.boxed_info(),
            }),
        }
    }
}

/// The operands of a formula of `parts`. A tensor in an operator counts as a parameter from now on, if the formula
/// shows that it can be one. A tensor that could also be meant as values of rows or columns is an error.
fn settled(
    expr: &Expr,
    operands: &[Operand],
    parts: &[&LazyTensor],
) -> Result<Vec<Operand>, LazyError> {
    let said: Vec<Operand> = operands
        .iter()
        .filter(|o| !o.is_unsaid())
        .cloned()
        .collect();
    let Ok(extent) = extent(&said, String::new) else {
        // The other operands do not fit together, whatever the tensors in operators are. The caller reports that.
        return Ok(operands.to_vec());
    };
    let is_bare = |part: &LazyTensor| matches!(part.operands.as_slice(), [own] if own.is_unsaid() && part.expr == own.expr());
    let (bare, others): (Vec<&LazyTensor>, Vec<&LazyTensor>) =
        parts.iter().partition(|part| is_bare(part));
    let has_rows = extent.m.is_some() || extent.n.is_some();
    let batch = &extent.batch;
    let named = |size: usize| match [Axis::I, Axis::J].map(|axis| extent.size(axis) == Some(size)) {
        _ if size == 1 => None,
        [true, _] => Some(format!("M = {size}")),
        [_, true] => Some(format!("N = {size}")),
        _ => None,
    };
    let settle = |operand: &Operand| -> Result<Operand, LazyError> {
        if !operand.is_unsaid() {
            return Ok(operand.clone());
        }
        let wrong = |reason: String| LazyError::TensorInOperator {
            operand: Box::new(operand.info(operands)),
            reason,
            formula: print(expr, operands),
        };
        let (dim, own) = (operand.dim(), operand.batch());
        if has_rows && broadcast(batch, own).as_ref() != Some(batch) {
            return Err(wrong(format!(
                "its batch dimensions {own:?} are not those of the formula, {batch:?}"
            )));
        }
        if let Some(size) = own.last().and_then(|last| named(*last)) {
            return Err(wrong(format!(
                "its last batch dimension could also stand for {size}"
            )));
        }
        let is_bare = bare.iter().any(|part| part.operands[0].var == operand.var);
        let fits = dim == 1 || (is_bare && others.iter().any(|other| other.dim() == dim));
        if fits && (has_rows || own.is_empty()) {
            return Ok(operand.clone().said());
        }
        match named(dim) {
            Some(size) if !fits => Err(wrong(format!(
                "its {dim} components could also stand for {size}"
            ))),
            _ => Ok(operand.clone()),
        }
    };
    operands.iter().map(settle).collect()
}
