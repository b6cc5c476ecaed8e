//! Random formulas on the host.
//!
//! A formula is decoded from random bytes, so that a failing formula shrinks to a short one. Formulas have all
//! operations of the catalogue and all structural nodes, up to six deep, over rows, columns, parameters, run-time
//! scalars and constants. Values may differ by 1e-12 of themselves plus the effect of rounding errors. That is measured
//! by a second evaluation with every operation perturbed. Where a perturbation changes the value by more than a
//! thousandth, nothing is compared.

use burn_lazy_kernels::{
    Axis, Expr, Formula,
    catalogue::ScalarOp,
    expr::{Extreme, Var},
    reference,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use crate::support::{Noise, Point, Rng, Tape, agree, leaf, leaves, s};

pub const DIMS: [usize; 7] = [1, 2, 3, 5, 17, 20, 40];
const DEPTH: usize = 6;

/// The configuration of all random tests: reproducible, and without files. `BURN_LAZY_CASES` and `BURN_LAZY_SEED` set
/// other numbers of cases and other seeds, as `cargo xtask fuzz` does.
pub fn config(cases: u32) -> Config {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        let number = text.parse::<u32>();
        Some(number.unwrap_or_else(|error| panic!("{name} is '{text}': {error}")))
    };
    Config {
        cases: number("BURN_LAZY_CASES").unwrap_or(cases),
        rng_seed: RngSeed::Fixed(number("BURN_LAZY_SEED").unwrap_or(20).into()),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    }
}

/// Random bytes that decode to a formula.
pub fn recipe() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..80)
}

/// The formula that a recipe decodes to.
pub fn formula(recipe: &[u8]) -> Expr {
    let mut decoder = Decoder {
        bytes: recipe,
        made: Vec::new(),
    };
    let dim = decoder.pick(&DIMS);
    decoder.expr(dim, DEPTH)
}

struct Decoder<'a> {
    bytes: &'a [u8],
    /// The parts of the formula that were made so far, and that may be shared.
    made: Vec<Expr>,
}

