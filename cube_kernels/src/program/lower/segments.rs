//! How the components of a vector are computed: which ones in unrolled code, and which ones by a loop.

use rustc_hash::FxHashSet;

use super::{Lowering, UNROLL};
use crate::{
    formula::expr::{Expr, Node, Place, Var},
    program::{
        Code, Item, Loop, Space,
        builder::{Body, Component},
    },
};

/// The places where an inner axis is cut, and the visits that were made to find them.
///
/// A visit is an expression, its first component, the number of components and their place in the axis. None is made
/// twice, as graphs may have far more paths than nodes.
struct Cuts {
    places: Vec<usize>,
    seen: FxHashSet<(u128, usize, usize, usize)>,
}

impl Lowering<'_> {
    /// Stores all components of `expr` at `base`.
    pub(super) fn store(&mut self, space: Space, base: usize, expr: &Expr) {
        for (start, len) in self.segments(space, expr) {
            let terms = if len == 1 {
                Loop {
                    len,
                    body: Code::new(),
                    term: self.term(space, expr, Component::At(start)),
                }
            } else {
                self.terms(space, expr, start, len)
            };
            let base = base + start;
            self.builder(space).items.push(Item::Store { base, terms });
        }
    }

    /// The components `start + k`, for `k < len`.
    pub(super) fn terms(&mut self, space: Space, expr: &Expr, start: usize, len: usize) -> Loop {
        self.builder(space).bodies.push(Body::default());
        let term = self.term(space, expr, Component::Looped(start));
        let body = self.builder(space).bodies.pop().expect("pushed above").code;
        Loop { len, body, term }
    }

    /// Start and length of the pieces of the inner axis: single components where it is short, else
    /// the longest ranges within which every slot and operand is read consecutively.
    pub(super) fn segments(&self, space: Space, expr: &Expr) -> Vec<(usize, usize)> {
        let dim = expr.dim();
        if dim <= UNROLL {
            return (0..dim).map(|k| (k, 1)).collect();
        }
        let mut cuts = Cuts {
            places: vec![0, dim],
            seen: Default::default(),
        };
        self.cuts(space, expr, (0, dim), 0, &mut cuts);
        let mut places = cuts.places;
        places.sort_unstable();
        places.dedup();
        places.windows(2).map(|w| (w[0], w[1] - w[0])).collect()
    }

    /// Adds to `cuts` the boundaries of concatenated parts within the components
    /// `start .. start + len` of `expr`, which stand at `at` in the axis that is cut.
    fn cuts(
        &self,
        space: Space,
        expr: &Expr,
        (start, len): (usize, usize),
        at: usize,
        cuts: &mut Cuts,
    ) {
        if expr.dim() == 1 || self.space_of(expr.dependence()) < space || is_leaf(expr) {
            return;
        }
        if !cuts.seen.insert((expr.digest(), start, len, at)) {
            return;
        }
        match expr.node() {
            Node::Scalar(_, args) => args
                .iter()
                .for_each(|arg| self.cuts(space, arg, (start, len), at, cuts)),
            Node::Slice(arg, offset, _) => self.cuts(space, arg, (start + offset, len), at, cuts),
            Node::Concat(parts) => {
                let mut first = 0;
                for part in parts {
                    let (low, high) = (first.max(start), (first + part.dim()).min(start + len));
                    if low < high {
                        cuts.places.extend([at + low - start, at + high - start]);
                        let own = (low - first, high - low);
                        self.cuts(space, part, own, at + low - start, cuts);
                    }
                    first += part.dim();
                }
            }
            Node::Var(_)
            | Node::Place(_)
            | Node::Const(_)
            | Node::Iota(..)
            | Node::InnerSum(_)
            | Node::InnerExtremum(..)
            | Node::Expand(..) => {}
        }
    }
}

/// A leaf that is loaded without computation.
pub(super) enum Leaf {
    Operand(Var),
    Index,
}

/// The leaf and first component, if `expr` is a leaf that is loaded, or a slice of one.
pub(super) fn leaf(expr: &Expr) -> Option<(Leaf, usize)> {
    match expr.node() {
        Node::Var(var) => Some((Leaf::Operand(*var), 0)),
        Node::Place(Place::Index(_)) => Some((Leaf::Index, 0)),
        Node::Slice(arg, start, _) => leaf(arg).map(|(leaf, offset)| (leaf, offset + start)),
        _ => None,
    }
}

pub(super) fn is_leaf(expr: &Expr) -> bool {
    leaf(expr).is_some()
}
