//! Lowering of an expression graph to a [`Program`].
//!
//! A vector node is seen as a function from a component to a scalar: lowering asks a node for one
//! component, either a known one (unrolled code) or `offset + k` inside a loop over `k`. Slices and
//! concatenations only change which component is asked for.

mod segments;

use std::collections::HashMap;

use segments::{Leaf, is_leaf, leaf};

use super::builder::{Builder, Component};
use super::{
    Instruction, Item, Listing, Load, Loop, Program, Register, Scaled, Source, Space, Term,
};
use crate::{
    formula::{
        Formula,
        catalogue::{ScalarOp, Sign},
        expr::{Axis, Dependence, Expr, Node, Place},
    },
    math::Argument,
};

/// The longest inner axis that is unrolled.
///
/// Measured on a CPU: beyond 8, straight-line code takes longer to compile and to run, as its
/// registers spill, while a loop shares each loaded row between several columns.
pub const UNROLL: usize = 8;

/// Angles below this bound need no code for large angles. Rounding cannot bring them to $2^{13}$, from where some
/// devices reduce angles in another way.
const SMALL: f64 = 8e3;

/// The most levels of a formula for which the stack of any thread is large enough.
const SHALLOW: usize = 500;

/// Bytes of stack for each level of a formula, with a margin: 400 bytes were measured.
const STACK_OF_LEVEL: usize = 4 << 10;

/// Added to the numbers of computed slots until the number of loaded slots is known.
const COMPUTED: usize = 1 << 30;

struct Lowering<'a> {
    formula: &'a Formula,
    reduced: Axis,
    builders: [Builder; 4],
    uses: HashMap<u128, usize>,
}

impl Program {
    /// Lowers `formula` for a reduction over `reduced`.
    pub fn lower(formula: &Formula, reduced: Axis) -> Self {
        let mut listing = listing(formula, formula.root(), reduced);
        listing.scaled = Scaled::new(formula, reduced, listing.pair_work());
        Program::new(listing)
    }
}

/// Lowers `root`, an expression in the operands of `formula`.
pub(super) fn listing(formula: &Formula, root: &Expr, reduced: Axis) -> Listing {
    let work = || listing_on_stack(formula, root, reduced);
    // Lowering calls itself for each level, so that deep formulas need a larger stack. WebAssembly has no threads.
    if root.depth() <= SHALLOW || cfg!(target_family = "wasm") {
        return work();
    }
    let size = root.depth() * STACK_OF_LEVEL;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(size);
        let lowered = thread.spawn_scoped(scope, work);
        let lowered = lowered.expect("a thread with a larger stack starts");
        lowered
            .join()
            .unwrap_or_else(|e| std::panic::resume_unwind(e))
    })
}

fn listing_on_stack(formula: &Formula, root: &Expr, reduced: Axis) -> Listing {
    let mut uses = HashMap::new();
    for expr in root.topological() {
        for child in expr.node().children() {
            *uses.entry(child.digest()).or_insert(0) += 1;
        }
    }
    let mut lowering = Lowering {
        formula,
        reduced,
        builders: Default::default(),
        uses,
    };
    lowering.store(Space::Pair, 0, root);

    let tensors: Vec<Space> = formula
        .tensors()
        .map(|var| lowering.space_of(var.axes))
        .collect();
    // Without tensors of pairs this stays false, so that both directions may share a kernel.
    let columns_first = reduced == Axis::I && tensors.contains(&Space::Pair);
    let loaded = [Space::Uniform, Space::Row, Space::Column]
        .map(|space| lowering.builders[space as usize].loaded);
    let [uniform, row, column, pair] = lowering.builders;
    let mut listing = Listing {
        tensors,
        columns_first,
        scalars: formula.scalars().count(),
        uniform: uniform.into_stage(),
        row: row.into_stage(),
        column: column.into_stage(),
        pair: pair.items,
        dim: root.dim(),
        scaled: None,
    };
    listing.number_slots(loaded);
    listing
}

