//! Symbolic expressions over rows `x_i`, columns `y_j` and parameters.
//!
//! An [`Expr`] is an immutable, shared graph. Every node knows its dimension (the size of its inner
//! axis) and whether it depends on `i`, on `j`, on both or on neither.

mod rewrite;

use std::{
    hash::{Hash, Hasher},
    ops::{Add, Div, Mul, Neg, Sub},
    sync::{Arc, OnceLock},
};

use twox_hash::XxHash3_128;

use super::catalogue::{ScalarOp, Sign};
pub use super::{
    leaf::{Axis, Dependence, Extreme, Place, Var},
    printer::Printer,
};

/// The kinds of nodes.
///
/// Everything else (squared distances, dot products, norms, derivatives) is composed of these.
#[derive(Clone, Debug)]
pub enum Node {
    /// A leaf.
    Var(Var),
    /// The position of the pair in the matrix.
    Place(Place),
    /// A constant, of dimension 1.
    Const(f64),
    /// A scalar function applied component by component; arguments have the same dimension, or dimension 1.
    Scalar(ScalarOp, Vec<Expr>),
    /// The numbers `start .. start + len`.
    Iota(usize, usize),
    /// Sum over the inner axis; dimension 1.
    InnerSum(Expr),
    /// Smallest or largest component; dimension 1; NaN if any component is NaN.
    InnerExtremum(Extreme, Expr),
    /// Components `start .. start + len` of the argument.
    Slice(Expr, usize, usize),
    /// The components of all arguments, one after the other.
    Concat(Vec<Expr>),
    /// A value of dimension 1 repeated.
    Expand(Expr, usize),
}

#[derive(Debug)]
struct Inner {
    node: Node,
    dim: usize,
    dependence: Dependence,
    sign: Sign,
    finite: bool,
    lower: f64,
    bound: f64,
    depth: usize,
    digest: u128,
    /// See [`Expr::numbered`]. It is made once: the same formula may be reduced many times.
    numbered: OnceLock<(u128, Vec<Var>)>,
}

/// Drops the nodes one by one in a loop, as dropping a deep graph by recursion would overflow the stack.
impl Drop for Inner {
    fn drop(&mut self) {
        let take = |inner: &mut Inner| {
            let node = std::mem::replace(&mut inner.node, Node::Const(0.0));
            node.into_children()
        };
        let mut children = take(self);
        while let Some(child) = children.pop() {
            if let Some(mut inner) = Arc::into_inner(child.0) {
                children.extend(take(&mut inner));
            }
        }
    }
}

/// A symbolic expression; cheap to clone.
///
/// Equality and hashing use a 128-bit digest of the structure, so comparing two large graphs that
/// share nodes stays cheap.
#[derive(Clone, Debug)]
pub struct Expr(Arc<Inner>);

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Expr {}

impl Hash for Expr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state)
    }
}

/// A hasher that collects the bytes of a 128-bit digest.
pub(crate) struct Digest(Vec<u8>);

impl Hasher for Digest {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        XxHash3_128::oneshot(&self.0) as u64
    }
}

/// The 128-bit digest of what `feed` writes.
pub(crate) fn digest(feed: impl FnOnce(&mut Digest)) -> u128 {
    // Enough bytes for most nodes.
    let mut digest = Digest(Vec::with_capacity(128));
    feed(&mut digest);
    XxHash3_128::oneshot(&digest.0)
}

