//! Formulas as text.

use std::fmt;

use burn_lazy_kernels::{Expr, expr::Printer};

use super::LazyTensor;
use crate::{
    error::FormulaInfo,
    operand::{Operand, name},
};

impl LazyTensor {
    pub(crate) fn boxed_info(&self) -> Box<FormulaInfo> {
        Box::new(FormulaInfo {
            text: print(&self.expr, &self.operands),
            shape: self.symbolic_shape(),
            operands: self
                .operands
                .iter()
                .filter(|operand| operand.as_tensor().is_some())
                .map(|operand| operand.info(&self.operands))
                .collect(),
        })
    }

    /// The shape as KeOps prints it: without the inner axis if its size is 1.
    fn symbolic_shape(&self) -> String {
        let mut shape = self.shape();
        if self.dim() == 1 {
            shape.pop();
        }
        let sizes: Vec<String> = shape.iter().map(|size| size.to_string()).collect();
        format!("({})", sizes.join(", "))
    }
}

pub(super) fn print(expr: &Expr, operands: &[Operand]) -> String {
    let printer = Printer {
        expr,
        name: &|var| name(operands, var),
        budget: 2000,
    };
    printer.to_string()
}

impl fmt::Display for LazyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "LazyTensor")?;
        writeln!(f, "    formula: {}", print(&self.expr, &self.operands))?;
        write!(f, "    shape: {}", self.symbolic_shape())
    }
}

impl fmt::Debug for LazyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
