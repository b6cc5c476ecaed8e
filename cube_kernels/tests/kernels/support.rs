//! What the tests that need no device share: random numbers, leaves, and an evaluator of expressions.

use std::{collections::HashMap, env, path::PathBuf};

use burn_lazy_kernels::{
    Axis, Expr,
    catalogue::ScalarOp,
    expr::{Dependence, Node, Var},
};

/// The folder of this package. Cargo says where it is; without cargo it is where it was when this was built.
pub fn package_folder() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .into()
}

/// A small generator of reproducible numbers (SplitMix64).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number uniform in `low .. high` that is exact in `f32`, so that kernels of both precisions and the host
    /// compute with the same numbers.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        (low + (high - low) * unit) as f32 as f64
    }

    /// A random number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }

    pub fn vec(&mut self, len: usize, low: f64, high: f64) -> Vec<f64> {
        (0..len).map(|_| self.uniform(low, high)).collect()
    }
}

/// The leaf with the id `id`.
pub fn leaf(id: u64, axis: Option<Axis>, dim: usize) -> Var {
    Var {
        id,
        axes: axis.into(),
        dim,
        scalar: false,
    }
}

/// A row operand.
pub fn x(id: u64, dim: usize) -> Expr {
    Expr::var(leaf(id, Some(Axis::I), dim))
}

/// A column operand.
pub fn y(id: u64, dim: usize) -> Expr {
    Expr::var(leaf(id, Some(Axis::J), dim))
}

/// An operand of pairs.
pub fn z(id: u64, dim: usize) -> Expr {
    Expr::var(Var {
        axes: Dependence::BOTH,
        ..leaf(id, None, dim)
    })
}

/// A parameter.
pub fn p(id: u64, dim: usize) -> Expr {
    Expr::var(leaf(id, None, dim))
}

/// A run-time scalar.
pub fn s(id: u64) -> Expr {
    Expr::var(Var {
        id,
        axes: Dependence::default(),
        dim: 1,
        scalar: true,
    })
}

/// The variable of an expression that is a leaf.
pub fn var_of(expr: &Expr) -> Var {
    match expr.node() {
        Node::Var(var) => *var,
        _ => panic!("{expr} is no leaf"),
    }
}

/// The leaves of `expr`, in order of occurrence.
pub fn leaves(expr: &Expr) -> Vec<Var> {
    let is_leaf = |expr: &Expr| matches!(expr.node(), Node::Var(_));
    expr.topological()
        .into_iter()
        .filter(|e| is_leaf(e))
        .map(var_of)
        .collect()
}

/// The smallest or largest of `values`, as `op` takes it from two of them.
pub fn extremum(op: ScalarOp, values: &[f64]) -> f64 {
    let better = |a: f64, b: &f64| op.host(&[a, *b]);
    values.iter().fold(values[0], better)
}

/// Values of the leaves of one pair.
pub type Point = HashMap<Var, Vec<f64>>;

/// A row and a column with three components, and a point at which both have the same values.
pub fn equal_points() -> ([Expr; 2], Point) {
    let leaves = [x(0, 3), y(1, 3)];
    let values = [0.5, -1.0, 2.0];
    let point = leaves.iter().map(|leaf| (var_of(leaf), values.to_vec()));
    (leaves.clone(), point.collect())
}

/// The Gaussian kernel between points of dimension `dim`, times weights of dimension `width`.
pub fn gaussian(dim: usize, width: usize) -> Expr {
    (-x(0, dim).sqdist(&y(1, dim))).exp() * y(2, width)
}

/// Rounding errors to simulate: every operation is off by up to `eps` of its value.
pub struct Noise {
    pub rng: Rng,
    pub eps: f64,
    /// Larger values become infinite.
    pub largest: f64,
    /// Smaller values may become zero.
    pub smallest: f64,
    /// Whether values below `smallest` become zero.
    pub flushes: bool,
}

