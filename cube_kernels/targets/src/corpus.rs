//! The corpus: reductions of formulas that together use all kernels, in every scheme and type.

use burn_lazy_kernels::{
    Axis, Expr, Formula, IntKind, Kernels, Launch, LaunchError, Layout, Precision, Program, Ranges,
    ReductionKind, Spec, Symmetric, Wanted,
    catalogue::ScalarOp,
    expr::{Dependence, Var},
    plan::Strategy,
};

use crate::devices::Device;

/// A reduction of a formula, at a size for which the planner chooses a certain scheme.
pub struct Case {
    pub name: String,
    formula: Formula,
    program: Program,
    symmetric: Option<Symmetric>,
    kind: ReductionKind,
    wanted: Wanted,
    pub precision: Precision,
    size: Size,
    ranges: Option<Ranges>,
    /// Whether it is in the brief corpus, which has every formula and every reduction in each language.
    pub brief: bool,
}

/// The sizes of a case, and the memory layout of its operands.
#[derive(Clone, Copy)]
struct Size {
    name: &'static str,
    batch: &'static [usize],
    rows: usize,
    columns: usize,
    /// The number of rows that the results are added up into, if they are added up.
    fold: Option<usize>,
    /// Whether operands are transposed in memory, so that their components are not adjacent.
    transposed: bool,
    /// The number of rows in a segment, if only the pairs within a segment exist. Columns have as many segments.
    segments: Option<usize>,
}

impl Size {
    /// This size with another name, and with other numbers of rows and columns.
    const fn resized(self, name: &'static str, rows: usize, columns: usize) -> Self {
        Self {
            name,
            rows,
            columns,
            ..self
        }
    }
}

/// Enough rows to occupy a whole GPU.
const MANY: Size = Size {
    name: "many",
    batch: &[],
    rows: 1_000_000,
    columns: 100_000,
    fold: None,
    transposed: false,
    segments: None,
};
/// So few rows that the planner splits columns.
const FEW: Size = MANY.resized("few", 100, 1_000_000);
/// Too few columns for the planner to split.
const SMALL: Size = MANY.resized("small", 1_000, 500);
const BATCHED: Size = Size {
    batch: &[3, 1000],
    transposed: true,
    ..MANY.resized("batched", 10_000, 10_000)
};
/// A size that needs addresses of 64 bits.
const WIDE: Size = Size {
    name: "wide",
    rows: 3_000_000_000,
    ..MANY
};
/// Rows whose results are added up, as for the gradient by a parameter.
const FOLDED: Size = Size {
    name: "folded",
    fold: Some(16_384),
    ..MANY
};
/// Rows and columns are the same points. A CPU evaluates each pair of them once.
const SYMMETRIC: Size = MANY.resized("symmetric", 10_000, 10_000);
/// Pairs within segments that have enough rows for a cube; in [`SHORT`] segments have few rows.
const SEGMENTS: Size = Size {
    segments: Some(2_000),
    ..MANY.resized("segments", 100_000, 100_000)
};
const SHORT: Size = Size {
    segments: Some(10),
    ..MANY.resized("short-segments", 1_000, 100_000)
};
const SCHEMES: [Size; 3] = [MANY, FEW, SMALL];

pub const PRECISIONS: [Precision; 4] = [
    Precision::F32,
    Precision::F64,
    Precision::F16,
    Precision::BF16,
];

fn leaf(id: u64, axis: Option<Axis>, dim: usize) -> Var {
    Var {
        id,
        axes: axis.into(),
        dim,
        scalar: false,
    }
}

fn x(dim: usize) -> Expr {
    Expr::var(leaf(0, Some(Axis::I), dim))
}

fn y(dim: usize) -> Expr {
    Expr::var(leaf(1, Some(Axis::J), dim))
}

/// The weights of columns.
fn b(dim: usize) -> Expr {
    Expr::var(leaf(2, Some(Axis::J), dim))
}

fn gaussian(dim: usize, width: usize) -> Expr {
    (-x(dim).sqdist(&y(dim))).exp() * b(width)
}