impl Expr {
    fn new(node: Node) -> Self {
        let dim = match &node {
            Node::Var(var) => var.dim,
            Node::Const(_) | Node::Place(_) | Node::InnerSum(_) | Node::InnerExtremum(..) => 1,
            Node::Iota(_, len) => *len,
            Node::Scalar(_, args) => broadcast_dim(args).expect("dimensions were checked"),
            Node::Slice(_, _, len) => *len,
            Node::Concat(args) => args.iter().map(Expr::dim).sum(),
            Node::Expand(_, dim) => *dim,
        };
        let children = node.children();
        let dependence = match &node {
            Node::Var(var) => var.axes,
            Node::Place(place) => Dependence {
                i: *place != Place::Index(Axis::J),
                j: *place != Place::Index(Axis::I),
            },
            _ => children
                .iter()
                .fold(Dependence::default(), |d, c| d.union(c.dependence())),
        };
        let common = |args: &[Expr]| {
            let first = args[0].known_sign();
            let same = args.iter().all(|arg| arg.known_sign() == first);
            if same { first } else { Sign::Unknown }
        };
        let sign = match &node {
            Node::Var(_) | Node::Place(Place::Offset) => Sign::Unknown,
            Node::Place(Place::Index(_)) | Node::Iota(..) => Sign::NonNegative,
            Node::Const(value) if value.is_nan() => Sign::Unknown,
            Node::Const(value) if value.is_sign_positive() => Sign::NonNegative,
            Node::Const(_) => Sign::NonPositive,
            Node::Scalar(op, args) => {
                op.sign_of(&args.iter().map(Expr::known_sign).collect::<Vec<_>>())
            }
            Node::InnerSum(arg)
            | Node::InnerExtremum(_, arg)
            | Node::Slice(arg, ..)
            | Node::Expand(arg, _) => arg.known_sign(),
            Node::Concat(parts) => common(parts),
        };
        let finite = match &node {
            Node::Const(value) => value.is_finite(),
            Node::Scalar(op, args) => op.is_finite(args),
            _ => true,
        };
        let finite = finite && children.iter().all(|child| child.is_finite());
        let lower = match (&node, sign) {
            (Node::Const(value), _) if !value.is_nan() => *value,
            (Node::Scalar(op, args), _) => op.lower_bound(args),
            (Node::InnerExtremum(_, arg) | Node::Slice(arg, ..) | Node::Expand(arg, _), _) => {
                arg.lower_bound()
            }
            (_, Sign::NonNegative) => 0.0,
            _ => f64::NEG_INFINITY,
        };
        let bound = match &node {
            Node::Var(_) | Node::Place(_) => f64::INFINITY,
            Node::Iota(start, len) => (start + len) as f64,
            Node::Const(value) if value.is_nan() => f64::INFINITY,
            Node::Const(value) => value.abs(),
            Node::Scalar(op, args) => {
                op.bound_of(&args.iter().map(Expr::bound).collect::<Vec<_>>())
            }
            Node::InnerSum(arg) => arg.bound() * arg.dim() as f64,
            _ => children.iter().map(|c| c.bound()).fold(0.0, f64::max),
        };
        let depth = 1 + children.iter().map(|c| c.depth()).max().unwrap_or(0);
        let digest = digest(|h| {
            node.hash_kind(h);
            for child in children {
                child.0.digest.hash(h);
            }
        });
        Self(Arc::new(Inner {
            node,
            dim,
            dependence,
            sign,
            finite,
            lower,
            bound,
            depth,
            digest,
            numbered: OnceLock::new(),
        }))
    }

    /// A leaf.
    pub fn var(var: Var) -> Self {
        Self::new(Node::Var(var))
    }

    /// The position of the pair in the matrix, as a value of dimension 1.
    pub fn place(place: Place) -> Self {
        Self::new(Node::Place(place))
    }

    /// A constant of dimension 1.
    pub fn constant(value: f64) -> Self {
        Self::new(Node::Const(value))
    }

    /// A scalar function of `args`, which have equal dimension or dimension 1.
    ///
    /// # Panics
    /// If the dimensions do not broadcast; callers check them.
    pub fn scalar(op: ScalarOp, args: Vec<Expr>) -> Self {
        debug_assert_eq!(op.arity(), args.len());
        Self::new(Node::Scalar(op, args))
    }

    /// The sum over the inner axis.
    pub fn inner_sum(&self) -> Self {
        match self.dim() {
            1 => self.clone(),
            _ => Self::new(Node::InnerSum(self.clone())),
        }
    }

    /// The smallest or largest component.
    pub fn inner_extremum(&self, extreme: Extreme) -> Self {
        match self.dim() {
            1 => self.clone(),
            _ => Self::new(Node::InnerExtremum(extreme, self.clone())),
        }
    }

    /// The index of the first component that is the smallest or largest, or of the first NaN if there is one.
    pub fn inner_position(&self, extreme: Extreme) -> Self {
        let dim = self.dim();
        let best = self.inner_extremum(extreme);
        let at = |op, other: Expr| Expr::scalar(op, vec![self.clone(), other]);
        // If a component is NaN, so is `best`, which equals nothing. NaN differs from itself, and so is found.
        let hit = at(ScalarOp::Equal, best) + at(ScalarOp::NotEqual, self.clone());
        let places = Expr::scalar(
            ScalarOp::MaskWhere,
            vec![Expr::constant(dim as f64), hit, Expr::iota(0, dim)],
        );
        places.inner_extremum(Extreme::Minimum)
    }

    /// The numbers `start .. start + len`.
    pub fn iota(start: usize, len: usize) -> Self {
        match len {
            1 => Self::constant(start as f64),
            _ => Self::new(Node::Iota(start, len)),
        }
    }

    /// `dim` components that are 0, except for a 1 at the index that this value rounds to. All are 0 if it
    /// rounds to no index.
    pub fn one_hot(&self, dim: usize) -> Self {
        let places = Expr::iota(0, dim);
        Expr::scalar(ScalarOp::Equal, vec![places, self.round()])
    }