impl Listing {
    /// Gives computed slots their places behind the loaded ones.
    fn number_slots(&mut self, loaded: [usize; 3]) {
        let renumber = |space: Space, slot: &mut usize| {
            if *slot >= COMPUTED {
                *slot = *slot - COMPUTED + loaded[space as usize];
            }
        };
        let instruction = |instruction: &mut Instruction| {
            if let Instruction::Load { space, slot, .. } = instruction {
                renumber(*space, slot);
            }
        };
        let body = |terms: &mut Loop| terms.body.iter_mut().for_each(|(_, i)| instruction(i));
        let items = |space: Option<Space>, items: &mut Vec<Item>| {
            for item in items {
                match item {
                    Item::Let(_, i) => instruction(i),
                    Item::Sum { terms, .. } => body(terms),
                    Item::Store { base, terms } => {
                        if let Some(space) = space {
                            renumber(space, base);
                        }
                        body(terms);
                    }
                }
            }
        };
        items(Some(Space::Uniform), &mut self.uniform.items);
        items(Some(Space::Row), &mut self.row.items);
        items(Some(Space::Column), &mut self.column.items);
        items(None, &mut self.pair);
    }
}

impl Lowering<'_> {
    fn space_of(&self, dependence: Dependence) -> Space {
        match (
            dependence.on(self.reduced.other()),
            dependence.on(self.reduced),
        ) {
            (false, false) => Space::Uniform,
            (true, false) => Space::Row,
            (false, true) => Space::Column,
            (true, true) => Space::Pair,
        }
    }

    fn builder(&mut self, space: Space) -> &mut Builder {
        &mut self.builders[space as usize]
    }

    /// The register of one component of `expr` in the stage of `space`.
    fn scalar(&mut self, space: Space, expr: &Expr, component: Component) -> Register {
        let component = match expr.dim() {
            1 => Component::At(0),
            _ => component,
        };
        if let Some(register) = self.builder(space).known(expr, component) {
            return register;
        }
        let register = self.compute(space, expr, component);
        self.builder(space).remember(expr, component, register);
        register
    }

    fn compute(&mut self, space: Space, expr: &Expr, component: Component) -> Register {
        let looped = matches!(component, Component::Looped(_));
        if let Some(value) = expr.as_const() {
            return self.push(space, Instruction::Const(value.into()), looped);
        }
        let own = self.space_of(expr.dependence());
        if let Node::Iota(start, _) = expr.node() {
            let instruction = match component {
                Component::At(k) => Instruction::Const(((start + k) as f64).into()),
                Component::Looped(k) => Instruction::Counter { offset: start + k },
            };
            return self.push(space, instruction, looped);
        }
        if let Node::Place(Place::Offset) = expr.node() {
            let negated = self.reduced == Axis::I;
            return self.push(space, Instruction::Offset { negated }, looped);
        }
        if own == Space::Pair
            && let Some((Leaf::Operand(var), offset)) = leaf(expr)
        {
            let entry = Instruction::Entry {
                tensor: self.formula.source(var.id as usize),
                component: offset + component.first(),
                looped,
            };
            return self.push(space, entry, looped);
        }
        if own < space || is_leaf(expr) {
            let slot = self.slot(own, expr) + component.first();
            let load = Instruction::Load {
                space: own,
                slot,
                looped,
            };
            return self.push(space, load, looped);
        }
        match expr.node() {
            Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => {
                unreachable!("leaves are loaded")
            }
            Node::Scalar(op, args) => self.scalar_op(space, *op, args, component),
            Node::InnerSum(arg) => self.fold(space, arg, None),
            Node::InnerExtremum(extreme, arg) => self.fold(space, arg, Some(extreme.op())),
            Node::Slice(arg, start, _) => self.scalar(space, arg, component.shift(*start)),
            Node::Concat(parts) => {
                let (part, start) = part_at(parts, component.first());
                self.scalar(space, part, component.unshift(start))
            }
            Node::Expand(arg, _) => self.scalar(space, arg, Component::At(0)),
        }
    }

    fn scalar_op(
        &mut self,
        space: Space,
        op: ScalarOp,
        args: &[Expr],
        component: Component,
    ) -> Register {
        let looped = matches!(component, Component::Looped(_));
        match op {
            // The reciprocal is computed once a row or column, not once a pair. This is at most one
            // more rounding, but the reciprocal of a tiny divisor may overflow to infinity.
            ScalarOp::Div
                if space == Space::Pair && self.space_of(args[1].dependence()) < space =>
            {
                let reciprocal = args[1].recip();
                let product = args[0].clone() * reciprocal;
                return self.scalar(space, &product, component);
            }
            ScalarOp::Add | ScalarOp::Sub => {
                let fused = |lowering: &mut Self, sum: &Expr, product: &Expr, negated: bool| {
                    let single = lowering.uses.get(&product.digest()) == Some(&1);
                    match product.node() {
                        Node::Scalar(ScalarOp::Mul | ScalarOp::Square, _) if single => {}
                        _ => return None,
                    }
                    let Term::Product { args: [a, b], .. } =
                        lowering.term(space, product, component)
                    else {
                        return None;
                    };
                    let c = lowering.scalar(space, sum, component);
                    let args = [a, b, c];
                    Some(lowering.push(space, Instruction::Fma { args, negated }, looped))
                };
                let negated = op == ScalarOp::Sub;
                if let Some(register) = fused(self, &args[0], &args[1], negated) {
                    return register;
                }
                if op == ScalarOp::Add
                    && let Some(register) = fused(self, &args[1], &args[0], false)
                {
                    return register;
                }
            }
            _ => {}
        }
        // The exponent, if the exponential is a power of 2.
        let power = match op {
            ScalarOp::Exp => power_of_two(&args[0]),
            _ => None,
        };
        let first = power.unwrap_or(&args[0]);
        let a = self.scalar(space, first, component);
        let b = match args.get(1) {
            Some(b) => self.scalar(space, b, component),
            None => a,
        };
        let c = match args.get(2) {
            Some(c) => self.scalar(space, c, component),
            None => b,
        };
        let argument = Argument {
            nonpositive: first.known_sign() == Sign::NonPositive,
            rounded: first.is_rounded(),
            binary: power.is_some(),
            small: op.is_circular() && first.bound() < SMALL,
        };
        let args = [a, b, c];
        let apply = Instruction::Apply { op, args, argument };
        self.push(space, apply, looped)
    }

    fn push(&mut self, space: Space, instruction: Instruction, looped: bool) -> Register {
        self.builder(space).push(instruction, looped)
    }

    /// One component as a term of a sum.
    fn term(&mut self, space: Space, expr: &Expr, component: Component) -> Term {
        let component = match expr.dim() {
            1 => Component::At(0),
            _ => component,
        };
        let own = self.space_of(expr.dependence()) == space && expr.as_const().is_none();
        let new = own && self.builder(space).known(expr, component).is_none();
        match expr.node() {
            // If the component of the part is a product, so is the component of the whole.
            Node::Concat(parts) if new => {
                let (part, start) = part_at(parts, component.first());
                return self.term(space, part, component.unshift(start));
            }
            Node::Slice(arg, start, _) if new && !is_leaf(expr) => {
                return self.term(space, arg, component.shift(*start));
            }
            _ => {}
        }
        if new && let Node::Scalar(op, args) = expr.node() {
            match op {
                ScalarOp::Mul => {
                    let args = [0, 1].map(|k| self.scalar(space, &args[k], component));
                    return Term::Product {
                        args,
                        negated: false,
                    };
                }
                ScalarOp::Square => {
                    let a = self.scalar(space, &args[0], component);
                    return Term::Product {
                        args: [a, a],
                        negated: false,
                    };
                }
                ScalarOp::Neg => {
                    if let Term::Product { args, negated } = self.term(space, &args[0], component) {
                        return Term::Product {
                            args,
                            negated: !negated,
                        };
                    }
                }
                _ => {}
            }
        }
        Term::Value(self.scalar(space, expr, component))
    }

    /// The sum over the inner axis of `expr`, or the fold of its components by `op`.
    fn fold(&mut self, space: Space, expr: &Expr, op: Option<ScalarOp>) -> Register {
        let mut total = None;
        for (start, len) in self.segments(space, expr) {
            let term = if len == 1 {
                match op {
                    None => self.term(space, expr, Component::At(start)),
                    Some(_) => Term::Value(self.scalar(space, expr, Component::At(start))),
                }
            } else {
                // A sum starts from 0, any other fold from a value: the total so far or the first component.
                let fold = op.map(|op| {
                    let first = match total {
                        Some(total) => total,
                        None => self.scalar(space, expr, Component::At(start)),
                    };
                    (op, first)
                });
                let terms = self.terms(space, expr, start, len);
                let builder = self.builder(space);
                let register = builder.registers;
                builder.registers += 1;
                builder.items.push(Item::Sum {
                    register,
                    terms,
                    fold,
                });
                Term::Value(register)
            };
            total = Some(match (op, total, term) {
                (None, _, term) => self.add_term(space, total, term),
                (Some(op), Some(total), Term::Value(value)) if len == 1 => {
                    let apply = Instruction::Apply {
                        op,
                        args: [total, value, value],
                        argument: Argument::default(),
                    };
                    self.push(space, apply, false)
                }
                (Some(_), _, Term::Value(value)) => value,
                (Some(_), _, Term::Product { .. }) => unreachable!("only sums take products"),
            });
        }
        total.expect("an inner axis is never empty")
    }

    fn add_term(&mut self, space: Space, total: Option<Register>, term: Term) -> Register {
        let apply = |op, [a, b]: [Register; 2]| Instruction::Apply {
            op,
            args: [a, b, b],
            argument: Argument::default(),
        };
        let instruction = match (total, term) {
            (None, Term::Value(value)) => return value,
            (None, Term::Product { args, negated }) => {
                let product = apply(ScalarOp::Mul, args);
                if !negated {
                    product
                } else {
                    let product = self.push(space, product, false);
                    apply(ScalarOp::Neg, [product, product])
                }
            }
            (Some(total), Term::Value(value)) => apply(ScalarOp::Add, [total, value]),
            (
                Some(total),
                Term::Product {
                    args: [a, b],
                    negated,
                },
            ) => Instruction::Fma {
                args: [a, b, total],
                negated,
            },
        };
        self.push(space, instruction, false)
    }

    /// The first slot of `expr` in its own space.
    fn slot(&mut self, space: Space, expr: &Expr) -> usize {
        if let Some(slot) = self.builder(space).slots.get(&expr.digest()) {
            return *slot;
        }
        let dim = expr.dim();
        let slot = match leaf(expr) {
            Some((source, offset)) => {
                let source = match source {
                    Leaf::Index => Source::Index,
                    Leaf::Operand(var) => {
                        let position = self.formula.source(var.id as usize);
                        if var.scalar {
                            Source::Scalar(position)
                        } else {
                            Source::Tensor(position)
                        }
                    }
                };
                let builder = self.builder(space);
                let slot = builder.loaded;
                builder.loaded += dim;
                builder.loads.push(Load {
                    slot,
                    len: dim,
                    source,
                    offset,
                });
                slot
            }
            None => {
                let builder = self.builder(space);
                let slot = COMPUTED + builder.computed;
                builder.computed += dim;
                self.store(space, slot, expr);
                slot
            }
        };
        self.builder(space).slots.insert(expr.digest(), slot);
        slot
    }
}

/// The other factor, if `expr` is a product with $\ln 2$: its exponential is 2 to the power of this factor.
fn power_of_two(expr: &Expr) -> Option<&Expr> {
    let Node::Scalar(ScalarOp::Mul, args) = expr.node() else {
        return None;
    };
    let ln_2 = |expr: &Expr| expr.as_const() == Some(std::f64::consts::LN_2);
    match [ln_2(&args[0]), ln_2(&args[1])] {
        [true, false] => Some(&args[1]),
        [false, true] => Some(&args[0]),
        _ => None,
    }
}

/// The part of a concatenation that holds `component`, and where it starts.
fn part_at(parts: &[Expr], component: usize) -> (&Expr, usize) {
    let mut start = 0;
    for part in parts {
        if component < start + part.dim() {
            return (part, start);
        }
        start += part.dim();
    }
    unreachable!("components stay within the concatenation")
}
