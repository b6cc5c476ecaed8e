//! Lowering of formulas: which stage computes what, and how.
//!
//! Nothing is launched. The tests inspect the listings. The random test checks what every program must satisfy:
//! registers and slots are filled before they are read, and each output is stored once.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use burn_lazy_kernels::{
    Argument, Axis, Expr, Formula, Program,
    catalogue::ScalarOp,
    program::{Instruction, Item, Listing, Loop, Register, Source, Space, Stage, Term, UNROLL},
};
use proptest::prelude::*;

use crate::{
    random::{self, config},
    support::{gaussian, leaf, p, s, x, y},
};

fn lower(expr: &Expr) -> Program {
    Program::lower(&Formula::new(expr).0, Axis::J)
}

/// All instructions, including those in loop bodies.
fn instructions(items: &[Item]) -> Vec<Instruction> {
    let own = |item: &Item| match item {
        Item::Let(_, instruction) => vec![*instruction],
        Item::Sum { terms, .. } | Item::Store { terms, .. } => {
            terms.body.iter().map(|(_, i)| *i).collect()
        }
    };
    items.iter().flat_map(own).collect()
}

/// The number of applications of `op`.
fn count(items: &[Item], op: ScalarOp) -> usize {
    let applies =
        |i: &&Instruction| matches!(i, Instruction::Apply { op: other, .. } if *other == op);
    instructions(items).iter().filter(applies).count()
}

fn fused(items: &[Item]) -> usize {
    let is_fused = |i: &&Instruction| matches!(i, Instruction::Fma { .. });
    instructions(items).iter().filter(is_fused).count()
}

/// The lengths of the loops that sum.
fn sums(items: &[Item]) -> Vec<usize> {
    let len = |item: &Item| match item {
        Item::Sum { terms, .. } => Some(terms.len),
        _ => None,
    };
    items.iter().filter_map(len).collect()
}

/// The first slots and lengths of the stores.
fn stores(items: &[Item]) -> Vec<(usize, usize)> {
    let store = |item: &Item| match item {
        Item::Store { base, terms } => Some((*base, terms.len)),
        _ => None,
    };
    items.iter().filter_map(store).collect()
}

fn stages(program: &Program) -> [(&str, &[Item]); 4] {
    [
        ("uniform", &program.uniform.items),
        ("row", &program.row.items),
        ("column", &program.column.items),
        ("pair", &program.pair),
    ]
}

