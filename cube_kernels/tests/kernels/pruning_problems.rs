//! Formulas with operands that are reduced in blocks and pair by pair.

use burn_lazy_kernels::{
    Axis, Expr, Formula, Precision, Program, Ranges, ReductionKind, Wanted,
    expr::Place,
    host::{HostError, HostLaunch, HostProgram, HostTensor, Instructions},
    pruning::{Arrangement, Blocks, Bounds, Kept, Operands, Pruning},
};

use crate::{
    support::{Rng, p, s, x, y},
    tensors::Tensor,
};

/// A formula with its operands.
pub struct Problem {
    pub formula: Formula,
    pub reduced: Axis,
    pub sizes: [usize; 2],
    pub precision: Precision,
    pub tensors: Vec<Tensor>,
    pub scalars: Vec<f64>,
}

impl Problem {
    /// `values` gives the values of an operand by its id.
    pub fn new(
        (expr, reduced): (&Expr, Axis),
        sizes: [usize; 2],
        precision: Precision,
        values: impl Fn(u64) -> Vec<f64>,
    ) -> Self {
        let (formula, leaves) = Formula::new(expr);
        let tensors = leaves.iter().filter(|leaf| !leaf.scalar).map(|leaf| {
            let shape = match leaf.axis() {
                Some(Axis::I) => vec![sizes[0], leaf.dim],
                Some(Axis::J) => vec![sizes[1], leaf.dim],
                None => vec![leaf.dim],
            };
            Tensor::new(&values(leaf.id), &shape, precision)
        });
        let scalars = leaves.iter().filter(|leaf| leaf.scalar);
        Self {
            tensors: tensors.collect(),
            scalars: scalars.map(|leaf| values(leaf.id)[0]).collect(),
            formula,
            reduced,
            sizes,
            precision,
        }
    }

    pub fn size(&self, axis: Axis) -> usize {
        self.sizes[axis as usize]
    }

    /// Calls `then` with the arrangements of rows and columns, and with the tensors.
    pub fn arranged<O>(
        &self,
        arrange: impl Fn(&Operands) -> Result<Arrangement, HostError>,
        then: impl FnOnce([&Arrangement; 2], &[HostTensor]) -> O,
    ) -> O {
        let tensors: Vec<HostTensor> = self.tensors.iter().map(Tensor::view).collect();
        let [rows, columns] = [self.reduced.other(), self.reduced].map(|axis| {
            let operands = Operands {
                formula: &self.formula,
                axis,
                tensors: &tensors,
                size: self.size(axis),
                precision: self.precision,
            };
            arrange(&operands).expect("the operands fit")
        });
        then([&rows, &columns], &tensors)
    }

    /// Calls `then` with the pruning of this problem, once with sorted points and once with points in place.
    pub fn pruned(&self, blocks: [Blocks; 2], then: impl Fn(&Pruning, [&Arrangement; 2])) {
        let bounds = Bounds::new(&self.formula, self.reduced, self.precision);
        let bounds = bounds.expect("something is known");
        let of_axis = |axis: Axis| blocks[usize::from(axis == self.reduced)];
        for sorts in [true, false] {
            let arrange = |own: &Operands| match sorts {
                true => Arrangement::sorted(own, of_axis(own.axis)),
                false => Arrangement::in_place(own, of_axis(own.axis)),
            };
            self.arranged(arrange, |axes, tensors| {
                let pruning = Pruning::new(&bounds, axes, tensors, &self.scalars);
                then(&pruning.expect("the operands fit"), axes);
            });
        }
    }

