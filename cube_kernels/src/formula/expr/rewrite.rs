//! Walks over an expression graph, and rewriting it node by node.

use std::hash::Hash;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Expr, Node, Place, Var, digest};

impl Expr {
    /// All distinct nodes, arguments before the nodes that use them.
    pub fn topological(&self) -> Vec<&Expr> {
        /// Number of nodes of most formulas, for which no memory has to be moved.
        const NODES: usize = 24;
        // A loop, as recursion into a deep graph would overflow the stack.
        let mut order = Vec::with_capacity(NODES);
        let mut seen = FxHashSet::with_capacity_and_hasher(NODES, Default::default());
        seen.insert(self.digest());
        let mut path = Vec::with_capacity(self.depth());
        path.push((self, self.node().children().iter()));
        while let Some((expr, children)) = path.last_mut() {
            match children.next() {
                Some(child) if seen.insert(child.digest()) => {
                    path.push((child, child.node().children().iter()));
                }
                Some(_) => {}
                None => {
                    order.push(*expr);
                    path.pop();
                }
            }
        }
        order
    }

    /// Rebuilds the graph bottom-up: `rule` gets each node with its rewritten arguments.
    pub fn rewrite(&self, mut rule: impl FnMut(&Expr, Vec<Expr>) -> Expr) -> Expr {
        let mut done: FxHashMap<u128, Expr> = Default::default();
        for expr in self.topological() {
            let args = expr
                .node()
                .children()
                .iter()
                .map(|c| done[&c.digest()].clone())
                .collect();
            let new = rule(expr, args);
            done.insert(expr.digest(), new);
        }
        done.remove(&self.digest())
            .expect("the root is visited last")
    }

    /// The same node over other arguments.
    pub fn with_args(&self, mut args: Vec<Expr>) -> Expr {
        match self.node() {
            Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => self.clone(),
            Node::Scalar(op, _) => Expr::scalar(*op, args),
            Node::InnerSum(_) => args.remove(0).inner_sum(),
            Node::InnerExtremum(extreme, _) => args.remove(0).inner_extremum(*extreme),
            Node::Slice(_, start, len) => args.remove(0).slice(*start, *len),
            Node::Concat(_) => Expr::concat(args),
            Node::Expand(_, dim) => args.remove(0).expand(*dim),
        }
    }

    /// Replaces each leaf by what `map` gives for it.
    pub fn map_vars(&self, mut map: impl FnMut(&Var) -> Expr) -> Expr {
        self.rewrite(|expr, args| match expr.node() {
            Node::Var(var) => map(var),
            _ => expr.with_args(args),
        })
    }

    /// A digest in which operands are replaced by numbers, and the operands in the order of their numbers.
    ///
    /// Operands are numbered in the order in which they first occur. Expressions that are written alike over different
    /// operands have the same digest.
    pub fn numbered(&self) -> (u128, &[Var]) {
        let (digest, leaves) = self.0.numbered.get_or_init(|| self.number());
        (*digest, leaves)
    }

    fn number(&self) -> (u128, Vec<Var>) {
        let order = self.topological();
        let mut leaves: Vec<Var> = Vec::new();
        let mut done: FxHashMap<u128, u128> =
            FxHashMap::with_capacity_and_hasher(order.len(), Default::default());
        let mut own = self.digest();
        for expr in order {
            own = digest(|h| {
                match expr.node() {
                    Node::Var(var) => {
                        let id = leaves.len() as u64;
                        leaves.push(*var);
                        Node::Var(Var { id, ..*var }).hash_kind(h);
                    }
                    node => node.hash_kind(h),
                }
                for child in expr.node().children() {
                    done[&child.digest()].hash(h);
                }
            });
            done.insert(expr.digest(), own);
        }
        (own, leaves)
    }

    /// Swaps the two symbolic axes. The values of operands that vary along both axes have to be transposed, too.
    pub fn transpose(&self) -> Expr {
        self.rewrite(|expr, args| match expr.node() {
            Node::Var(var) => Expr::var(Var {
                axes: var.axes.transposed(),
                ..*var
            }),
            Node::Place(Place::Index(axis)) => Expr::place(Place::Index(axis.other())),
            Node::Place(Place::Offset) => -expr.clone(),
            _ => expr.with_args(args),
        })
    }
}