/// Asserts that one stage applies `op` `times` times and no other stage applies it.
#[track_caller]
fn assert_only_in(program: &Program, stage: &str, op: ScalarOp, times: usize) {
    for (name, items) in stages(program) {
        let want = if name == stage { times } else { 0 };
        assert_eq!(
            count(items, op),
            want,
            "{op} in the {name} stage of\n{}",
            **program
        );
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn what_follows_from_a_row_is_computed_once_a_row() {
    let program = lower(&(x(0, 1).exp() * y(1, 1)));
    assert_only_in(&program, "row", ScalarOp::Exp, 1);
    assert_eq!((program.row.loaded, program.row.computed()), (1, 1));
    assert_eq!((program.column.loaded, program.column.computed()), (1, 0));
}

#[test]
fn what_follows_from_a_column_is_computed_once_a_column() {
    let program = lower(&(y(1, 3).sqnorm().log() * x(0, 3)));
    assert_only_in(&program, "column", ScalarOp::Log, 1);
    assert_eq!(fused(&program.column.items), 2);
    assert_eq!(program.column.computed(), 1);
}

#[test]
fn what_follows_from_parameters_is_computed_once() {
    let program = lower(&((p(0, 1).exp() * s(1).sqrt()) * (x(2, 1) * y(3, 1))));
    assert_only_in(&program, "uniform", ScalarOp::Exp, 1);
    assert_only_in(&program, "uniform", ScalarOp::Sqrt, 1);
    let scalars: Vec<bool> = program
        .uniform
        .loads
        .iter()
        .map(|load| matches!(load.source, Source::Scalar(_)))
        .collect();
    assert_eq!(scalars, [false, true]);
    assert_eq!((program.tensors.len(), program.scalars), (3, 1));
}

#[test]
fn the_reduced_axis_decides_what_a_row_is() {
    let (formula, _) = Formula::new(&(x(0, 1).exp() * y(1, 1)));
    let over_columns = Program::lower(&formula, Axis::J);
    let over_rows = Program::lower(&formula, Axis::I);
    assert_only_in(&over_rows, "column", ScalarOp::Exp, 1);
    assert_eq!(over_columns.tensors, [Space::Row, Space::Column]);
    assert_eq!(over_rows.tensors, [Space::Column, Space::Row]);
}

#[test]
fn a_mixed_stage_reads_what_the_uniform_stage_computed() {
    let program = lower(&((x(0, 2) * p(1, 2).exp()).sqnorm() * y(2, 1)));
    assert_only_in(&program, "uniform", ScalarOp::Exp, 2);
    let reads = instructions(&program.row.items);
    let uniform = |i: &&Instruction| {
        matches!(
            i,
            Instruction::Load {
                space: Space::Uniform,
                ..
            }
        )
    };
    assert_eq!(reads.iter().filter(uniform).count(), 2);
    assert_eq!(program.row.computed(), 1);
}

#[test]
fn a_division_by_what_a_stage_knows_is_a_product_by_its_reciprocal() {
    let pair = x(0, 3).dot(&y(1, 3));
    for (divisor, stage) in [(p(2, 1), "uniform"), (x(2, 1), "row"), (y(2, 1), "column")] {
        let program = lower(&(pair.clone() / divisor));
        assert_only_in(&program, stage, ScalarOp::Recip, 1);
        assert_only_in(&program, "none", ScalarOp::Div, 0);
    }
    // The same if many values are divided by it.
    let scaled = (x(0, 3) - y(1, 3)) / p(2, 1);
    let program = lower(&(-scaled.sqnorm()).exp());
    assert_only_in(&program, "uniform", ScalarOp::Recip, 1);
    assert_only_in(&program, "none", ScalarOp::Div, 0);
}

#[test]
fn a_division_within_one_stage_stays() {
    assert_only_in(
        &lower(&(y(0, 1) / y(1, 1) * x(2, 1))),
        "column",
        ScalarOp::Div,
        1,
    );
    let pair = x(0, 1) * y(1, 1);
    assert_only_in(&lower(&(1.0 / (pair + 1.0))), "pair", ScalarOp::Div, 1);
}

#[test]
fn common_parts_are_computed_once() {
    let kernel = || (-x(0, 3).sqdist(&y(1, 3))).exp();
    let program = lower(&(kernel() * y(2, 1) + kernel().square()));
    assert_only_in(&program, "pair", ScalarOp::Exp, 1);
    assert_only_in(&program, "pair", ScalarOp::Sub, 3);
    // The same in each stage, and across the components of a vector.
    let program = lower(&(x(0, 1).exp() * y(1, 16) + x(0, 1).exp()));
    assert_only_in(&program, "row", ScalarOp::Exp, 1);
    assert_eq!(program.row.slots, 2);
}

#[test]
fn a_gradient_shares_the_exponential_with_its_factors() {
    let kernel = gaussian(3, 1);
    let gradient = kernel.gradient(&leaf(0, Some(Axis::I), 3), &x(9, 1));
    assert_only_in(&lower(&gradient), "pair", ScalarOp::Exp, 1);
}

#[test]
fn a_common_part_inside_a_loop_is_computed_once_a_turn() {
    let difference = || x(0, 40) - y(1, 40);
    let program = lower(&(difference().exp() * difference()).inner_sum());
    assert_eq!(count(&program.pair, ScalarOp::Sub), 1);
    assert_eq!(sums(&program.pair), [40]);
}

#[test]
fn a_part_that_no_turn_changes_stands_before_the_loop() {
    let scale = (x(0, 1) * y(1, 1)).exp();
    let program = lower(&(scale * (x(2, 40) - y(3, 40)).square()).inner_sum());
    let exp_in_loop = program.pair.iter().any(|item| match item {
        Item::Sum { .. } => count(std::slice::from_ref(item), ScalarOp::Exp) > 0,
        _ => false,
    });
    assert!(!exp_in_loop);
    assert_only_in(&program, "pair", ScalarOp::Exp, 1);
}

#[test]
fn sums_of_squares_are_fused_multiply_adds() {
    let program = lower(&x(0, 4).sqdist(&y(1, 4)).exp());
    assert_eq!(fused(&program.pair), 3);
    assert_only_in(&program, "pair", ScalarOp::Mul, 1);
    assert_only_in(&program, "pair", ScalarOp::Square, 0);
    assert_only_in(&program, "pair", ScalarOp::Add, 0);
}

#[test]
fn negated_squares_are_subtracted_without_a_negation_each() {
    let program = lower(&(-x(0, 4).sqdist(&y(1, 4))).exp());
    assert_eq!(fused(&program.pair), 3);
    let negated = |i: &&Instruction| matches!(i, Instruction::Fma { negated: true, .. });
    assert_eq!(
        instructions(&program.pair).iter().filter(negated).count(),
        3
    );
    assert_only_in(&program, "pair", ScalarOp::Neg, 1);
}

#[test]
fn a_product_that_is_added_is_fused_unless_it_is_used_elsewhere() {
    let product = x(0, 1) * y(1, 1);
    let sum = |c: Expr| lower(&(product.clone() + c).exp());
    assert_eq!(fused(&sum(y(2, 1)).pair), 1);
    let difference = lower(&(y(2, 1) - product.clone()).exp());
    assert!(matches!(
        instructions(&difference.pair)
            .iter()
            .find(|i| matches!(i, Instruction::Fma { .. })),
        Some(Instruction::Fma { negated: true, .. })
    ));
    let twice = lower(&((product.clone() + y(2, 1)).exp() * product.clone()));
    assert_eq!(count(&twice.pair, ScalarOp::Mul) + fused(&twice.pair), 1);
}

#[test]
fn a_product_goes_into_the_reduction_unmultiplied() {
    let program = lower(&gaussian(3, 2));
    let product = |item: &Item| match item {
        Item::Store { terms, .. } => matches!(terms.term, Term::Product { .. }),
        _ => false,
    };
    assert_eq!(program.pair.iter().filter(|item| product(item)).count(), 2);
    assert_only_in(&program, "pair", ScalarOp::Mul, 1);
}

/// What the program knows about the argument of its only exponential.
fn argument_of_exp(expr: &Expr) -> Argument {
    let program = lower(expr);
    instructions(&program.pair)
        .iter()
        .find_map(|i| match i {
            Instruction::Apply {
                op: ScalarOp::Exp,
                argument,
                ..
            } => Some(*argument),
            _ => None,
        })
        .expect("there is an exponential")
}

#[test]
fn the_exponential_knows_that_its_argument_is_not_positive() {
    let known = |expr: &Expr| argument_of_exp(expr).nonpositive;
    let distance = x(0, 3).sqdist(&y(1, 3));
    assert!(known(&(-distance.clone()).exp()));
    assert!(known(&(distance.clone() * -0.5).exp()));
    assert!(known(&(-(distance.clone() / p(2, 1).square())).exp()));
    assert!(known(&(-distance.sqrt()).exp()));
    assert!(!known(&distance.exp()));
    assert!(!known(&(distance * p(2, 1)).exp()));
    assert!(!known(&(-x(0, 3).dot(&y(1, 3))).exp()));
}

#[test]
fn the_exponential_knows_that_its_argument_has_been_rounded() {
    let known = |expr: &Expr| argument_of_exp(expr).rounded;
    let pair = x(0, 1) * y(1, 1);
    assert!(known(&(-x(0, 3).sqdist(&y(1, 3))).exp()));
    assert!(known(&(x(0, 1) - y(1, 1)).abs().exp()));
    assert!(known(&(0.5 * pair.clone()).exp()));
    // An index, a choice between operands, and its product with a constant count as given values.
    let smaller = Expr::scalar(ScalarOp::Minimum, vec![x(0, 1), y(1, 1)]);
    assert!(!known(&smaller.clone().exp()));
    assert!(!known(&(-smaller * 2.0).exp()));
    assert!(known(&(-pair).exp()));
}

#[test]
fn the_exponential_of_a_multiple_of_ln_2_is_a_power_of_2() {
    let product = || x(0, 1) * y(1, 1);
    let of = |expr: Expr| argument_of_exp(&expr.exp()).binary;
    assert!(of(product() * std::f64::consts::LN_2));
    assert!(of(Expr::constant(std::f64::consts::LN_2) * product()));
    assert!(!of(product() * 0.7) && !of(product()));
}

/// Whether the program has a scaled form with less work per pair, which computes the reach of a row and a column once.
fn is_scaled(expr: &Expr) -> bool {
    let program = lower(expr);
    program.scaled.as_ref().is_some_and(|scaled| {
        // The first square may be a product, because there is nothing to add it to.
        assert!(
            count(&scaled.program.pair, ScalarOp::Mul) <= 1,
            "{}",
            *scaled.program
        );
        assert!(scaled.program.pair_work() < program.pair_work());
        assert_eq!(scaled.reach.row.computed(), 1);
        assert_eq!(scaled.reach.column.computed(), 1);
        true
    })
}

#[test]
fn exponentials_of_distances_have_a_form_without_a_factor() {
    let difference = || x(0, 3) - y(1, 3);
    let squared = || difference().square().inner_sum();
    for exponent in [
        -squared(),
        -(squared() * s(2)),
        squared() * -0.5,
        -squared() / (s(2).square() * 2.0),
        -(-difference() / p(2, 3)).square().inner_sum(),
        -(difference().square() * p(2, 3)).inner_sum(),
        -(y(1, 1) - x(0, 1)).square() * s(2),
        // Operations on a row or a column alone do not prevent the scaled form.
        -x(0, 8).exp().sqdist(&(y(1, 8) * y(3, 1))),
    ] {
        assert!(is_scaled(&(exponent.exp() * y(4, 2))), "{exponent}");
    }
}

#[test]
fn other_exponentials_have_no_such_form() {
    let squared = || x(0, 3).sqdist(&y(1, 3));
    for expr in [
        // The exponential grows with the distance.
        (squared() * 0.5).exp(),
        // The factor is not the same for all pairs.
        -(squared() * x(2, 1)).exp(),
        (-squared().sqrt()).exp(),
        (-x(0, 3).dot(&y(1, 3)).square()).exp(),
        (-(x(0, 3) * y(1, 3) - y(2, 3)).square().inner_sum()).exp(),
        squared() * -0.5,
        // A loop has more work than the product that is saved.
        (-x(0, 9).sqdist(&y(1, 9))).exp(),
        // The distance is also used without the exponential.
        (-squared()).exp() * squared(),
        (-squared()).exp() + (-squared() * 0.5).exp(),
    ] {
        assert!(lower(&expr).scaled.is_none(), "{expr}");
    }
    assert!(
        lower(&gaussian(3, 1).gradient(&leaf(0, Some(Axis::I), 3), &x(9, 1)))
            .scaled
            .is_none()
    );
}

#[test]
fn short_inner_axes_are_unrolled_and_long_ones_are_loops() {
    for (dim, want) in [
        (1, vec![]),
        (UNROLL, vec![]),
        (UNROLL + 1, vec![UNROLL + 1]),
        (500, vec![500]),
    ] {
        let program = lower(&gaussian(dim, 1));
        assert_eq!(sums(&program.pair), want);
        assert_eq!(program.looped(), dim > UNROLL);
        assert!(instructions(&program.pair).len() <= 5 * UNROLL);
    }
    for (width, want) in [
        (UNROLL, (0..UNROLL).map(|k| (k, 1)).collect()),
        (UNROLL + 1, vec![(0, UNROLL + 1)]),
    ] {
        let program = lower(&gaussian(3, width));
        assert_eq!(stores(&program.pair), want);
        assert_eq!(program.looped(), width > UNROLL);
    }
}

#[test]
fn a_loop_over_squares_sums_products() {
    let program = lower(&gaussian(100, 1));
    let sum = program.pair.iter().find_map(|item| match item {
        Item::Sum { terms, .. } => Some((terms.body.clone(), terms.term)),
        _ => None,
    });
    let (body, term) = sum.expect("a loop");
    assert_eq!(body.len(), 3, "two loads and a difference");
    assert!(matches!(term, Term::Product { args: [a, b], negated: true } if a == b));
}

#[test]
fn a_concatenation_is_cut_at_its_boundaries() {
    let joined = Expr::concat(vec![x(0, 10), y(1, 15), p(2, 1), x(3, 2)]);
    let program = lower(&joined.sqnorm());
    assert_eq!(sums(&program.pair), [10, 15, 2]);
    assert_eq!(
        stores(&lower(&joined.square()).pair),
        [(0, 10), (10, 15), (25, 1), (26, 2)]
    );
}

#[test]
fn two_concatenations_are_cut_at_the_boundaries_of_both() {
    let a = Expr::concat(vec![x(0, 10), y(1, 20)]);
    let b = Expr::concat(vec![y(2, 18), x(3, 12)]);
    assert_eq!(sums(&lower(&a.dot(&b)).pair), [10, 8, 12]);
    // Only the sliced part is summed.
    assert_eq!(
        sums(&lower(&(a * b).slice(5, 20).inner_sum()).pair),
        [5, 8, 7]
    );
}

#[test]
fn a_nested_concatenation_is_cut_at_the_boundaries_within() {
    let inner = Expr::concat(vec![x(0, 3), y(1, 17)]);
    let outer = Expr::concat(vec![y(2, 4), inner.exp()]);
    assert_eq!(sums(&lower(&outer.sqnorm()).pair), [4, 3, 17]);
}

#[test]
fn a_concatenation_that_a_stage_knows_needs_no_cut() {
    let joined = Expr::concat(vec![y(1, 10), y(2, 15).exp()]);
    let program = lower(&x(0, 25).dot(&joined));
    assert_eq!(sums(&program.pair), [25]);
    assert_eq!(
        stores(&program.column.items)
            .iter()
            .map(|s| s.1)
            .sum::<usize>(),
        25
    );
}

#[test]
fn equal_formulas_over_other_operands_give_equal_programs() {
    let build = |a: u64, b: u64, c: u64| lower(&((-x(a, 3).sqdist(&y(b, 3))).exp() * y(c, 2)));
    let (one, other) = (build(0, 1, 2), build(90, 17, 3));
    assert_eq!(one, other);
    assert_eq!(hash(&one), hash(&other));
    let different = lower(&gaussian(3, 3));
    assert_ne!(one, different);
    assert_ne!(hash(&one), hash(&different));
}

#[test]
fn the_transposed_formula_over_the_other_axis_is_the_same_program() {
    for expr in [
        gaussian(3, 2),
        gaussian(40, 17),
        x(0, 2) / p(1, 1) * y(2, 1),
    ] {
        let (straight, _) = Formula::new(&expr);
        let (transposed, _) = Formula::new(&expr.transpose());
        let one = Program::lower(&straight, Axis::J);
        let other = Program::lower(&transposed, Axis::I);
        assert_eq!(one, other);
        assert_eq!(hash(&one), hash(&other));
    }
}

#[test]
fn the_cost_of_a_pair_counts_loops_by_their_length() {
    let short = lower(&gaussian(100, 1)).pair_cost();
    let long = lower(&gaussian(200, 1)).pair_cost();
    assert_eq!(long - short, 100 * 4);
}

#[test]
fn listings_print_all_stages() {
    let text = lower(&((x(0, 1).exp() - y(1, 20)) / s(2)).sqnorm()).to_string();
    for part in [
        "uniform: 2 slots",
        "row: 2 slots",
        "column: 20 slots",
        "pair: 1 outputs",
        "k < 20",
    ] {
        assert!(text.contains(part), "no '{part}' in\n{text}");
    }
}

/// Follows a program and asserts that every register and slot is filled before it is read.
struct Follow<'a> {
    listing: &'a Listing,
    space: Space,
    known: HashSet<Register>,
    /// The own slots, or the outputs, that are filled.
    filled: HashSet<usize>,
}

impl<'a> Follow<'a> {
    fn stage(listing: &'a Listing, space: Space) {
        let stage: &Stage = listing.stage(space);
        let mut follow = Follow {
            listing,
            space,
            known: HashSet::new(),
            filled: HashSet::new(),
        };
        for load in &stage.loads {
            for slot in load.slot..load.slot + load.len {
                assert!(follow.filled.insert(slot), "slot {slot} is loaded twice");
                assert_eq!(stage.load_of(slot), Some(load));
            }
            match load.source {
                Source::Tensor(tensor) => assert_eq!(listing.tensors[tensor], space),
                Source::Scalar(scalar) => assert!(scalar < listing.scalars),
                Source::Index => assert_ne!(space, Space::Uniform),
            }
        }
        assert_eq!(follow.filled, (0..stage.loaded).collect());
        follow.items(&stage.items);
        assert_eq!(follow.filled, (0..stage.slots).collect());
    }

    fn pair(listing: &'a Listing) {
        let mut follow = Follow {
            listing,
            space: Space::Pair,
            known: HashSet::new(),
            filled: HashSet::new(),
        };
        follow.items(&listing.pair);
        assert_eq!(follow.filled, (0..listing.dim).collect());
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Let(register, instruction) => {
                    self.instruction(instruction, 1, false);
                    self.define(*register);
                }
                Item::Sum {
                    register,
                    terms,
                    fold,
                } => {
                    if let Some((_, first)) = fold {
                        self.read(*first);
                    }
                    self.terms(terms);
                    self.define(*register);
                }
                Item::Store { base, terms } => {
                    assert!(terms.len > 1 || terms.body.is_empty());
                    self.terms(terms);
                    for slot in *base..base + terms.len {
                        assert!(self.filled.insert(slot), "{slot} is stored twice");
                    }
                }
            }
        }
    }

    /// Checks a loop. The registers of its body are not known after the loop.
    fn terms(&mut self, terms: &Loop) {
        let before = self.known.clone();
        for (register, instruction) in &terms.body {
            self.instruction(instruction, terms.len, true);
            self.define(*register);
        }
        match &terms.term {
            Term::Value(register) => self.read(*register),
            Term::Product { args, .. } => args.iter().for_each(|a| self.read(*a)),
        }
        self.known = before;
    }

    fn define(&mut self, register: Register) {
        assert!(
            self.known.insert(register),
            "register {register} is set twice"
        );
    }

    fn read(&self, register: Register) {
        assert!(
            self.known.contains(&register),
            "register {register} is not set"
        );
    }

    fn instruction(&mut self, instruction: &Instruction, len: usize, in_loop: bool) {
        match instruction {
            Instruction::Const(_) => {}
            Instruction::Counter { .. } => assert!(in_loop),
            Instruction::Offset { .. } => assert_eq!(self.space, Space::Pair),
            Instruction::Entry { tensor, looped, .. } => {
                assert_eq!(self.space, Space::Pair);
                assert_eq!(self.listing.tensors[*tensor], Space::Pair);
                assert!(in_loop || !looped);
            }
            Instruction::Load {
                space,
                slot,
                looped,
            } => {
                assert!(in_loop || !looped);
                let last = slot + if *looped { len } else { 1 };
                if *space == self.space {
                    assert!((*slot..last).all(|slot| self.filled.contains(&slot)));
                } else {
                    let visible = match self.space {
                        Space::Pair => true,
                        _ => *space == Space::Uniform,
                    };
                    assert!(visible && last <= self.listing.stage(*space).slots);
                }
                // The loaded slots that a loop reads belong to one operand.
                let stage = self.listing.stage(*space);
                if *looped && *slot < stage.loaded {
                    assert_eq!(stage.load_of(*slot), stage.load_of(last - 1));
                }
            }
            Instruction::Apply { args, .. } => args.iter().for_each(|a| self.read(*a)),
            Instruction::Fma { args, .. } => args.iter().for_each(|a| self.read(*a)),
        }
    }
}

