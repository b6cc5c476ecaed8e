//! Linear maps that iterative solvers apply to blocks of vectors.

use burn::tensor::{DType, Device, FloatDType, Tensor};
use burn_lazy_kernels::Axis;

use crate::{
    backends::is_tracked, cast::cast, error::LazyError, lazy::LazyTensor, operand::broadcast,
    solve::SolveError,
};

/// A linear map $A$ that is known by its products with blocks of vectors `[batch.., N, E]`.
///
/// [`LazyTensor`] is a linear operator, [`Diagonal`] is another one, and [`Sum`] adds two of them. Any other type can
/// implement the trait: the iterative methods need nothing else. An operator that holds tensors with gradients is
/// differentiated through its products.
pub trait LinearOperator<const R: usize> {
    /// Number of rows and of columns of $A$.
    ///
    /// # Errors
    /// If a number is not known, as for a formula in which no operand has rows.
    fn sizes(&self) -> Result<[usize; 2], LazyError>;

    /// The device and the type of the vectors to which the operator is applied.
    ///
    /// # Errors
    /// If they are not known, as for a formula without tensors.
    fn vectors(&self) -> Result<(Device, DType), LazyError>;

    /// The batch dimensions, if the operator is a batch of matrices; none for a single matrix.
    fn batch(&self) -> Vec<usize> {
        vec![]
    }

    /// The product $A v$, of shape `[batch.., rows, E]`.
    ///
    /// # Errors
    /// If `v` doesn't fit.
    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError>;

    /// The product $A^\top v$, of shape `[batch.., columns, E]`.
    ///
    /// # Errors
    /// If `v` doesn't fit.
    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError>;

    /// The same operator over tensors that are not part of an autodiff graph.
    #[must_use]
    fn inner(&self) -> Self
    where
        Self: Sized;

    /// The same operator over tensors of type `dtype`, differentiable as the original is.
    ///
    /// # Errors
    /// If the device has no such type.
    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError>
    where
        Self: Sized;

    /// Whether autodiff tracks a tensor of the operator.
    fn is_tracked(&self) -> bool;

    /// Checks that the operator looks symmetric. An operator that cannot be examined passes.
    ///
    /// # Errors
    /// [`SolveError::NotSymmetric`], or the error of the examination itself.
    fn check_symmetric(&self) -> Result<(), SolveError> {
        Ok(())
    }
}

impl<const R: usize> LinearOperator<R> for LazyTensor {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        self.check_scalar("a linear operator")?;
        self.check_axis(Axis::I)?;
        self.check_axis(Axis::J)?;
        let extent = self.extent();
        Ok([Axis::I, Axis::J].map(|axis| extent.size(axis).expect("it was checked")))
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        let extent = self.extent();
        let both = extent.device.zip(extent.dtype);
        both.ok_or_else(|| LazyError::NoTensor(self.boxed_info()))
    }

    fn batch(&self) -> Vec<usize> {
        self.extent().batch
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.try_matmul(v)
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.t().accumulate(self.accumulation).try_matmul(v)
    }

    fn inner(&self) -> Self {
        LazyTensor::inner(self)
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        self.try_cast(dtype)
    }

    fn is_tracked(&self) -> bool {
        LazyTensor::is_tracked(self)
    }

    /// Compares up to 32 rows with the columns of the same indices.
    fn check_symmetric(&self) -> Result<(), SolveError> {
        match self.looks_symmetric()? {
            true => Ok(()),
            false => Err(SolveError::NotSymmetric(self.boxed_info())),
        }
    }
}

/// The sum of two operators, $A + B$.
#[derive(Clone, Debug)]
pub struct Sum<A, B>(
    /// The first operator.
    pub A,
    /// The second operator.
    pub B,
);

impl<const R: usize, A: LinearOperator<R>, B: LinearOperator<R>> LinearOperator<R> for Sum<A, B> {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        let (left, right) = (self.0.sizes()?, self.1.sizes()?);
        match left == right {
            true => Ok(left),
            false => Err(LazyError::OperatorSizes {
                operation: "sum",
                left,
                right,
            }),
        }
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        self.0.vectors()
    }

    fn batch(&self) -> Vec<usize> {
        let (left, right) = (self.0.batch(), self.1.batch());
        // If they do not broadcast, products give the error.
        broadcast(&left, &right).unwrap_or(left)
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        sum(self.0.apply(v.clone())?, self.1.apply(v)?)
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        sum(
            self.0.apply_transposed(v.clone())?,
            self.1.apply_transposed(v)?,
        )
    }

    fn inner(&self) -> Self {
        Sum(self.0.inner(), self.1.inner())
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Sum(self.0.cast(dtype)?, self.1.cast(dtype)?))
    }

    fn is_tracked(&self) -> bool {
        self.0.is_tracked() || self.1.is_tracked()
    }

    fn check_symmetric(&self) -> Result<(), SolveError> {
        self.0.check_symmetric()?;
        self.1.check_symmetric()
    }
}

/// The sum of two products. If their shapes do not fit, the error is the one that the sum would give as a formula.
fn sum<const R: usize>(left: Tensor<R>, right: Tensor<R>) -> Result<Tensor<R>, LazyError> {
    // Burn's sum panics where shapes do not fit. The formula gives an error instead.
    let _ = as_rows(&left)?.try_add(as_rows(&right)?)?;
    Ok(left + right)
}