impl Noise {
    pub fn f64(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            // Larger than a rounding error, because adding the noise in `f64` rounds by half a unit in the last place.
            eps: 4.0 * f64::EPSILON,
            largest: f64::MAX,
            smallest: f64::MIN_POSITIVE,
            flushes: true,
        }
    }

    fn unit(&mut self) -> f64 {
        (self.rng.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// `value` with a random rounding error of numbers of size `size`.
    fn round(&mut self, value: f64, size: f64) -> f64 {
        let value = value + self.eps * size * self.unit();
        if value.abs() > self.largest {
            value.signum() * f64::INFINITY
        } else if value.abs() < self.smallest * if self.flushes { 1.0 } else { self.eps } {
            // The smallest subnormal number is about `eps` times the smallest normal number.
            0.0
        } else {
            value
        }
    }
}

/// An expression that is prepared for evaluation at many points. Unlike a formula it is not simplified.
pub struct Tape(Vec<(Expr, Vec<usize>)>);

impl Tape {
    pub fn new(expr: &Expr) -> Self {
        let order = expr.topological();
        let place: HashMap<u128, usize> = (0..).zip(&order).map(|(k, e)| (e.digest(), k)).collect();
        let args = |e: &Expr| {
            let children = e.node().children();
            children.iter().map(|c| place[&c.digest()]).collect()
        };
        Self(order.iter().map(|e| (Expr::clone(e), args(e))).collect())
    }

    /// The value of the expression.
    pub fn evaluate(&self, leaf: &dyn Fn(&Var) -> Vec<f64>) -> Vec<f64> {
        let mut values = self.values(leaf, None);
        values.pop().expect("an expression has a node")
    }

    /// How far rounding errors move each component of the value. Infinite if rounding may decide the value: where a
    /// function jumps, or where an intermediate value is ill-conditioned. That counts even if a minimum or a mask hides
    /// the intermediate value, because it may hide it in some evaluations and not in others.
    pub fn wobble(&self, leaf: &dyn Fn(&Var) -> Vec<f64>, noise: &mut Noise) -> Vec<f64> {
        let exact = self.values(leaf, None);
        let mut doubt = self.jumps(&exact, 1e3 * noise.eps);
        let mut moved = vec![0f64; exact.last().expect("an expression has a node").len()];
        for flushes in [true, false, true] {
            noise.flushes = flushes;
            let others = self.values(leaf, Some(noise));
            for ((doubt, exact), other) in doubt.iter_mut().zip(&exact).zip(&others) {
                for ((doubt, exact), other) in doubt.iter_mut().zip(exact).zip(other) {
                    *doubt |= !agree(*other, *exact, 1e-2 * exact.abs().max(1e-3));
                }
            }
            let root = self.0.len() - 1;
            for ((moved, exact), other) in moved.iter_mut().zip(&exact[root]).zip(&others[root]) {
                // Infinities and NaN in both evaluations do not move. If only one is finite, the component is in doubt
                // already.
                if exact.is_finite() && other.is_finite() {
                    *moved = moved.max((exact - other).abs());
                }
            }
        }
        self.spread(&mut doubt);
        let doubt = doubt.pop().expect("an expression has a node");
        for (moved, doubt) in moved.iter_mut().zip(doubt) {
            if doubt {
                *moved = f64::INFINITY;
            }
        }
        moved
    }

    /// Marks the components whose function jumps within a relative `step` of its arguments.
    fn jumps(&self, values: &[Vec<f64>], step: f64) -> Vec<Vec<bool>> {
        let jumps = |((expr, args), own): (&(Expr, Vec<usize>), &Vec<f64>)| -> Vec<bool> {
            let Node::Scalar(op, _) = expr.node() else {
                return vec![false; own.len()];
            };
            let at = |k: usize| -> Vec<f64> {
                let arg = |&a: &usize| values[a][if values[a].len() == 1 { 0 } else { k }];
                args.iter().map(arg).collect()
            };
            let jumps = |(k, value): (usize, &f64)| jumps_near(*op, &at(k), *value, step);
            own.iter().enumerate().map(jumps).collect()
        };
        self.0.iter().zip(values).map(jumps).collect()
    }

    /// Marks everything that is computed from doubtful components as doubtful.
    fn spread(&self, doubt: &mut [Vec<bool>]) {
        for (node, (expr, args)) in self.0.iter().enumerate() {
            let (before, own) = doubt.split_at_mut(node);
            let own = &mut own[0];
            let at = |a: usize, k: usize| before[a][if before[a].len() == 1 { 0 } else { k }];
            let from: Vec<bool> = match expr.node() {
                Node::Scalar(..) | Node::Expand(..) => (0..own.len())
                    .map(|k| args.iter().any(|&a| at(a, k)))
                    .collect(),
                Node::InnerSum(_) | Node::InnerExtremum(..) => {
                    vec![before[args[0]].iter().any(|doubt| *doubt)]
                }
                Node::Slice(_, start, len) => before[args[0]][*start..start + len].to_vec(),
                Node::Concat(_) => args.iter().flat_map(|&a| before[a].clone()).collect(),
                _ => continue,
            };
            for (own, from) in own.iter_mut().zip(from) {
                *own |= from;
            }
        }
    }

    /// The values of all nodes.
    fn values(
        &self,
        leaf: &dyn Fn(&Var) -> Vec<f64>,
        mut noise: Option<&mut Noise>,
    ) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.0.len());
        // Operands are rounded only for precisions below F64.
        let rounds = noise.as_ref().is_some_and(|noise| noise.eps > 1e-10);
        for (expr, args) in &self.0 {
            let mut rounded = |value: f64, size: f64| match &mut noise {
                Some(noise) if value.is_finite() => noise.round(value, size),
                _ => value,
            };
            let value = match expr.node() {
                Node::Var(var) if rounds => {
                    let values = leaf(var).into_iter();
                    values.map(|value| rounded(value, value.abs())).collect()
                }
                Node::Var(var) => leaf(var),
                Node::Place(_) => unreachable!("places are tested by themselves"),
                Node::Const(value) => vec![rounded(*value, value.abs())],
                Node::Scalar(op, _) => (0..expr.dim())
                    .map(|k| {
                        let args: Vec<f64> = args
                            .iter()
                            .map(|&a| values[a][if values[a].len() == 1 { 0 } else { k }])
                            .collect();
                        let value = op.host(&args);
                        let size = value.abs().max(op.domain().scale);
                        rounded(value, size * (1.0 + condition(*op, args[0])))
                    })
                    .collect(),
                Node::Iota(start, len) => (*start..start + len).map(|k| k as f64).collect(),
                Node::InnerExtremum(extreme, _) => vec![extremum(extreme.op(), &values[args[0]])],
                Node::InnerSum(_) => {
                    let terms = &values[args[0]];
                    let size = terms.iter().map(|term| term.abs()).sum();
                    vec![rounded(terms.iter().sum(), size)]
                }
                Node::Slice(_, start, len) => values[args[0]][*start..start + len].to_vec(),
                Node::Concat(_) => args.iter().flat_map(|&a| values[a].clone()).collect(),
                Node::Expand(_, dim) => vec![values[args[0]][0]; *dim],
            };
            values.push(value);
        }
        values
    }
}

