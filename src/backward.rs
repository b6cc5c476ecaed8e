//! The derivative of a reduction as a formula, before there are tensors for it.

use burn_lazy_kernels::{Axis, Cotangent, Expr, Formula, Forward, ReductionKind, expr::Var};

use crate::ops::Reduction;

/// What a leaf of a derivative stands for, if it is not an operand of the formula.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The cotangent of the result: the derivative of the differentiated number by each entry of the result.
    Cotangent,
    /// The entries of the result.
    Result,
    /// The indices where the entries of the result were found.
    Indices,
    /// The maxima, and the sums of exponentials relative to them, that the result is computed from.
    State,
    /// A number, which is passed to kernels as a run-time scalar.
    Parameter(f64),
    /// A number for each row of the result, in all batches.
    Rows(Vec<f64>),
    /// The result of another reduction over the same columns. Its formula reads operands and leaves that come before
    /// this one.
    Reduced(ReductionKind, Expr),
}

/// The derivative of a reduction by its formula at each pair.
pub(crate) struct Derivative {
    /// The cotangent of the formula.
    pub cotangent: Cotangent,
    /// The leaves of the cotangent that are not operands, in the order in which they were requested. Their numbers
    /// follow those of the operands.
    pub leaves: Vec<(Var, Source)>,
}

impl Derivative {
    /// The derivative of `reduction`.
    pub(crate) fn of(reduction: &Reduction) -> Self {
        let mut pass = ForwardPass {
            reduction,
            cotangent: Expr::constant(0.0),
            given: [None, None, None],
            leaves: Vec::new(),
        };
        pass.cotangent = pass.rows(reduction.spec().entries(), Source::Cotangent);
        Self {
            cotangent: reduction.kind.derivative(&mut pass),
            leaves: pass.leaves,
        }
    }

    /// The largest number of tensors that one reduction of the backward pass reads.
    pub(crate) fn tensors(&self, reduction: &Reduction) -> usize {
        let root = reduction.formula.root();
        // One reduction computes all gradients that are summed over the same axis.
        let by = |summed: &dyn Fn(&Var) -> bool| {
            let vars = reduction.formula.tensors().filter(|var| summed(var));
            let gradients: Vec<Expr> = vars
                .map(|var| root.pullback(var, self.cotangent.clone()))
                .collect();
            match gradients.is_empty() {
                true => 0,
                false => Formula::new(&Expr::concat(gradients)).0.tensors().count(),
            }
        };
        let axis = Some(reduction.axis);
        let columns = by(&|var| var.axis() == axis);
        let rows = by(&|var| var.axis() != axis && !var.is_of_pairs());
        // This reduction may read the indices of the columns as one more tensor.
        let pairs = match by(&|var| var.is_of_pairs()) {
            0 => 0,
            count => count + 1,
        };
        columns.max(rows).max(pairs)
    }
}

/// A reduction that is differentiated. Its results become leaves that vary along the axis that is not reduced.
struct ForwardPass<'a> {
    reduction: &'a Reduction,
    cotangent: Expr,
    /// The leaves for the result, its indices and its state. Each is made when it is first requested.
    given: [Option<Expr>; 3],
    leaves: Vec<(Var, Source)>,
}

impl ForwardPass<'_> {
    /// A new leaf: `dim` numbers for each row of `axis`, or a single number if there is no axis.
    fn leaf(&mut self, axis: Option<Axis>, dim: usize, source: Source) -> Expr {
        let before = self.reduction.formula.vars().len() + self.leaves.len();
        let var = Var {
            id: before as u64,
            axes: axis.into(),
            dim,
            scalar: axis.is_none(),
        };
        self.leaves.push((var, source));
        Expr::var(var)
    }

    fn rows(&mut self, dim: usize, source: Source) -> Expr {
        self.leaf(Some(self.reduction.axis.other()), dim, source)
    }

    /// The leaf at place `at` of the field `given`. It is made on the first call.
    fn given(&mut self, at: usize, dim: usize, source: Source) -> Expr {
        if let Some(leaf) = &self.given[at] {
            return leaf.clone();
        }
        let leaf = self.rows(dim, source);
        self.given[at].insert(leaf).clone()
    }
}

impl Forward for ForwardPass<'_> {
    fn root(&self) -> &Expr {
        self.reduction.formula.root()
    }

    fn axis(&self) -> Axis {
        self.reduction.axis
    }

    fn of_count(&mut self, of: &dyn Fn(usize) -> f64) -> Expr {
        let Reduction {
            ranges,
            axis,
            batch,
            ..
        } = self.reduction;
        match ranges {
            // The count is a run-time scalar, so that all numbers of columns share one kernel.
            None => {
                let value = of(self.reduction.size(*axis));
                self.leaf(None, 1, Source::Parameter(value))
            }
            Some(ranges) => {
                let counts = ranges.lengths_over(*axis, batch).into_iter();
                self.rows(1, Source::Rows(counts.map(of).collect()))
            }
        }
    }

    fn cotangent(&self) -> Expr {
        self.cotangent.clone()
    }

    fn result(&mut self) -> Expr {
        self.given(0, self.reduction.spec().entries(), Source::Result)
    }

    fn indices(&mut self) -> Expr {
        self.given(1, self.reduction.spec().entries(), Source::Indices)
    }

    fn state(&mut self, plane: usize) -> Expr {
        let terms = self.reduction.spec_of_terms();
        let state = self.given(2, terms.state_size(), Source::State);
        state.slice(terms.plane_start(plane), terms.plane_size(plane))
    }

    fn reduced(&mut self, kind: ReductionKind, root: &Expr) -> Expr {
        self.rows(root.dim(), Source::Reduced(kind, root.clone()))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::IntDType;
    use burn_lazy_kernels::Wanted;

    use super::*;

    fn count(root: &Expr, kind: ReductionKind) -> usize {
        let reduction = Reduction {
            formula: Formula::new(root).0,
            kind,
            wanted: Wanted::VALUES,
            values: None,
            indices: IntDType::I32,
            axis: Axis::J,
            batch: vec![],
            m: 4,
            n: 5,
            squeezed: false,
            fold: None,
            ranges: None,
            scalars: vec![],
        };
        Derivative::of(&reduction).tensors(&reduction)
    }

    #[test]
    fn tensors_of_the_backward_pass_are_counted() {
        let leaf = |id, axis| {
            Expr::var(Var {
                id,
                axes: Some(axis).into(),
                dim: 1,
                scalar: false,
            })
        };
        let rows = [0, 1, 2].map(|id| leaf(id, Axis::I));
        let y = leaf(3, Axis::J);
        let sum = ReductionKind::Sum(Default::default());
        // Only the cotangent is read.
        assert_eq!(count(&(rows[0].clone() + y.clone()), sum), 1);
        assert_eq!(count(&(rows[0].clone() * y.clone()), sum), 2);
        // The derivative by one operand may read all of the others.
        let product = rows
            .iter()
            .fold(y.clone(), |product, row| product * row.clone());
        assert_eq!(count(&product, sum), 5);
        // Further tensors are the maxima and sums of exponentials, the result, or its indices.
        let scores = rows[0].clone() * y.clone();
        assert_eq!(count(&scores, ReductionKind::LogSumExp { scores: 1 }), 4);
        assert_eq!(count(&scores, ReductionKind::Minimum), 3);
        let both = Expr::concat(vec![scores, y]);
        assert_eq!(count(&both, ReductionKind::SoftmaxSum), 5);
        assert_eq!(count(&both, ReductionKind::Variance { unbiased: true }), 4);
    }
}