impl Decoder<'_> {
    /// The next byte, or zero after the end.
    fn next(&mut self) -> usize {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first as usize
            }
            None => 0,
        }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.next() % from.len()].clone()
    }

    fn expr(&mut self, dim: usize, depth: usize) -> Expr {
        let choice = if depth == 0 { 0 } else { self.next() % 16 };
        let expr = match choice {
            0 => self.leaf(dim),
            1..=4 => self.unary(dim, depth),
            5..=7 => self.binary(dim, depth),
            8 => self.ternary(dim, depth),
            9 => {
                let longer = *DIMS.iter().find(|d| **d > dim).unwrap_or(&dim);
                let arg = self.expr(longer, depth - 1);
                let start = self.next() % (longer - dim + 1);
                arg.slice(start, dim)
            }
            10 if dim > 1 => {
                let first = 1 + self.next() % (dim - 1);
                let mut parts = vec![self.expr(first, depth - 1)];
                parts.push(self.expr(dim - first, depth - 1));
                Expr::concat(parts)
            }
            11 if dim > 1 => self.expr(1, depth - 1).expand(dim),
            12 | 13 => {
                let longer = self.pick(&DIMS);
                let sum = match self.next() % 6 {
                    4 => self
                        .expr(longer, depth - 1)
                        .inner_extremum(Extreme::Minimum),
                    5 => self
                        .expr(longer, depth - 1)
                        .inner_extremum(Extreme::Maximum),
                    0 => self.expr(longer, depth - 1).inner_sum(),
                    1 => self.expr(longer, depth - 1).sqnorm(),
                    2 => {
                        let a = self.expr(longer, depth - 1);
                        a.dot(&self.expr(longer, depth - 1))
                    }
                    _ => {
                        let a = self.expr(longer, depth - 1);
                        a.sqdist(&self.expr(longer, depth - 1))
                    }
                };
                match dim {
                    1 => sum,
                    _ => sum * self.leaf(dim),
                }
            }
            14 => {
                let made: Vec<Expr> = self
                    .made
                    .iter()
                    .filter(|e| e.dim() == dim)
                    .cloned()
                    .collect();
                match made.is_empty() {
                    true => self.leaf(dim),
                    false => self.pick(&made),
                }
            }
            _ => self.leaf(dim),
        };
        self.made.push(expr.clone());
        expr
    }

    /// One of the operations with `arity` arguments. All parameters of an operation together count as one choice.
    fn operation(&mut self, arity: usize) -> ScalarOp {
        let mut kinds: Vec<Vec<ScalarOp>> = Vec::new();
        for op in ScalarOp::all().into_iter().filter(|op| op.arity() == arity) {
            match kinds.last_mut() {
                Some(kind) if kind[0].name() == op.name() => kind.push(op),
                _ => kinds.push(vec![op]),
            }
        }
        let kind = self.pick(&kinds);
        self.pick(&kind)
    }

    /// Changes an argument so that it is within the domain of `op` most of the time, and bounded.
    fn tame(&mut self, op: ScalarOp, argument: usize, arg: Expr) -> Expr {
        let tame = !self.next().is_multiple_of(5);
        match op {
            ScalarOp::Exp if tame => -arg.abs(),
            ScalarOp::Exp => arg * 0.25,
            ScalarOp::Log | ScalarOp::Sqrt | ScalarOp::Rsqrt | ScalarOp::Recip if tame => {
                arg.abs() + 0.5
            }
            ScalarOp::Powi(n) if tame && n < 0 => arg.square() + 0.75,
            ScalarOp::Div if tame && argument == 1 => arg.square() + 0.5,
            ScalarOp::Expm1 | ScalarOp::Sinh | ScalarOp::Cosh => arg * 0.25,
            // The derivative by the exponent is NaN for negative bases.
            ScalarOp::Powf if argument == 0 => arg.sin() * 0.9 + 1.1,
            _ if !tame || op.domain().intervals[argument] == (-3.0, 3.0) => arg,
            _ => {
                let (low, high) = op.domain().intervals[argument];
                let (middle, half) = (0.5 * (low + high), 0.45 * (high - low));
                arg.sin() * half + middle
            }
        }
    }

    fn unary(&mut self, dim: usize, depth: usize) -> Expr {
        let op = self.operation(1);
        let arg = self.expr(dim, depth - 1);
        let arg = self.tame(op, 0, arg);
        Expr::scalar(op, vec![arg])
    }

    fn binary(&mut self, dim: usize, depth: usize) -> Expr {
        let op = self.operation(2);
        let (first, second) = self.pick(&[(dim, dim), (1, dim), (dim, 1)]);
        let a = self.expr(first, depth - 1);
        let a = self.tame(op, 0, a);
        let b = self.expr(second, depth - 1);
        let b = self.tame(op, 1, b);
        Expr::scalar(op, vec![a, b])
    }

    fn ternary(&mut self, dim: usize, depth: usize) -> Expr {
        let op = self.operation(3);
        let args = [dim, 1, 1].map(|dim| self.expr(dim, depth - 1));
        let args = (0..).zip(args).map(|(k, arg)| self.tame(op, k, arg));
        Expr::scalar(op, args.collect())
    }

    fn leaf(&mut self, dim: usize) -> Expr {
        if !DIMS.contains(&dim) {
            let longer = *DIMS.iter().find(|d| **d > dim).expect("parts are short");
            let start = self.next() % (longer - dim + 1);
            return self.leaf(longer).slice(start, dim);
        }
        let choice = self.next();
        let which = choice as u64 / 128;
        let axis = match choice % 8 {
            0..=2 => Some(Axis::I),
            3 | 4 => Some(Axis::J),
            5 => None,
            6 => return s(9000 + which).expand(dim),
            _ => {
                if choice % 32 > 23 {
                    return Expr::iota(choice / 64, dim) * 0.1;
                }
                let constants = [0.0, 1.0, -1.0, 2.0, 0.5, 0.1, 1.0 / 3.0, -1e-3];
                return Expr::constant(self.pick(&constants)).expand(dim);
            }
        };
        let kind = axis.map_or(2, |axis| axis as u64);
        Expr::var(leaf(kind * 1000 + dim as u64 * 2 + which, axis, dim))
    }
}