fn assert_well_formed(program: &Program) {
    if let Some(scaled) = &program.scaled {
        assert_well_formed(&scaled.program);
        assert_well_formed(&scaled.reach);
    }
    for space in [Space::Uniform, Space::Row, Space::Column] {
        Follow::stage(program, space);
    }
    Follow::pair(program);
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn random_programs_are_well_formed(recipe in random::recipe()) {
        let (formula, _) = Formula::new(&random::formula(&recipe));
        for reduced in [Axis::I, Axis::J] {
            let program = Program::lower(&formula, reduced);
            prop_assert_eq!(program.dim, formula.dim());
            prop_assert_eq!(program.tensors.len(), formula.tensors().count());
            assert_well_formed(&program);
        }
    }

    #[test]
    fn random_programs_are_made_alike_each_time(recipe in random::recipe()) {
        let (formula, _) = Formula::new(&random::formula(&recipe));
        let [one, other] = [(); 2].map(|_| Program::lower(&formula, Axis::J));
        prop_assert_eq!(hash(&one), hash(&other));
        prop_assert_eq!(one, other);
    }
}

#[test]
fn angles_that_are_bounded_are_known_to_be_small() {
    let small = |expr: &Expr| {
        let (formula, _) = Formula::new(expr);
        let pair = Program::lower(&formula, Axis::J).pair.clone();
        let found = pair.iter().rev().find_map(|item| match item {
            Item::Let(_, Instruction::Apply { op, argument, .. }) if op.is_circular() => {
                Some(argument.small)
            }
            _ => None,
        });
        found.expect("a function of an angle")
    };
    let pair = x(0, 1) * y(1, 1);
    assert!(!small(&pair.sin()));
    assert!(!small(&pair.exp().sin()));
    assert!(!small(&(pair.tan() * 2.0).cos()));
    assert!(!small(&(pair.sin() * 1e5).cos()));
    assert!(!small(&(pair.sin() / pair.clone()).cos()));
    assert!(small(&pair.sin().sin()));
    assert!(small(
        &(pair.tanh() * 7.0 + pair.atan()).spherical_bessel(1)
    ));
    assert!(small(&(pair.erf().square() - 3.0).tan()));
}