/// The formulas, each with its reduction.
fn formulas() -> Vec<(String, Expr, ReductionKind, Wanted)> {
    let sum = ReductionKind::all().next().expect("there are reductions");
    let mut all: Vec<(String, Expr, ReductionKind, Wanted)> = Vec::new();
    let mut add = |name: &str, expr: Expr, kind, wanted| {
        all.push((name.to_string(), expr, kind, wanted));
    };
    for dim in [3, 16, 100] {
        let name = format!("gaussian-d{dim}");
        add(&name, gaussian(dim, 1), sum, Wanted::VALUES);
    }
    // The kernel has a parameter, which takes another operation for each pair unless coordinates are scaled by it.
    let scale = Expr::var(Var {
        scalar: true,
        ..leaf(4, None, 1)
    });
    let scaled = (-x(3).sqdist(&y(3)) * scale).exp() * b(1);
    add("gaussian-d3-scale", scaled, sum, Wanted::VALUES);
    let squared = || x(3).sqdist(&y(3));
    let laplacian = (-squared().sqrt()).exp() * b(1);
    add("laplacian-d3", laplacian, sum, Wanted::VALUES);
    for width in [4, 64] {
        let name = format!("gaussian-d3-dv{width}");
        add(&name, gaussian(3, width), sum, Wanted::VALUES);
    }
    for dim in [3, 100] {
        let gradient = gaussian(dim, 1).gradient(
            &leaf(0, Some(Axis::I), dim),
            &Expr::var(leaf(3, Some(Axis::I), 1)),
        );
        let name = format!("gaussian-d{dim}-gradient");
        add(&name, gradient, sum, Wanted::VALUES);
    }
    for dim in [3, 64] {
        add(
            &format!("logsumexp-d{dim}"),
            -x(dim).sqdist(&y(dim)),
            ReductionKind::LogSumExp { scores: 1 },
            Wanted::VALUES,
        );
    }
    add(
        "attention-d64-dv64",
        Expr::concat(vec![x(64).dot(&y(64)), b(64)]),
        ReductionKind::SoftmaxSum,
        Wanted::VALUES,
    );
    add(
        "attention-d16",
        Expr::concat(vec![x(16).dot(&y(16)), b(16)]),
        ReductionKind::SoftmaxSum,
        Wanted::VALUES,
    );
    add(
        "argmin-d3",
        squared(),
        ReductionKind::Minimum,
        Wanted::INDICES,
    );
    for (dim, k) in [(3, 10), (3, 50), (16, 10)] {
        add(
            &format!("argkmin{k}-d{dim}"),
            x(dim).sqdist(&y(dim)),
            ReductionKind::Smallest { k },
            Wanted::INDICES,
        );
    }
    let phase = x(3).dot(&y(3));
    let (cos, sin) = (phase.cos(), phase.sin());
    let (re, im) = (b(2).slice(0, 1), b(2).slice(1, 1));
    let complex = Expr::concat(vec![
        cos.clone() * re.clone() - sin.clone() * im.clone(),
        cos * im + sin * re,
    ]);
    add("complex", complex, sum, Wanted::VALUES);
    add("operations", operations(), sum, Wanted::VALUES);
    all
}

/// Attention scores with a bias that is stored for each pair.
fn biased() -> (String, Expr, ReductionKind, Wanted) {
    let bias = Expr::var(Var {
        axes: Dependence::BOTH,
        ..leaf(3, None, 1)
    });
    let scores = x(16).dot(&y(16)) + bias;
    let expr = Expr::concat(vec![scores, b(16)]);
    let kind = ReductionKind::SoftmaxSum;
    ("attention-d16-bias".to_string(), expr, kind, Wanted::VALUES)
}

/// Every operation of the catalogue, applied once for each pair.
fn operations() -> Expr {
    let args = [x(1) + y(1), x(1) * y(1), x(1) - y(1)];
    let apply = |op: ScalarOp| Expr::scalar(op, args[..op.arity()].to_vec());
    Expr::sum(ScalarOp::all().into_iter().map(apply))
}