    /// The values of all pairs as the host engine computes them, `[rows][columns]`. The formula has one component.
    pub fn values(&self) -> Vec<Vec<f64>> {
        let program = HostProgram::new(&Program::lower(&self.formula, self.reduced));
        let tensors: Vec<HostTensor> = self.tensors.iter().map(Tensor::view).collect();
        let columns = self.size(self.reduced);
        let rows = self.size(self.reduced.other());
        let column = |column: usize| {
            let starts: Vec<usize> = (0..=rows).collect();
            let only = Ranges::neighbors(columns, &starts, &vec![column; rows]);
            let only = only.expect("there is such a column");
            let launch = HostLaunch {
                program: &program,
                reduction: ReductionKind::Maximum,
                batch_shape: &[],
                rows,
                columns,
                fold: None,
                ranges: Some(&only),
                precision: self.precision,
                values: self.precision.computed(),
                instructions: Instructions::detect(),
            };
            let output = launch.run(&tensors, &self.scalars, Wanted::VALUES);
            let values = output.expect("the operands fit").values;
            values.expect("they are wanted").to_f64()
        };
        let values: Vec<Vec<f64>> = (0..columns).map(column).collect();
        let row = |row: usize| values.iter().map(|own| own[row]).collect();
        (0..rows).map(row).collect()
    }
}

/// The index of the point at each position.
pub fn indices(arrangement: &Arrangement) -> Vec<usize> {
    match arrangement.order() {
        Some(order) => order.iter().map(|index| *index as usize).collect(),
        None => (0..arrangement.size()).collect(),
    }
}

/// A matrix that says which pairs of positions are in the ranges.
pub fn matrix(ranges: &Ranges) -> Vec<Vec<bool>> {
    let [rows, columns] = ranges.sizes();
    let row = |row| {
        let mut own = vec![false; columns];
        ranges
            .of_row(0, row)
            .for_each(|range| own[range].fill(true));
        own
    };
    (0..rows).map(row).collect()
}

pub fn ranges(kept: Kept) -> Ranges {
    match kept {
        Kept::Ranges(ranges) => ranges,
        other => panic!("{other:?}"),
    }
}

/// Small blocks, so that few points have many of them.
pub const SMALL: [Blocks; 2] = [Blocks { rows: 4, group: 3 }, Blocks { rows: 8, group: 2 }];

pub const USUAL: [Blocks; 2] = [Blocks::ROWS, Blocks::COLUMNS];

/// The `place`-th smallest value of a row, or the largest one if there are fewer. NaN counts as larger than all.
pub fn smallest(row: &[f64], place: usize) -> f64 {
    let mut sorted = row.to_vec();
    sorted.sort_by(|a, b| {
        a.partial_cmp(b)
            .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    });
    sorted[place.min(sorted.len()) - 1]
}

/// Named formulas of points with `dim` components. The operands are: 0 points of rows, 1 points of columns, 2 weights
/// of columns, 3 a parameter, 4 a scalar, 5 weights of rows.
pub fn formulas(dim: usize) -> Vec<(&'static str, Expr)> {
    let distance = x(0, dim).sqdist(&y(1, dim));
    let offset = Expr::place(Place::Offset);
    let place = |axis| Expr::place(Place::Index(axis));
    vec![
        ("distance", distance.clone()),
        (
            "weighted",
            (x(0, dim) - y(1, dim)).abs().inner_sum() * y(2, 1),
        ),
        ("Gaussian", -(-distance.clone()).exp()),
        ("product", (x(0, dim) * y(1, dim)).inner_sum()),
        (
            "places",
            (x(0, dim) - y(1, dim)).inner_sum() / (offset.abs() + 1.0),
        ),
        (
            "indices",
            distance.clone() + place(Axis::I) * 0.01 - place(Axis::J) * 0.02,
        ),
        (
            "parameter",
            ((x(0, dim) - y(1, dim)) * p(3, dim)).inner_sum() * s(4) + x(5, 1),
        ),
        ("inverse", (distance + s(4)).sqrt().recip()),
    ]
}

/// The values of operand `id` of [`formulas`], for the given points.
pub fn operand(id: u64, points: [&[f64]; 2], dim: usize) -> Vec<f64> {
    let mut rng = Rng::new(id);
    let sizes = points.map(|own| own.len() / dim);
    match id {
        0 => points[0].to_vec(),
        1 => points[1].to_vec(),
        2 => rng.vec(sizes[1], 0.5, 2.0),
        3 => rng.vec(dim, -1.0, 1.0),
        4 => vec![0.5],
        _ => rng.vec(sizes[0], 0.0, 1.0),
    }
}
