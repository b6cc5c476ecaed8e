//! Rewriting to an equal expression that costs less.
//!
//! Only identities that hold in floating point are used: constants are folded, neutral elements and
//! double negations vanish, slices move to the leaves. A product with zero stays, as it may be NaN. A constant
//! mask stays, too, so that the operands that it hides keep their places among the operands.

use rustc_hash::FxHashMap;

use super::{
    catalogue::ScalarOp,
    expr::{Expr, Node},
};

impl Expr {
    /// The simplified expression.
    pub fn simplify(&self) -> Expr {
        let mut slices = Slices::default();
        self.rewrite(|expr, args| match expr.node() {
            Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => expr.clone(),
            Node::Scalar(op, _) => scalar(*op, args, expr.dim()),
            Node::InnerSum(_) => inner_sum(&args[0]),
            Node::InnerExtremum(extreme, _) => match args[0].node() {
                Node::Expand(inner, _) => inner.clone(),
                _ => args[0].inner_extremum(*extreme),
            },
            Node::Slice(_, start, len) => slice(&args[0], *start, *len, &mut slices),
            Node::Concat(_) => Expr::concat(args),
            Node::Expand(_, dim) => args[0].expand(*dim),
        })
    }
}

fn scalar(op: ScalarOp, args: Vec<Expr>, dim: usize) -> Expr {
    let constants: Vec<Option<f64>> = args.iter().map(Expr::as_const).collect();
    if let Some(values) = constants.iter().copied().collect::<Option<Vec<f64>>>() {
        return Expr::constant(op.host(&values)).expand(dim);
    }
    // A repeated value broadcasts anyway beside an argument of full dimension.
    let full = args
        .iter()
        .any(|arg| arg.dim() == dim && !matches!(arg.node(), Node::Expand(..)));
    let args: Vec<Expr> = args
        .into_iter()
        .map(|arg| match arg.node() {
            Node::Expand(inner, _) if full => inner.clone(),
            _ => arg,
        })
        .collect();
    let neutral = match (op, constants.as_slice()) {
        (op, [Some(1.0), _]) if is_multiplication(op) => Some(1),
        (op, [_, Some(1.0)]) if is_multiplication(op) || op == ScalarOp::Div => Some(0),
        // Not for sums: adding 0 to -0 gives 0.
        (ScalarOp::Sub, [_, Some(zero)]) if zero.to_bits() == 0 => Some(0),
        (ScalarOp::Powi(1), _) => Some(0),
        _ => None,
    };
    if let Some(kept) = neutral
        && (args[kept].dim() == dim || args[kept].dim() == 1)
    {
        return args[kept].expand(dim);
    }
    // A strong product with the constant 0 is 0. With any other constant it is an ordinary product.
    let op = match (op, constants.as_slice()) {
        (ScalarOp::StrongMul | ScalarOp::StrongFlushedMul, [Some(0.0), _]) => {
            return Expr::constant(0.0).expand(dim);
        }
        (ScalarOp::StrongMul, [Some(_), _]) => ScalarOp::Mul,
        (ScalarOp::StrongFlushedMul, [Some(_), _]) => ScalarOp::FlushedMul,
        _ => op,
    };
    match (op, args[0].node()) {
        (ScalarOp::Neg, Node::Scalar(ScalarOp::Neg, inner)) => inner[0].clone(),
        // A sum of negated terms needs no negation of its own: it is subtracted term by term.
        (ScalarOp::Neg, Node::InnerSum(inner)) => {
            inner_sum(&scalar(ScalarOp::Neg, vec![inner.clone()], inner.dim()))
        }
        // Only products can be fused with the operation that uses them, so nothing else needs rounding first.
        (ScalarOp::Rounded, node) if !is_product(node) => args[0].clone(),
        (ScalarOp::Powi(2), _) => args[0].square(),
        (ScalarOp::Powi(0), _) => Expr::constant(1.0).expand(dim),
        _ => Expr::scalar(op, args),
    }
}

fn is_multiplication(op: ScalarOp) -> bool {
    matches!(
        op,
        ScalarOp::Mul | ScalarOp::StrongMul | ScalarOp::FlushedMul | ScalarOp::StrongFlushedMul
    )
}

fn is_product(node: &Node) -> bool {
    match node {
        Node::Scalar(op, _) if is_multiplication(*op) || *op == ScalarOp::Square => true,
        Node::Scalar(ScalarOp::Neg, args) => is_product(args[0].node()),
        // A quotient may be computed as a product with the reciprocal.
        Node::Scalar(ScalarOp::Div, _) => true,
        Node::Expand(arg, _) => is_product(arg.node()),
        _ => false,
    }
}

fn inner_sum(arg: &Expr) -> Expr {
    match arg.node() {
        Node::Expand(inner, dim) => scalar(
            ScalarOp::Mul,
            vec![inner.clone(), Expr::constant(*dim as f64)],
            1,
        ),
        _ => arg.inner_sum(),
    }
}

/// Slices that have been made already, by the digest of the sliced expression, the start and the length. Graphs may
/// share nodes so often that there are far more paths through them than nodes.
type Slices = FxHashMap<(u128, usize, usize), Expr>;

fn slice(arg: &Expr, start: usize, len: usize, done: &mut Slices) -> Expr {
    let key = (arg.digest(), start, len);
    if let Some(slice) = done.get(&key) {
        return slice.clone();
    }
    let slice = new_slice(arg, start, len, done);
    done.insert(key, slice.clone());
    slice
}

fn new_slice(arg: &Expr, start: usize, len: usize, done: &mut Slices) -> Expr {
    match arg.node() {
        Node::Slice(inner, offset, _) => slice(inner, start + offset, len, done),
        Node::Expand(inner, _) => inner.expand(len),
        Node::Iota(first, _) => Expr::iota(first + start, len),
        Node::Scalar(op, args) => {
            let args = args
                .iter()
                .map(|arg| match arg.dim() {
                    1 => arg.clone(),
                    _ => slice(arg, start, len, done),
                })
                .collect();
            scalar(*op, args, len)
        }
        Node::Concat(parts) => {
            let mut first = 0;
            let mut kept = Vec::new();
            for part in parts {
                let (low, high) = (first.max(start), (first + part.dim()).min(start + len));
                if low < high {
                    kept.push(slice(part, low - first, high - low, done));
                }
                first += part.dim();
            }
            Expr::concat(kept)
        }
        Node::Var(_)
        | Node::Place(_)
        | Node::Const(_)
        | Node::InnerSum(_)
        | Node::InnerExtremum(..) => arg.slice(start, len),
    }
}
