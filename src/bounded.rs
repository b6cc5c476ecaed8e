//! Formulas with their operands on the host, from which bounds over blocks of rows and columns are computed.

use std::sync::Arc;

use burn::{
    backend::{DispatchTensor, TensorMetadata},
    tensor::{DType, Tensor, TensorData},
};
use burn_lazy_kernels::{
    Axis, Expr, Formula, Precision, Ranges,
    expr::Var,
    host::{HostSlice, HostTensor},
    pruning::{Arrangement, Blocks, Bounds, Kept, Operands, Pruning, Rule},
};

use crate::{
    backends::computed, kept::Kept as KeptFormulas, lazy::LazyTensor, operand::Value,
    pruning::Unpruned, request::simplified,
};

/// A formula with its operands on the host.
pub(crate) struct Bounded {
    formula: Formula,
    axis: Axis,
    sizes: [usize; 2],
    precision: Precision,
    bounds: Arc<Option<Bounds>>,
    tensors: Vec<Copied>,
    scalars: Vec<f64>,
}

/// A tensor on the host.
struct Copied {
    data: TensorData,
    shape: Vec<usize>,
    strides: Vec<isize>,
}

impl Copied {
    fn new(tensor: DispatchTensor) -> Self {
        // Reading the data does not depend on the number of dimensions.
        let data = Tensor::<1>::from_dispatch(tensor).into_data();
        let shape = data.shape().to_vec();
        let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>() as isize;
        let strides = (0..shape.len()).map(stride).collect();
        Self {
            data,
            shape,
            strides,
        }
    }

    fn tensor(&self) -> HostTensor<'_> {
        let expect = "tensors have the type of the formula";
        HostTensor {
            data: match self.data.dtype() {
                DType::F64 => HostSlice::F64(self.data.as_slice().expect(expect)),
                _ => HostSlice::F32(self.data.as_slice().expect(expect)),
            },
            shape: &self.shape,
            strides: &self.strides,
            start: 0,
        }
    }
}

/// The bounds of a formula, which are made once and cached. None if no bounds are known that differ between blocks.
fn bounds(formula: &Formula, axis: Axis, precision: Precision) -> Arc<Option<Bounds>> {
    static BOUNDS: KeptFormulas<(u128, Axis, Precision), Option<Bounds>> = KeptFormulas::new();

    let key = (formula.root().digest(), axis, precision);
    BOUNDS.get(key, |_| Bounds::new(formula, axis, precision))
}

impl Bounded {
    /// The formula `expr` over the operands of `lazy`, for a reduction over `axis`. Its operands have no batch
    /// dimensions.
    ///
    /// The error says why there are no bounds: the operands of an axis have more than `most` components together, no
    /// operand has a type, or no bounds are known that differ between blocks.
    pub fn new(lazy: &LazyTensor, expr: &Expr, axis: Axis, most: usize) -> Result<Self, Unpruned> {
        let (formula, leaves) = simplified(expr);
        let components = |axis: Axis| -> usize {
            let own = formula.tensors().filter(|var| var.axis() == Some(axis));
            own.map(|var| var.dim).sum()
        };
        if components(Axis::I).max(components(Axis::J)) > most {
            return Err(Unpruned::ManyComponents);
        }
        let own = lazy.extent().dtype.ok_or(Unpruned::Empty)?;
        // F16 and BF16 are read as F32, which holds all of their values.
        let (dtype, precision) = match computed(own) {
            DType::F64 => (DType::F64, Precision::F64),
            _ => (DType::F32, Precision::F32),
        };
        let bounds = bounds(&formula, axis, precision);
        if bounds.is_none() {
            return Err(Unpruned::NoBounds);
        }
        let operand = |leaf: &Var| {
            let own = lazy.operands.iter().find(|own| own.var == *leaf);
            &own.expect("every leaf is an operand").value
        };
        let (mut tensors, mut scalars) = (Vec::new(), Vec::new());
        for leaf in &leaves {
            match operand(leaf) {
                Value::Tensor(tensor) => tensors.push(Copied::new(tensor.read_as(dtype))),
                Value::Scalar(value) => scalars.push(*value),
            }
        }
        Ok(Self {
            axis,
            sizes: lazy.sizes(),
            precision,
            bounds,
            tensors,
            scalars,
            formula,
        })
    }