    /// The components `start .. start + len`.
    ///
    /// # Panics
    /// If the range leaves the inner axis or is empty; callers check it.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(len > 0 && start + len <= self.dim(), "slice out of range");
        if len == self.dim() {
            return self.clone();
        }
        Self::new(Node::Slice(self.clone(), start, len))
    }

    /// The components of `parts`, one after the other.
    pub fn concat(parts: Vec<Expr>) -> Self {
        match <[Expr; 1]>::try_from(parts) {
            Ok([part]) => part,
            Err(parts) => Self::new(Node::Concat(parts)),
        }
    }

    /// A value of dimension 1 repeated `dim` times.
    pub fn expand(&self, dim: usize) -> Self {
        if self.dim() == dim {
            return self.clone();
        }
        assert_eq!(self.dim(), 1, "only a value of dimension 1 can be repeated");
        Self::new(Node::Expand(self.clone(), dim))
    }

    /// The sum of many terms, as a graph that is less deep than there are terms.
    ///
    /// Terms are added one after the other in short chains, in which products are fused with additions. The
    /// sums of the chains are added in the same way.
    ///
    /// # Panics
    /// If there are no terms, or their dimensions do not broadcast; callers check it.
    pub fn sum(terms: impl IntoIterator<Item = Expr>) -> Self {
        const CHAIN: usize = 16;

        let mut terms: Vec<Expr> = terms.into_iter().collect();
        while terms.len() > 1 {
            let add = |chain: &[Expr]| chain.iter().cloned().reduce(|sum, term| sum + term);
            terms = terms.chunks(CHAIN).filter_map(add).collect();
        }
        terms.pop().expect("a sum has terms")
    }

    /// The inner product $\sum_k a_k b_k$.
    pub fn dot(&self, other: &Self) -> Self {
        (self.clone() * other.clone()).inner_sum()
    }

    /// The squared norm $\sum_k a_k^2$.
    pub fn sqnorm(&self) -> Self {
        self.square().inner_sum()
    }

    /// The norm $(\sum_k a_k^2)^{1/2}$.
    ///
    /// The components of a vector that does not depend on both axes are scaled by a power of two, so that no square
    /// overflows or underflows. The norm of a vector of pairs is right if the squares are within the range.
    pub fn norm(&self) -> Self {
        match self.scale() {
            Some(scale) => scale.clone() * (self.clone() * scale.recip()).sqnorm().sqrt(),
            None => self.sqnorm().sqrt(),
        }
    }

    /// The vector divided by its [norm](Self::norm), right for the same vectors as the norm; 0 where the norm is 0.
    pub fn normalize(&self) -> Self {
        let vector = match self.scale() {
            Some(scale) => self.clone() * scale.recip(),
            None => self.clone(),
        };
        vector.sqnorm().rsqrt() * vector
    }

    /// The power of two that a norm divides the components by, if it is computed less often than once a pair. It does
    /// not change the norm, so that its own derivative may be taken as 0.
    fn scale(&self) -> Option<Self> {
        let Dependence { i, j } = self.dependence();
        let largest = || self.abs().inner_extremum(Extreme::Maximum);
        (!(i && j)).then(|| largest().magnitude())
    }

    /// The squared distance $\sum_k (a_k - b_k)^2$.
    pub fn sqdist(&self, other: &Self) -> Self {
        (self.clone() - other.clone()).sqnorm()
    }

    /// The kind of this node and its arguments.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// Size of the inner axis.
    pub fn dim(&self) -> usize {
        self.0.dim
    }

    /// Whether the expression reads the index of the pair along `axis`.
    pub fn reads_index(&self, axis: Axis) -> bool {
        let reads = |expr: &Expr| match expr.node() {
            Node::Place(Place::Index(own)) => *own == axis,
            Node::Place(Place::Offset) => true,
            _ => false,
        };
        self.topological().into_iter().any(reads)
    }

    /// The symbolic axes this value depends on.
    pub fn dependence(&self) -> Dependence {
        self.0.dependence
    }

    /// What is known of the sign of all components.
    pub fn known_sign(&self) -> Sign {
        self.0.sign
    }

    /// Whether all components are finite where the operands are, apart from the overflow of sums and products.
    pub fn is_finite(&self) -> bool {
        self.0.finite
    }

    /// A lower bound of all components that are not NaN; $-\infty$ if none is known.
    pub fn lower_bound(&self) -> f64 {
        self.0.lower
    }

    /// A bound of the absolute value of all components that are not NaN, apart from rounding; infinity if none is
    /// known.
    pub fn bound(&self) -> f64 {
        self.0.bound
    }

    /// Whether all components are the results of arithmetic that rounds, with an error of half a unit of their
    /// last place or more.
    pub fn is_rounded(&self) -> bool {
        match self.node() {
            Node::Scalar(op, args) => match op {
                ScalarOp::Neg | ScalarOp::Abs | ScalarOp::Rounded => args[0].is_rounded(),
                // A product with a power of 2 does not round, so that the other factor has to be rounded already.
                ScalarOp::Mul if args[0].as_const().is_some() => args[1].is_rounded(),
                ScalarOp::Mul if args[1].as_const().is_some() => args[0].is_rounded(),
                ScalarOp::Div if args[1].as_const().is_some() => args[0].is_rounded(),
                ScalarOp::Add
                | ScalarOp::Sub
                | ScalarOp::Mul
                | ScalarOp::Div
                | ScalarOp::Square
                | ScalarOp::Sqrt
                | ScalarOp::Powi(2..) => true,
                _ => false,
            },
            Node::InnerSum(_) => true,
            Node::Slice(arg, ..) | Node::Expand(arg, _) => arg.is_rounded(),
            Node::Concat(parts) => parts.iter().all(Expr::is_rounded),
            Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => false,
            Node::InnerExtremum(_, arg) => arg.is_rounded(),
        }
    }

    /// Length of the longest path to a leaf.
    pub fn depth(&self) -> usize {
        self.0.depth
    }

    /// A 128-bit digest of the structure.
    pub fn digest(&self) -> u128 {
        self.0.digest
    }

    /// The constant value of this node, if it is one.
    pub(crate) fn as_const(&self) -> Option<f64> {
        match self.node() {
            Node::Const(value) => Some(*value),
            Node::Expand(arg, _) => arg.as_const(),
            _ => None,
        }
    }
}