/// A random value of a leaf: between 0.2 and 1.5, with either sign.
pub fn values(rng: &mut Rng) -> f64 {
    let value = rng.uniform(0.2, 1.5);
    if rng.bits().is_multiple_of(2) {
        value
    } else {
        -value
    }
}

fn point(expr: &Expr, seed: u64) -> Point {
    let mut rng = Rng::new(seed);
    let var = |var: Var| (var, (0..var.dim).map(|_| values(&mut rng)).collect());
    leaves(expr).into_iter().map(var).collect()
}

/// Compares two ways to evaluate an expression, except where it is ill-conditioned. Returns the number of components
/// that were compared.
fn assert_equal_values(expr: &Expr, got: &[f64], point: &Point) -> usize {
    let tape = Tape::new(expr);
    let at = |var: &Var| point[var].clone();
    let want = tape.evaluate(&at);
    assert_eq!(got.len(), want.len());
    let wobble = tape.wobble(&at, &mut Noise::f64(1));
    let mut compared = 0;
    for ((got, want), wobble) in got.iter().zip(&want).zip(wobble) {
        if wobble > 1e-3 * want.abs() {
            continue;
        }
        compared += 1;
        let tolerance = 1e-12 * want.abs() + 32.0 * wobble;
        assert!(
            agree(*got, *want, tolerance),
            "{got}, expected {want}, of {expr}"
        );
    }
    compared
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn simplification_keeps_the_value(recipe in recipe()) {
        let expr = formula(&recipe);
        let simple = expr.simplify();
        prop_assert_eq!(simple.dim(), expr.dim());
        let point = point(&expr, 1);
        let got = Tape::new(&simple).evaluate(&|var| point[var].clone());
        assert_equal_values(&expr, &got, &point);
    }

    #[test]
    fn simplification_is_done_after_one_pass(recipe in recipe()) {
        let simple = formula(&recipe).simplify();
        prop_assert_eq!(&simple.simplify(), &simple, "{} and {}", simple.simplify(), simple);
    }

    #[test]
    fn a_formula_evaluates_like_its_expression(recipe in recipe()) {
        let expr = formula(&recipe);
        let point = point(&expr, 2);
        let (formula, leaves) = Formula::new(&expr);
        let operands: Vec<&[f64]> = leaves.iter().map(|var| point[var].as_slice()).collect();
        assert_equal_values(&expr, &reference::evaluate(&formula, &operands, (0, 0)), &point);
    }

    #[test]
    fn formulas_survive_json(recipe in recipe()) {
        let (formula, _) = Formula::new(&formula(&recipe));
        let text = serde_json::to_string(&formula).unwrap();
        let back: Formula = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &formula);
    }

    #[test]
    fn a_numbered_formula_is_numbered_alike(recipe in recipe()) {
        let (formula, _) = Formula::new(&formula(&recipe));
        let (again, _) = Formula::new(formula.root());
        prop_assert_eq!(again.vars(), formula.vars());
    }

    #[test]
    fn transposing_twice_changes_nothing(recipe in recipe()) {
        let expr = formula(&recipe);
        prop_assert_eq!(expr.transpose().transpose(), expr.clone());
        prop_assert_eq!(expr.transpose().dependence().i, expr.dependence().j);
    }

    #[test]
    fn differentials_are_adjoint_to_gradients(recipe in recipe()) {
        let expr = formula(&recipe);
        let mut point = point(&expr, 3);
        for var in leaves(&expr).into_iter().take(3) {
            let mut rng = Rng::new(4);
            let mut other = |id: u64, dim: usize| {
                let var = leaf(id, Some(Axis::I), dim);
                point.insert(var, rng.vec(dim, 0.5, 1.5));
                Expr::var(var)
            };
            let (e, u) = (other(1 << 20, expr.dim()), other(1 << 21, var.dim));
            let forward = expr.differential(&var, &u);
            prop_assert_eq!(forward.dim(), expr.dim());
            let (forward, backward) = (forward.dot(&e), expr.gradient(&var, &e).dot(&u));
            let at = |var: &Var| point[var].clone();
            let got = Tape::new(&forward).evaluate(&at);
            let tape = Tape::new(&backward);
            let want = tape.evaluate(&at)[0];
            let wobble = tape.wobble(&at, &mut Noise::f64(1))[0];
            if wobble < 1e-6 * want.abs() {
                let tolerance = 1e-9 * want.abs() + 64.0 * wobble;
                prop_assert!(agree(got[0], want, tolerance), "{}: {} and {}", expr, got[0], want);
            }
        }
    }

    #[test]
    fn gradients_are_limits_of_differences(recipe in recipe()) {
        let expr = formula(&recipe);
        let mut point = point(&expr, 3);
        let cotangent = leaf(1 << 20, Some(Axis::J), expr.dim());
        point.insert(cotangent, Rng::new(4).vec(expr.dim(), 0.5, 1.5));
        let cotangent = Expr::var(cotangent);
        let contracted = expr.dot(&cotangent);
        for var in leaves(&expr).into_iter().take(3) {
            let gradient = expr.gradient(&var, &cotangent);
            prop_assert_eq!(gradient.dim(), var.dim);
            let fine = crate::derivatives::differences(&contracted, &var, &point, 1e-4);
            let coarse = crate::derivatives::differences(&contracted, &var, &point, 2e-4);
            let close = crate::derivatives::differences(&contracted, &var, &point, 1e-6);
            let got = Tape::new(&gradient).evaluate(&|v| point[v].clone());
            let size = fine.iter().fold(1e-2f64, |a, v| a.max(v.abs()));
            for (((got, fine), coarse), close) in got.iter().zip(fine).zip(coarse).zip(close) {
                // Differences with other steps disagree near a kink or a pole, and where the formula changes much
                // within a step. Differences with a small step are less exact.
                let smooth = (fine - coarse).abs() < 1e-7 * size && (fine - close).abs() < 1e-4 * size;
                if fine.is_finite() && smooth {
                    prop_assert!(
                        (got - fine).abs() < 1e-5 * size,
                        "{} by {:?}: {}, expected {}", expr, var, got, fine
                    );
                }
            }
        }
    }
}

#[test]
fn random_formulas_are_deep_and_mostly_well_conditioned() {
    let mut rng = Rng::new(5);
    let (mut compared, mut all, mut deepest) = (0, 0, 0);
    let mut ops = std::collections::HashSet::new();
    for _ in 0..800 {
        let bytes: Vec<u8> = (0..60).map(|_| rng.bits() as u8).collect();
        let expr = formula(&bytes);
        deepest = deepest.max(expr.depth());
        ops.extend(expr.topological().iter().map(|e| match e.node() {
            burn_lazy_kernels::expr::Node::Scalar(op, _) => op.to_string(),
            node => format!("{:?}", std::mem::discriminant(node)),
        }));
        let point = point(&expr, 6);
        let got = Tape::new(&expr).evaluate(&|var| point[var].clone());
        all += expr.dim();
        compared += assert_equal_values(&expr, &got, &point);
    }
    assert!(
        compared * 10 > all * 8,
        "{compared} of {all} components are compared"
    );
    assert!(deepest > DEPTH);
    assert_eq!(
        ops.len(),
        ScalarOp::all().len() + 8,
        "every node occurs: {ops:?}"
    );
}