/// Whether the value of an operation jumps within a relative `step` of an argument, so that rounding could decide the
/// value.
fn jumps_near(op: ScalarOp, args: &[f64], value: f64, step: f64) -> bool {
    if let ScalarOp::Equal | ScalarOp::NotEqual = op {
        // The value differs at a single point only, so the values on both sides do not show a jump.
        let (a, b) = (args[0], args[1]);
        return (a - b).abs() <= step * a.abs().max(1.0);
    }
    if let ScalarOp::Lgamma | ScalarOp::Polygamma(_) = op {
        // Rounding could reach a pole between two values that are equal.
        let pole = args[0].round().min(0.0);
        return (args[0] - pole).abs() <= step * pole.abs().max(1.0);
    }
    // A jump of 1 is a small part of a large number, so rounding functions have a limit of their own.
    let jump = match op {
        ScalarOp::Round | ScalarOp::Floor | ScalarOp::Ceil => 0.5,
        _ => 1e-3 * value.abs().max(1.0),
    };
    let moved = |k: usize, by: f64| {
        let mut args = args.to_vec();
        args[k] += by * args[k].abs().max(1.0);
        (op.host(&args) - value).abs() > jump
    };
    op.domain().jumps && (0..args.len()).any(|k| moved(k, step) || moved(k, -step))
}

/// The error in units in the last place that a function may have beyond its rounding. For the exponential it is what
/// the graphics standards allow.
fn condition(op: ScalarOp, arg: f64) -> f64 {
    match op {
        ScalarOp::Exp => 2.0 + 2.0 * arg.abs(),
        _ => 1.0,
    }
}

/// Whether two values agree up to `tolerance`. Infinities and NaN agree only with themselves.
pub fn agree(got: f64, want: f64, tolerance: f64) -> bool {
    if want.is_finite() {
        (got - want).abs() <= tolerance
    } else {
        got == want || (got.is_nan() && want.is_nan())
    }
}
