//! The operands of a formula on one of its axes.

use super::order::{self, Coordinate};
use crate::{
    error::{OperandError, check_count},
    formula::{
        Axis, Expr, Formula,
        expr::{Node, Var},
    },
    host::{HostError, HostTensor, HostValues, Rows},
    math::Precision,
    program::Space,
};

/// The operands of a formula on one of its axes, in one batch.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// The formula.
    pub formula: &'a Formula,
    /// The axis.
    pub axis: Axis,
    /// All tensors of the formula: `[size, dim]` on an axis, `[dim]` for a parameter. A dimension of size 1 stands for
    /// any size, and more dimensions of size 1 may come before.
    pub tensors: &'a [HostTensor<'a>],
    /// Number of rows of the axis.
    pub size: usize,
    /// The type of all tensors.
    pub precision: Precision,
}

/// Something on an axis that a formula reads and that has boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A tensor, by its position among the tensors of the formula.
    Tensor(usize),
    /// The index of the row.
    Index,
}

/// A side of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    /// The least values.
    Low,
    /// The largest values.
    High,
}

impl<'a> Operands<'a> {
    /// Checks that there are the tensors that the formula reads on the axis.
    pub(super) fn check(&self) -> Result<(), HostError> {
        let expected = self.formula.tensors().count();
        check_count("tensors", self.tensors.len(), expected)?;
        if self.size >= u32::MAX as usize {
            return Err(HostError::TooManyColumns(self.size));
        }
        for (index, (var, tensor)) in self.formula.tensors().zip(self.tensors).enumerate() {
            if var.axis() != Some(self.axis) {
                continue;
            }
            check_tensor((index, var), tensor, self.precision, Some(self.size))?;
        }
        Ok(())
    }

    /// All that the formula reads on the axis, with the numbers of components.
    pub(super) fn sources(&self) -> Vec<(Source, usize)> {
        let tensors = self.formula.tensors().enumerate();
        let own = tensors.filter(|(_, var)| var.axis() == Some(self.axis));
        let own = own.map(|(index, var)| (Source::Tensor(index), var.dim));
        let reads_index = self.formula.root().reads_index(self.axis);
        let index = reads_index.then_some((Source::Index, 1));
        own.chain(index).collect()
    }

    /// The rows of a tensor.
    pub(super) fn rows(&self, tensor: usize) -> Rows<'a> {
        let tensor = &self.tensors[tensor];
        // All batch dimensions are of size 1.
        Rows::new(tensor, Space::Row, &vec![0; tensor.shape.len() - 2])
    }

    /// An order of the rows in which rows that are near in space are near each other, by at most [`MOST`](order::MOST)
    /// of their coordinates.
    pub(super) fn order(&self) -> std::sync::Arc<[u32]> {
        let vars: Vec<Var> = coordinates(self.formula.root(), self.axis);
        let mut all = Vec::new();
        for var in vars {
            let rows = self.rows(self.formula.source(var.id as usize));
            all.extend((0..var.dim).map(|component| Coordinate { rows, component }));
        }
        all.truncate(order::MOST);
        order::order(&all, self.size)
    }
}

/// The operands on an axis that decide how far a row is from a column. They are found in a part of the formula:
/// starting from the whole formula, a part is replaced by its only argument that depends on both axes, as long as it
/// has exactly one. So factors and summands of a row or a column alone are left out, unless there are no other
/// operands on the axis.
fn coordinates(root: &Expr, axis: Axis) -> Vec<Var> {
    let on_axis = |expr: &Expr| -> Vec<Var> {
        let vars = expr
            .topological()
            .into_iter()
            .filter_map(|expr| match expr.node() {
                Node::Var(var) if var.axis() == Some(axis) => Some(*var),
                _ => None,
            });
        vars.collect()
    };
    let is_of_pairs = |expr: &Expr| {
        let dependence = expr.dependence();
        dependence.i && dependence.j
    };
    let mut own = root.clone();
    while let Node::Scalar(_, args) | Node::Concat(args) = own.node() {
        let mut of_pairs = args.iter().filter(|arg| is_of_pairs(arg));
        let (Some(only), None) = (of_pairs.next(), of_pairs.next()) else {
            break;
        };
        own = only.clone();
    }
    match on_axis(&own) {
        none if none.is_empty() => on_axis(root),
        some => some,
    }
}

/// Checks that a tensor of one batch has the components of `var`, and `rows` rows, if given.
fn check_tensor(
    (index, var): (usize, &Var),
    tensor: &HostTensor,
    precision: Precision,
    rows: Option<usize>,
) -> Result<(), HostError> {
    let reason = if tensor.data.precision() != precision {
        let own = tensor.data.precision();
        format!("its values are {own:?}, not {precision:?}")
    } else if tensor.strides.len() != tensor.shape.len() {
        "it has another number of strides than of dimensions".to_string()
    } else {
        let reason = match (tensor.shape, rows) {
            ([batch @ .., own, dim], Some(rows)) => {
                wrong_shape(batch, (*own, rows), (*dim, var.dim))
            }
            ([batch @ .., dim], None) => wrong_shape(batch, (1, 1), (*dim, var.dim)),
            _ => Some("it has too few dimensions".to_string()),
        };
        match reason {
            Some(reason) => reason,
            None if tensor.has_room() => return Ok(()),
            None => "its buffer is shorter".to_string(),
        }
    };
    Err(OperandError::of_tensor(index, (tensor.shape, tensor.strides), reason).into())
}

/// What is wrong with the batch dimensions, or with the numbers of rows and components. Each pair of numbers is how
/// many there are and how many are read.
fn wrong_shape(
    batch: &[usize],
    rows: (usize, usize),
    components: (usize, usize),
) -> Option<String> {
    if batch.iter().any(|size| *size != 1) {
        return Some("it has batches".to_string());
    }
    if components.0 < components.1 {
        return Some(format!("{} components are read", components.1));
    }
    (rows.0 != 1 && rows.0 < rows.1).then(|| format!("{} rows are read", rows.1))
}

/// The values of a parameter of one batch, in the type in which formulas are computed.
pub(super) fn parameter(
    var: (usize, &Var),
    tensor: &HostTensor,
    precision: Precision,
) -> Result<HostValues, HostError> {
    check_tensor(var, tensor, precision, None)?;
    let rows = Rows::new(tensor, Space::Uniform, &vec![0; tensor.shape.len() - 1]);
    let component = |k: usize| {
        let mut value = [0f64];
        rows.read(k, 0, &mut value);
        value[0]
    };
    let values: Vec<f64> = (0..var.1.dim).map(component).collect();
    Ok(HostValues::new(&values, precision.computed()))
}