/// All reductions, each of a formula that every reduction accepts.
fn reductions() -> impl Iterator<Item = (String, Expr, ReductionKind, Wanted)> {
    let expr = Expr::concat(vec![-x(3).sqdist(&y(3)), b(2)]);
    ReductionKind::all().map(move |kind| {
        let both = Spec::new(kind, Wanted::BOTH, expr.dim());
        let wanted = match both.keeps_indices() {
            true => Wanted::BOTH,
            false => Wanted::VALUES,
        };
        let name: String = format!("{kind:?}")
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric())
            .collect();
        (name, expr.clone(), kind, wanted)
    })
}

/// The ranges of pairs within segments: segments of `len` rows, and as many segments of columns.
fn segments(size: Size, len: usize) -> Ranges {
    let count = size.rows / len;
    let ranges = Ranges::lengths(&vec![len; count], &vec![size.columns / count; count]);
    ranges.expect("as many segments")
}

/// All cases of the corpus.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |entry: &(String, Expr, _, _), precision, size: Size, brief: bool| {
        let (name, expr, kind, wanted) = entry;
        let formula = Formula::new(expr).0;
        // Operand 0 has the points of the rows and operand 1 those of the columns, which are the same points.
        let same = |(k, _): (usize, &Var)| if k == 1 { 0 } else { k };
        let same: Vec<usize> = formula.tensors().enumerate().map(same).collect();
        let symmetric = Some(size.name).filter(|name| *name == SYMMETRIC.name);
        all.push(Case {
            name: format!("{name}/{precision:?}/{}", size.name).to_lowercase(),
            program: Program::lower(&formula, Axis::J),
            symmetric: symmetric.and_then(|_| Symmetric::new(&formula, Axis::J, &same)),
            formula,
            kind: *kind,
            wanted: *wanted,
            precision,
            size,
            ranges: size.segments.map(|len| segments(size, len)),
            brief,
        });
    };
    // In the brief corpus, each formula has one scheme, in turn, and one type.
    for (i, entry) in formulas().iter().enumerate() {
        for (k, size) in SCHEMES.into_iter().enumerate() {
            add(entry, Precision::F32, size, k == i % SCHEMES.len());
        }
        add(entry, Precision::F64, MANY, false);
    }
    for size in [BATCHED, WIDE, FOLDED, SYMMETRIC, SEGMENTS, SHORT] {
        add(&formulas()[0], Precision::F32, size, true);
    }
    for (size, brief) in [(SMALL, true), (BATCHED, false)] {
        add(&biased(), Precision::F32, size, brief);
    }
    // Formulas with inner products that matrix instructions may compute.
    for entry in &formulas() {
        let name = entry.0.as_str();
        if ["gaussian-d16", "logsumexp-d64", "attention-d64-dv64"].contains(&name) {
            for precision in [Precision::F16, Precision::BF16] {
                add(entry, precision, MANY, name == "gaussian-d16");
            }
        }
        if name == "gaussian-d16" {
            for size in [BATCHED, FOLDED] {
                add(entry, Precision::F32, size, false);
            }
        }
    }
    for (i, entry) in reductions().enumerate() {
        add(&entry, Precision::F32, SEGMENTS, false);
        for (j, precision) in PRECISIONS.into_iter().enumerate() {
            for (k, size) in SCHEMES.into_iter().enumerate() {
                let brief = (j, k) == (i % PRECISIONS.len(), i % SCHEMES.len());
                add(&entry, precision, size, brief);
            }
        }
    }
    all
}

impl Case {
    /// Whether its cost has a row in the table.
    pub fn measured(&self) -> bool {
        // For halves, only formulas whose inner products matrix instructions may compute.
        let product = self
            .program
            .inner_product()
            .filter(|product| product.len >= 16);
        let halves = [Precision::F16, Precision::BF16].contains(&self.precision);
        (self.precision == Precision::F32 || halves && product.is_some())
            && self.size.segments.is_none()
            && ![SMALL.name, FOLDED.name, SYMMETRIC.name].contains(&self.size.name)
    }

