//! Exact comparisons of whole numbers that the type of the formula does not hold exactly.
//!
//! An integer operand is stored in digits. The digits are compared one after the other, so that labels beyond 2^24
//! are told apart in F32.

use std::sync::Arc;

use burn_lazy_kernels::{Expr, catalogue::ScalarOp, expr::Node};

use crate::{
    error::LazyError,
    lazy::LazyTensor,
    operand::{DIGIT_BITS, Operand, Source, Value, union},
};

/// A number in digits, the highest first. The highest digit has the sign. If the number is not whole, the last digit
/// is its fraction.
struct Digits {
    digits: Vec<Expr>,
    /// Whether the last digit is a fraction.
    fraction: bool,
    operands: Arc<Vec<Operand>>,
}

impl LazyTensor {
    /// The exact comparison with `other`. None if `op` is not a comparison, or if no exact comparison is possible or
    /// needed. At least one side must be an operand of integers or booleans, or components of one. The other side
    /// must be the same, or a number. If all numbers have a single digit, the usual comparison is exact.
    pub(crate) fn compare_whole(
        &self,
        op: ScalarOp,
        other: &LazyTensor,
    ) -> Option<Result<Self, LazyError>> {
        // The comparison of the higher digits, and that of the last digit.
        let (strict, last) = match op {
            ScalarOp::Equal | ScalarOp::NotEqual => (None, ScalarOp::Equal),
            ScalarOp::Less | ScalarOp::LessEqual => (Some(ScalarOp::Less), op),
            ScalarOp::Greater | ScalarOp::GreaterEqual => (Some(ScalarOp::Greater), op),
            _ => return None,
        };
        let (mut left, mut right) = match (self.whole(), other.whole()) {
            (Some(left), Some(right)) => (left, right),
            (Some(left), None) => {
                let right = other.number(left.digits.len())?;
                (left, right)
            }
            (None, Some(right)) => (self.number(right.digits.len())?, right),
            (None, None) => return None,
        };
        let most = left.whole_digits().max(right.whole_digits());
        if most == 1 {
            return None;
        }
        left.extend(most);
        right.extend(most);
        if left.fraction != right.fraction {
            let whole = if left.fraction { &mut right } else { &mut left };
            whole.digits.push(Expr::constant(0.0));
            whole.fraction = true;
        }
        let compare =
            |op, k: usize| Expr::scalar(op, vec![left.digits[k].clone(), right.digits[k].clone()]);
        let lowest = left.digits.len() - 1;
        let mut holds = compare(last, lowest);
        for k in (0..lowest).rev() {
            // All terms are 0 or 1, and at most one of them is 1.
            let rest = compare(ScalarOp::Equal, k) * holds;
            holds = match strict {
                Some(strict) => compare(strict, k) + rest,
                None => rest,
            };
        }
        if op == ScalarOp::NotEqual {
            holds = 1.0 - holds;
        }
        let mut parts = [self.clone(), other.clone()];
        for (part, side) in parts.iter_mut().zip([left, right]) {
            part.operands = side.operands;
        }
        Some(Self::combine(holds, &[&parts[0], &parts[1]]))
    }

    /// The digits of this formula, if it is an operand of integers or booleans, or components of one.
    fn whole(&self) -> Option<Digits> {
        let is_whole = |operand: &&Operand| {
            let value = operand.as_tensor();
            value.is_some_and(|value| value.source != Source::Float)
        };
        let digits = |digits| Digits {
            digits,
            fraction: false,
            operands: self.operands.clone(),
        };
        for operand in self.operands.iter().filter(is_whole) {
            let expr = operand.expr();
            if self.expr == expr {
                return Some(digits(operand.digits()));
            }
            if let Node::Slice(arg, start, len) = self.expr.node()
                && *arg == expr
            {
                let all = operand.digits();
                let part = |digit: &Expr| digit.slice(*start, *len);
                return Some(digits(all.iter().map(part).collect()));
            }
        }
        None
    }

    /// This formula in `count` or more digits, if it is a run-time scalar. Each digit is a run-time scalar, too.
    fn number(&self, count: usize) -> Option<Digits> {
        let Node::Var(var) = self.expr.node() else {
            return None;
        };
        let operand = self.operands.iter().find(|operand| operand.var == *var)?;
        let Value::Scalar(value) = operand.value else {
            return None;
        };
        // A number beyond all integers needs no digits: the comparison in the type of the formula is right.
        if !value.is_finite() || value.abs() >= 2f64.powi(64) {
            return None;
        }
        let base = f64::from(1u32 << DIGIT_BITS);
        let (mut whole, fraction) = (value.floor(), value - value.floor());
        let mut numbers = vec![];
        if fraction != 0.0 {
            numbers.push(fraction);
        }
        let mut digits = 1;
        while digits < count || whole.abs() >= base {
            let rest = (whole / base).floor();
            numbers.push(whole - rest * base);
            whole = rest;
            digits += 1;
        }
        numbers.push(whole);
        let operands: Vec<Operand> = numbers.into_iter().rev().map(Operand::scalar).collect();
        Some(Digits {
            digits: operands.iter().map(Operand::expr).collect(),
            fraction: fraction != 0.0,
            operands: Arc::new(union(&self.operands, &operands)),
        })
    }
}

impl Digits {
    /// The number of digits without the fraction.
    fn whole_digits(&self) -> usize {
        self.digits.len() - usize::from(self.fraction)
    }

    /// Extends the number to `count` digits besides its fraction. Its value stays the same.
    fn extend(&mut self, count: usize) {
        let base = f64::from(1u32 << DIGIT_BITS);
        while self.whole_digits() < count {
            // The highest digit has the sign, and those below it are not negative.
            let highest = self.digits[0].clone();
            let args = vec![highest.clone(), Expr::constant(0.0)];
            let negative = Expr::scalar(ScalarOp::Less, args);
            self.digits[0] = highest + negative.clone() * base;
            self.digits.insert(0, -negative);
        }
    }
}