impl Node {
    /// Feeds a hasher with all but the arguments.
    fn hash_kind(&self, h: &mut impl Hasher) {
        std::mem::discriminant(self).hash(h);
        match self {
            Node::Var(var) => var.hash(h),
            Node::Place(place) => place.hash(h),
            Node::Const(value) => value.to_bits().hash(h),
            Node::Scalar(op, _) => op.hash(h),
            Node::Slice(_, start, len) | Node::Iota(start, len) => (start, len).hash(h),
            Node::InnerExtremum(extreme, _) => extreme.hash(h),
            Node::Expand(_, dim) => dim.hash(h),
            Node::InnerSum(_) | Node::Concat(_) => {}
        }
    }

    /// The arguments, in order.
    pub fn children(&self) -> &[Expr] {
        match self {
            Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => &[],
            Node::Scalar(_, args) | Node::Concat(args) => args,
            Node::InnerSum(arg)
            | Node::InnerExtremum(_, arg)
            | Node::Slice(arg, _, _)
            | Node::Expand(arg, _) => std::slice::from_ref(arg),
        }
    }

    fn into_children(self) -> Vec<Expr> {
        match self {
            Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => vec![],
            Node::Scalar(_, args) | Node::Concat(args) => args,
            Node::InnerSum(arg)
            | Node::InnerExtremum(_, arg)
            | Node::Slice(arg, _, _)
            | Node::Expand(arg, _) => vec![arg],
        }
    }
}

/// The common dimension of component-wise arguments, or `None` if they do not broadcast.
pub fn broadcast_dim<'a>(args: impl IntoIterator<Item = &'a Expr>) -> Option<usize> {
    args.into_iter()
        .try_fold(1, |dim, arg| match (dim, arg.dim()) {
            (1, d) => Some(d),
            (d, 1) => Some(d),
            (a, b) if a == b => Some(a),
            _ => None,
        })
}

macro_rules! binary_operator {
    ($($trait:ident $method:ident $op:ident),*) => {$(
        impl $trait for Expr {
            type Output = Expr;
            fn $method(self, rhs: Expr) -> Expr {
                Expr::scalar(ScalarOp::$op, vec![self, rhs])
            }
        }

        impl $trait<f64> for Expr {
            type Output = Expr;
            fn $method(self, rhs: f64) -> Expr {
                Expr::scalar(ScalarOp::$op, vec![self, Expr::constant(rhs)])
            }
        }

        impl $trait<Expr> for f64 {
            type Output = Expr;
            fn $method(self, rhs: Expr) -> Expr {
                Expr::scalar(ScalarOp::$op, vec![Expr::constant(self), rhs])
            }
        }
    )*};
}

binary_operator!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

impl Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        Expr::scalar(ScalarOp::Neg, vec![self])
    }
}