    /// The kernels that would be launched on `device`.
    pub fn kernels(&self, device: &Device) -> Result<Kernels<'_>, LaunchError> {
        let layouts: Vec<(Vec<usize>, Vec<usize>)> =
            self.formula.tensors().map(|var| self.layout(var)).collect();
        let layouts: Vec<Layout> = layouts
            .iter()
            .map(|(shape, strides)| Layout { shape, strides })
            .collect();
        let launch = Launch {
            program: &self.program,
            symmetric: self.symmetric.as_ref(),
            reduction: self.kind,
            batch_shape: self.size.batch,
            rows: self.size.rows,
            columns: self.size.columns,
            fold: self.size.fold,
            ranges: self.ranges.as_ref(),
            precision: self.precision,
            values: self.precision,
            strategy: Strategy::Auto,
        };
        let (properties, runtime) = (&device.properties, device.runtime);
        launch.kernels(properties, runtime, &layouts, self.wanted, IntKind::I32)
    }

    /// The bytes that a pair reads of each column in the tile. Matrix instructions have a separate loop, whose
    /// results a pair reads, too. The bytes would then not give the cost of a pair, so there are none.
    pub fn column_bytes(&self, kernels: &Kernels) -> Option<usize> {
        let blueprint = &kernels.plan().blueprint;
        let values = blueprint.schedule.staged(&self.program);
        let alone =
            blueprint.schedule.matrix().is_none() && blueprint.schedule.weighted().is_none();
        alone.then(|| values * self.precision.computed().size())
    }

    /// The shape and the strides of an operand.
    fn layout(&self, var: &Var) -> (Vec<usize>, Vec<usize>) {
        let axes = [
            (var.axes.i, self.size.rows),
            (var.axes.j, self.size.columns),
        ];
        let mut shape = self.size.batch.to_vec();
        shape.extend(axes.into_iter().filter(|own| own.0).map(|own| own.1));
        shape.push(var.dim);
        let rank = shape.len();
        let mut order: Vec<usize> = (0..rank).collect();
        if self.size.transposed && !var.is_parameter() {
            order.swap(rank - 2, rank - 1);
        }
        let mut strides = vec![1; rank];
        let mut stride = 1;
        for axis in order.into_iter().rev() {
            strides[axis] = stride;
            stride *= shape[axis];
        }
        (shape, strides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_few_have_every_formula_reduction_scheme_and_type() {
        let all = cases();
        let parts = |case: &Case| -> Vec<String> {
            let parts = case.name.split('/').zip(["name", "type", "size"]);
            parts.map(|(part, what)| format!("{what} {part}")).collect()
        };
        let few: Vec<String> = all.iter().filter(|c| c.brief).flat_map(parts).collect();
        for part in all.iter().flat_map(parts) {
            assert!(few.contains(&part), "{part}");
        }
    }

    #[test]
    fn a_card_with_all_types_refuses_nothing() {
        let devices = devices::all();
        let card = devices.iter().find(|device| device.name == "h100");
        for case in cases() {
            let kernels = case.kernels(card.expect("there is one"));
            assert!(kernels.is_ok(), "{}: {:?}", case.name, kernels.err());
        }
    }

    #[test]
    fn sizes_bring_out_all_schemes() {
        let devices = devices::all();
        let card = devices.iter().find(|device| device.name == "h100");
        let plans: Vec<(usize, bool)> = cases()
            .iter()
            .filter(|case| case.name.starts_with("gaussian-d3/f32/"))
            .map(|case| {
                let kernels = case
                    .kernels(card.expect("there is one"))
                    .expect("it is planned");
                (kernels.plan().lanes(), kernels.plan().blueprint.partial)
            })
            .collect();
        for scheme in [(4, false), (2, false), (2, true)] {
            assert!(plans.contains(&scheme), "{scheme:?} of {plans:?}");
        }
    }
}