    /// The number of components of the formula.
    pub fn dim(&self) -> usize {
        self.formula.dim()
    }

    /// Cuts the rows of the result and the reduced columns into blocks, and calls `then` with the bounds for these
    /// blocks and the arrangements of both axes. If `sorted`, points are first sorted so that neighbours share
    /// blocks.
    pub fn with_blocks<T>(
        &self,
        [rows, columns]: [Blocks; 2],
        sorted: bool,
        then: impl FnOnce(&Pruning, [&Arrangement; 2]) -> T,
    ) -> T {
        let tensors: Vec<HostTensor> = self.tensors.iter().map(Copied::tensor).collect();
        let operands = |axis: Axis| Operands {
            formula: &self.formula,
            axis,
            tensors: &tensors,
            size: match axis {
                Axis::I => self.sizes[0],
                Axis::J => self.sizes[1],
            },
            precision: self.precision,
        };
        let arranged = |axis: Axis, blocks: Blocks| match sorted {
            true => Arrangement::sorted(&operands(axis), blocks),
            false => Arrangement::in_place(&operands(axis), blocks),
        };
        let expect = "tensors are those of the formula";
        let own = arranged(self.axis, columns).expect(expect);
        let other = self.axis.other();
        let rows = match own.order().filter(|_| self.has_equal_axes()) {
            Some(order) => Arrangement::in_order(&operands(other), rows, order.clone()),
            None => arranged(other, rows),
        };
        let axes = [&rows.expect(expect), &own];
        let bounds = self.bounds.as_ref().as_ref().expect("there are bounds");
        let lists = Pruning::new(bounds, axes, &tensors, &self.scalars).expect(expect);
        then(&lists, axes)
    }

    /// The pairs in blocks of 64 rows and 64 columns in which the formula may be other than 0. The points are not
    /// sorted. None if there are more than `most` pairs, or too many runs of blocks to list.
    pub fn pairs_not_zero(&self, most: u128) -> Option<Ranges> {
        self.with_blocks([Blocks::COLUMNS; 2], false, |lists, _| {
            match lists
                .kept(Rule::NotZero, most)
                .expect("bounds can be evaluated")
            {
                Kept::Ranges(pairs) => Some(pairs),
                Kept::TooMany(_) => None,
            }
        })
    }

    /// Whether the operands of rows and of columns hold the same points.
    fn has_equal_axes(&self) -> bool {
        let of = |axis: Axis| -> Vec<&Copied> {
            let vars = self.formula.tensors().zip(&self.tensors);
            let own = vars.filter(|(var, _)| var.axis() == Some(axis));
            own.map(|(_, tensor)| tensor).collect()
        };
        let [rows, columns] = [Axis::I, Axis::J].map(of);
        let same = |(a, b): (&&Copied, &&Copied)| {
            a.shape == b.shape && a.data.as_bytes() == b.data.as_bytes()
        };
        let [m, n] = self.sizes;
        m == n && rows.len() == columns.len() && rows.iter().zip(&columns).all(same)
    }
}

/// A copy of a tensor without batch dimensions, with its rows in the order `order`. Autodiff does not track the copy.
pub(crate) fn in_order(tensor: &DispatchTensor, order: &[u32]) -> DispatchTensor {
    let device = Tensor::<1>::from_dispatch(tensor.clone()).device();
    let dtype = tensor.dtype();
    let data = Tensor::<1>::from_dispatch(tensor.clone()).into_data();
    let shape = data.shape().clone();
    let size = shape.num_elements() * dtype.size() / order.len().max(1);
    let bytes = data.as_bytes();
    let mut ordered = Vec::with_capacity(bytes.len());
    for at in order {
        ordered.extend_from_slice(&bytes[*at as usize * size..][..size]);
    }
    let data = TensorData::from_bytes_vec(ordered, shape, dtype);
    Tensor::<2>::from_data(data, (&device, dtype)).into_dispatch()
}