#[test]
fn long_pairs_are_compiled_in_pieces_and_usual_ones_are_not() {
    let nested = |n: usize| (0..n).fold(x(0, 1) * y(1, 1), |value, _| value.sin());
    let lower = |expr: &Expr| Program::lower(&Formula::new(expr).0, Axis::J);
    for expr in [nested(7), gaussian(3, 1), gaussian(8, 8), gaussian(100, 1)] {
        let program = lower(&expr);
        assert!(!program.is_long() && program.pieces().is_empty(), "{expr}");
    }
    // The number of pieces is proportional to the length of the formula, so pieces have about the same length.
    for n in [40, 80, 400] {
        let program = lower(&nested(n));
        let pieces = program.pieces();
        assert!(
            (n / 10..=n / 5 + 1).contains(&pieces.len()),
            "{} pieces",
            pieces.len()
        );
        // One value goes from piece to piece, always in the same place.
        let (last, others) = pieces.split_last().expect("there are some");
        assert!(
            others
                .iter()
                .all(|piece| piece.kept.len() == 1 && !piece.stores)
        );
        assert!(others.iter().all(|piece| piece.kept[0].1 == 0));
        assert!(last.kept.is_empty() && last.stores);
    }
}

/// Every item is in one piece, in order. A piece fills every register that it reads, or takes it from a place where an
/// earlier piece has put it, and where nothing else has been put since.
#[test]
fn pieces_exchange_all_that_others_read() {
    let steps = (0..30).fold(vec![x(0, 1) * y(1, 1)], |mut values, k| {
        let one = values[k / 2].exp() + x(0, 1);
        let next = (values[k].sin() - y(1, 1)) * one;
        values.push(next);
        values
    });
    let program = Program::lower(&Formula::new(&steps[30]).0, Axis::J);
    let pieces = program.pieces();
    assert!(pieces.len() > 5);
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut done: HashSet<usize> = HashSet::new();
    for piece in &pieces {
        let mut known: HashSet<usize> = HashSet::new();
        for (register, place) in &piece.taken {
            assert_eq!(places.get(place), Some(register));
            known.insert(*register);
        }
        for item in &piece.items {
            match &program.pair[*item] {
                Item::Let(register, instruction) => {
                    if let Instruction::Apply { args, .. } | Instruction::Fma { args, .. } =
                        instruction
                    {
                        assert!(args.iter().all(|arg| known.contains(arg)), "{instruction}");
                    }
                    known.insert(*register);
                }
                Item::Store {
                    terms:
                        Loop {
                            term: Term::Product { args, .. },
                            ..
                        },
                    ..
                } => {
                    assert!(args.iter().all(|arg| known.contains(arg)))
                }
                item => panic!("{item:?}"),
            }
            done.insert(*item);
        }
        for (register, place) in &piece.kept {
            assert!(known.contains(register));
            places.insert(*place, *register);
        }
    }
    assert_eq!(done.len(), program.pair.len());
    // A place is used for several values one after the other.
    let kept: usize = pieces.iter().map(|piece| piece.kept.len()).sum();
    assert!(
        places.len() < kept,
        "{} places for {kept} values",
        places.len()
    );
}