/// The rows of `v` times the rows of `values`. If their shapes do not fit, where Burn panics, the error is the one
/// that the product would give as a formula.
pub(crate) fn scaled_rows<const R: usize>(
    v: Tensor<R>,
    values: Tensor<R>,
) -> Result<Tensor<R>, LazyError> {
    let _ = as_rows(&v)?.try_mul(as_rows(&values)?)?;
    Ok(v * values)
}

/// A tensor as a formula of rows, which checks shapes. A vector is taken as a single column.
fn as_rows<const R: usize>(v: &Tensor<R>) -> Result<LazyTensor, LazyError> {
    match R {
        1 => LazyTensor::try_vi(v.clone().unsqueeze_dim::<2>(1)),
        _ => LazyTensor::try_vi(v.clone()),
    }
}

/// A diagonal matrix, $v \mapsto d v$.
#[derive(Clone, Debug)]
pub struct Diagonal<const R: usize> {
    size: usize,
    values: Tensor<R>,
}

impl<const R: usize> Diagonal<R> {
    /// The matrix of `size` rows with the diagonal `values`, of shape `[batch.., size, 1]`, or `[batch.., 1, 1]` for
    /// a multiple of the identity. An operator on single vectors `[size]` has values of shape `[size]` or `[1]`.
    ///
    /// # Errors
    /// If `values` has another shape.
    pub fn new(size: usize, values: Tensor<R>) -> Result<Self, LazyError> {
        let shape = values.dims();
        let fits = match R {
            1 => [1, size].contains(&shape[0]),
            _ => [1, size].contains(&shape[R - 2]) && shape[R - 1] == 1,
        };
        if !fits {
            return Err(LazyError::Diagonal {
                size,
                shape: shape.to_vec(),
            });
        }
        Ok(Self { size, values })
    }
}

impl<const R: usize> LinearOperator<R> for Diagonal<R> {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        Ok([self.size; 2])
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        Ok((self.values.device(), self.values.dtype()))
    }

    fn batch(&self) -> Vec<usize> {
        self.values.dims()[..R.saturating_sub(2)].to_vec()
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        // A single value is expanded to all rows, as Burn would broadcast it even to vectors of another size.
        let mut shape = self.values.dims();
        shape[R.saturating_sub(2)] = self.size;
        let values = match shape == self.values.dims() {
            true => self.values.clone(),
            false => self.values.clone().expand(shape),
        };
        scaled_rows(v, values)
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.apply(v)
    }

    fn inner(&self) -> Self {
        Self {
            size: self.size,
            values: self.values.clone().inner(),
        }
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        LazyTensor::try_pm(self.values.clone())?.check_cast(dtype)?;
        Ok(Self {
            size: self.size,
            values: cast(self.values.clone(), dtype),
        })
    }

    fn is_tracked(&self) -> bool {
        is_tracked(&self.values)
    }
}

/// Methods of an operator that wraps another one in its first field, and shares its vectors, batch and tracking.
macro_rules! wraps_operator {
    () => {
        fn vectors(&self) -> Result<(Device, DType), LazyError> {
            self.0.vectors()
        }

        fn batch(&self) -> Vec<usize> {
            self.0.batch()
        }

        fn is_tracked(&self) -> bool {
            self.0.is_tracked()
        }
    };
}
pub(crate) use wraps_operator;

/// An operator plus a multiple of the identity, $A + \alpha I$.
#[derive(Clone, Debug)]
pub(crate) struct Ridge<A>(pub A, pub f64);

impl<const R: usize, A: LinearOperator<R>> LinearOperator<R> for Ridge<A> {
    wraps_operator!();

    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        self.0.sizes()
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.plus(self.0.apply(v.clone())?, v)
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.plus(self.0.apply_transposed(v.clone())?, v)
    }

    fn inner(&self) -> Self {
        Self(self.0.inner(), self.1)
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Self(self.0.cast(dtype)?, self.1))
    }

    fn check_symmetric(&self) -> Result<(), SolveError> {
        self.0.check_symmetric()
    }
}

impl<A> Ridge<A> {
    fn plus<const R: usize>(
        &self,
        product: Tensor<R>,
        v: Tensor<R>,
    ) -> Result<Tensor<R>, LazyError> {
        Ok(match self.1 {
            0.0 => product,
            ridge => product + v * ridge,
        })
    }
}

/// $A^\top A$, the operator of the normal equations of least squares.
#[derive(Clone, Debug)]
pub(crate) struct Normal<A>(pub A);

impl<const R: usize, A: LinearOperator<R>> LinearOperator<R> for Normal<A> {
    wraps_operator!();

    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        let [_, columns] = self.0.sizes()?;
        Ok([columns; 2])
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.0.apply_transposed(self.0.apply(v)?)
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.apply(v)
    }

    fn inner(&self) -> Self {
        Self(self.0.inner())
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Self(self.0.cast(dtype)?))
    }
}

/// Whether solvers compute in `dtype`. F16 and BF16 are too coarse for residuals.
pub(crate) fn is_computed(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// Whether numbers are only stored in `dtype`, and computed with in F32.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// The operator in a type in which methods compute: F32 for F16 and BF16, else the type of its vectors.
pub(crate) fn computed<A: LinearOperator<R>, const R: usize>(a: A) -> Result<A, LazyError> {
    let (_, dtype) = a.vectors()?;
    match is_half(dtype) {
        true => a.cast(FloatDType::F32),
        false => Ok(a),
    }
}
