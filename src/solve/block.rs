//! Block conjugate gradients that keep conjugate directions.

use burn::tensor::Tensor;
use nalgebra::{DMatrix, SymmetricEigen};

use super::{
    LinearOperator, SolveError, SolveOptions,
    monitor::Monitor,
    system::{PRODUCT, Refresh, epsilon, gram, host, product, tensor},
};

/// The smallest eigenvalue of a normalised Gram matrix that is not a rounding error, in rounding units.
const INDEPENDENT: f64 = 1000.0;

/// The smallest eigenvalue of a normalised Gram matrix whose root vectors are divided by, in rounding units. Smaller
/// eigenvalues are replaced by this one.
const LIFTED: f64 = 100.0;

/// The largest size of a negative curvature that may be a rounding error, in rounding units of the largest curvature.
/// A negative product with a preconditioner may be one up to this many rounding units of the sum of the absolute
/// values of its terms.
const NEGATIVE: f64 = 64.0;

/// The largest relative rounding error of a direction that is kept. The error is measured along the eigenvector of
/// the largest eigenvalue, in the norm of the operator. Directions of small curvature have larger errors. They need
/// not be kept, as the iteration does not find them again.
const EXACT: f64 = 1e-4;

/// The largest count of numbers in the directions that are kept and in their images.
const MOST_NUMBERS: usize = 1 << 26;

/// Directions $W$ with $W^\top A W = I$ and their images $A W$. Both are stored as blocks of columns, one after the
/// other, followed by zeros.
///
/// The first blocks are kept. The block after them is replaced by the next one, if enough blocks are kept already or
/// if it is not exact enough.
pub(crate) struct Directions<const R: usize> {
    /// The largest number of blocks that are kept.
    most: usize,
    /// The number of blocks that are kept. One more block may follow them.
    kept: usize,
    /// $W$ and $A W$, `[batch.., N, columns]`.
    both: Option<[Tensor<R>; 2]>,
    /// The largest Rayleigh quotient seen so far, for each matrix of the batch.
    largest: Vec<f64>,
}

impl<const R: usize> Directions<R> {
    /// An empty set that will keep up to `most` directions, for right-hand sides of the given shape.
    pub fn new(most: usize, shape: [usize; R]) -> Self {
        let numbers: usize = shape.iter().product();
        let batches: usize = shape[..R - 2].iter().product();
        let columns = shape[R - 1].max(1);
        Self {
            most: (most / columns).min(MOST_NUMBERS / (2 * numbers).max(1)),
            kept: 0,
            both: None,
            largest: vec![0.0; batches],
        }
    }

    /// Adds a block. If it is not kept, the next one replaces it.
    fn push(&mut self, block: [Tensor<R>; 2], keep: bool) {
        let mut shape = block[0].dims();
        let width = shape[R - 1];
        let slot = self.kept;
        let capacity = self.both.as_ref().map_or(0, |[w, _]| w.dims()[R - 1]);
        let (start, end) = (slot * width, (slot + 1) * width);
        if end > capacity {
            let more = capacity.max(width).min((self.most + 1) * width - capacity);
            shape[R - 1] = more;
            let zeros = Tensor::zeros(shape, (&block[0].device(), block[0].dtype()));
            self.both = Some(match self.both.take() {
                None => [zeros.clone(), zeros],
                Some(both) => both.map(|w| Tensor::cat(vec![w, zeros.clone()], R - 1)),
            });
        }
        let mut ranges = shape.map(|size| 0..size);
        ranges[R - 1] = start..end;
        let both = self.both.take().expect("there is room");
        let mut block = block.into_iter();
        self.both = Some(
            both.map(|w| w.slice_assign(ranges.clone(), block.next().expect("there are two"))),
        );
        self.kept += usize::from(keep && slot < self.most);
    }

    /// $v - W (A W)^\top v$, which is conjugate to all directions.
    fn conjugate(&self, v: Tensor<R>) -> Result<Tensor<R>, SolveError> {
        Ok(match &self.both {
            None => v,
            Some([vectors, images]) => {
                let parts = gram(images, &v)?;
                v - product(vectors, &parts)?
            }
        })
    }

    /// Lowers the residuals `q` by a step along all directions. Returns the step, or `None` if there are no
    /// directions.
    fn project(&self, q: &mut Tensor<R>) -> Result<Option<Tensor<R>>, SolveError> {
        let Some([vectors, images]) = &self.both else {
            return Ok(None);
        };
        let parts = gram(vectors, q)?;
        *q = q.clone() - product(images, &parts)?;
        Ok(Some(product(vectors, &parts)?))
    }
}

/// Residuals $R = Q C$ of a block. Each batch has a small matrix $C$.
struct Residuals<const R: usize> {
    q: Tensor<R>,
    /// The preconditioned $q$.
    z: Tensor<R>,
    c: Vec<DMatrix<f64>>,
    /// $Q^\top Q$.
    squares: Vec<DMatrix<f64>>,
}

/// An approximate solution of $A d = r$. Parts of it that were handed to `refresh` on the way are not returned again.
///
/// All columns of a batch share one Krylov space (O'Leary, "The block conjugate gradient algorithm and related
/// methods", 1980): the step along a block of directions minimises the error of each column over all directions of
/// the block. Residuals are stored as $R = Q C$. In each iteration the columns of $Q$ are made nearly orthonormal, so
/// that nearly dependent columns do no harm (Dubrulle, "Retooling the method of block conjugate gradients", 2001).
/// Dependent directions are left out of a step.
///
/// In exact arithmetic a direction that is made conjugate to the last one is conjugate to all earlier ones. Rounding
/// undoes this along the eigenvectors of the largest eigenvalues. The iteration then finds these eigenvectors again
/// and again, which takes most of the iterations. So the first directions are kept, and each new one is made
/// conjugate to all of them. (Erhel and Guyomarc'h, "An augmented conjugate gradient method for solving consecutive
/// symmetric positive definite linear systems", 2000, do so with the directions of an earlier system.)
///
/// If iterations compute in a coarser type than the operator, the residual is now and then replaced by one that is
/// computed from the solution. The directions stay as they are (Clark et al., "Solving lattice QCD systems of
/// equations using mixed precision solvers on GPUs", 2010).
pub(crate) fn iterate<const R: usize>(
    a: &dyn LinearOperator<R>,
    r: &Tensor<R>,
    options: &SolveOptions<R>,
    monitor: &mut Monitor<R>,
    refresh: &mut Refresh<R>,
    directions: &mut Directions<R>,
) -> Result<Tensor<R>, SolveError> {
    let width = r.dims()[R - 1];
    let precision = epsilon(r.dtype());
    let mut solution = r.zeros_like();
    let mut residuals = begin(r, options, monitor, directions, &mut solution)?;
    loop {
        let s = directions.conjugate(residuals.z.clone())?;
        let t = a.apply(s.clone())?;
        let Residuals { q, c, squares, .. } = residuals;
        let all = Tensor::cat(vec![s.clone(), t.clone(), q], R - 1);
        let grams = matrices(gram(&all, &s)?)?;

        // F F^T is the inverse of the curvatures S^T A S, so that the step is S F F^T S^T Q C.
        let [mut factors, mut steps, mut updates] = [(); 3].map(|()| Vec::new());
        let mut next_c = Vec::new();
        let mut keep = true;
        for (batch, gram) in grams.iter().enumerate() {
            let part = |k: usize| gram.rows(k * width, width);
            let curvature = (part(1) + part(1).transpose()) / 2.0;
            let lengths: Vec<f64> = part(0).diagonal().iter().copied().collect();
            let largest = &mut directions.largest[batch];
            let factor = factor(&curvature, &lengths, largest, precision).map_err(|direction| {
                let weights = c[batch].tr_mul(&direction);
                monitor.not_positive("the operator", batch, weights.column(0).as_slice())
            })?;
            let largest_size = (factor.tr_mul(&part(0)) * &factor).diagonal().max();
            keep &= precision * *largest * largest_size <= EXACT;
            let (scale, inverse) = scales(&squares[batch], precision);
            // The coefficients of the normalised directions S F.
            let parts = factor.tr_mul(&part(2).transpose());
            steps.push(&parts * &c[batch]);
            let mut update = DMatrix::zeros(3 * width, width);
            let along = -(&factor * parts * &inverse);
            update.rows_mut(width, width).copy_from(&along);
            update.rows_mut(2 * width, width).copy_from(&inverse);
            updates.push(update);
            factors.push(factor);
            next_c.push(scale * &c[batch]);
        }
        // All steps are 0 if the columns that are still iterated have no independent direction left.
        if steps
            .iter()
            .all(|step| step.iter().all(|entry| *entry == 0.0))
        {
            monitor.note_standstill();
        }
        let upload = |matrices: &[DMatrix<f64>]| upload(matrices, r);
        let factors = upload(&factors);
        let block = [product(&s, &factors)?, product(&t, &factors)?];
        solution = solution + product(&block[0], &upload(&steps))?;
        let mut q = product(&all, &upload(&updates))?;
        let mut c = next_c;
        directions.push(block, keep);

        // In exact arithmetic the residuals are already orthogonal to the directions. This step removes the rounding
        // errors.
        if let Some(step) = directions.project(&mut q)? {
            solution = solution + product(&step, &upload(&c))?;
        }
        let z = precondition(options, &q)?;
        let [squares, products] = look(&q, &z, options)?;
        let done = monitor.residuals(&norms(&squares, &c))?;
        if done {
            return Ok(solution);
        }
        check_preconditioner(&products, &c, precision, monitor)?;
        if monitor.wants_refresh() {
            let r = refresh(std::mem::replace(&mut solution, r.zeros_like()))?;
            if !monitor.refreshed(&r)? {
                return Ok(solution);
            }
            residuals = begin(&r, options, monitor, directions, &mut solution)?;
            continue;
        }
        // A solved column has no residual from here on, so that its solution stays.
        for (batch, c) in c.iter_mut().enumerate() {
            for column in 0..width {
                if !monitor.is_open(batch * width + column) {
                    c.column_mut(column).fill(0.0);
                }
            }
        }
        residuals = Residuals { q, z, c, squares };
    }
}

/// Starts from the columns of the residual `r` that are still iterated, after a step along the kept directions. The
/// step is added to `solution`.
fn begin<const R: usize>(
    r: &Tensor<R>,
    options: &SolveOptions<R>,
    monitor: &mut Monitor<R>,
    directions: &Directions<R>,
    solution: &mut Tensor<R>,
) -> Result<Residuals<R>, SolveError> {
    let width = r.dims()[R - 1];
    let mut q = monitor.only_active(r.clone());
    if let Some(step) = directions.project(&mut q)? {
        *solution = solution.clone() + step;
    }
    let z = precondition(options, &q)?;
    let open = |batch: usize| {
        DMatrix::from_fn(width, width, |i, j| {
            f64::from(u8::from(i == j && monitor.is_open(batch * width + j)))
        })
    };
    let c: Vec<DMatrix<f64>> = (0..directions.largest.len()).map(open).collect();
    let [squares, products] = look(&q, &z, options)?;
    check_preconditioner(&products, &c, epsilon(r.dtype()), monitor)?;
    monitor.compare_with(&norms(&squares, &c));
    Ok(Residuals { q, z, c, squares })
}

fn precondition<const R: usize>(
    options: &SolveOptions<R>,
    q: &Tensor<R>,
) -> Result<Tensor<R>, SolveError> {
    Ok(match &options.preconditioner {
        Some(preconditioner) => preconditioner.apply(q.clone())?,
        None => q.clone(),
    })
}

/// Reads $Q^\top Q$ and $Z^\top Q$. Without a preconditioner they are equal.
fn look<const R: usize>(
    q: &Tensor<R>,
    z: &Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<[Vec<DMatrix<f64>>; 2], SolveError> {
    if options.preconditioner.is_none() {
        let squares = matrices(gram(q, q)?)?;
        return Ok([squares.clone(), squares]);
    }
    let width = q.dims()[R - 1];
    let both = Tensor::cat(vec![q.clone(), z.clone()], R - 1);
    let both = matrices(gram(&both, q)?)?;
    let part = |k: usize| -> Vec<DMatrix<f64>> {
        let part = both.iter().map(|gram| gram.rows(k * width, width));
        part.map(|part| part.clone_owned()).collect()
    };
    Ok([part(0), part(1)])
}

/// Refuses a preconditioner if $Z^\top Q$ shows that it is not positive definite for a column that is still iterated.
/// In a column that is much smaller than the others, the terms of the product cancel. So a negative value within
/// their rounding errors is accepted.
fn check_preconditioner<const R: usize>(
    products: &[DMatrix<f64>],
    c: &[DMatrix<f64>],
    precision: f64,
    monitor: &Monitor<R>,
) -> Result<(), SolveError> {
    let width = c[0].ncols();
    let sizes = |matrices: &[DMatrix<f64>]| -> Vec<DMatrix<f64>> {
        matrices.iter().map(|matrix| matrix.abs()).collect()
    };
    let rounding = norms(&sizes(products), &sizes(c));
    let products = norms(products, c);
    let wrong = |number: &usize| {
        monitor.is_open(*number) && products[*number] <= -NEGATIVE * precision * rounding[*number]
    };
    match (0..products.len()).find(wrong) {
        None => Ok(()),
        Some(number) => {
            let mut weights = vec![0.0; width];
            weights[number % width] = 1.0;
            Err(monitor.not_positive("the preconditioner", number / width, &weights))
        }
    }
}

/// The numbers $c^\top G c$ of the columns $c$ of $C$, batch after batch.
fn norms(grams: &[DMatrix<f64>], c: &[DMatrix<f64>]) -> Vec<f64> {
    let of_batch = |(gram, c): (&DMatrix<f64>, &DMatrix<f64>)| -> Vec<f64> {
        let images = gram * c;
        let columns = c.column_iter().zip(images.column_iter());
        columns.map(|(c, image)| c.dot(&image)).collect()
    };
    grams.iter().zip(c).flat_map(of_batch).collect()
}

/// Reads the matrices of a tensor `[batch.., rows, columns]` to the host.
fn matrices<const R: usize>(tensor: Tensor<R>) -> Result<Vec<DMatrix<f64>>, SolveError> {
    let shape = tensor.dims();
    let (rows, columns) = (shape[R - 2], shape[R - 1]);
    let values = host(tensor);
    if values.iter().any(|value| !value.is_finite()) {
        return Err(SolveError::NotFinite(PRODUCT));
    }
    let matrices = values.chunks(rows * columns);
    Ok(matrices
        .map(|values| DMatrix::from_row_slice(rows, columns, values))
        .collect())
}

/// Writes matrices, one for each matrix of the batch of `like`, to the device of `like`.
fn upload<const R: usize>(matrices: &[DMatrix<f64>], like: &Tensor<R>) -> Tensor<R> {
    let mut shape = like.dims();
    (shape[R - 2], shape[R - 1]) = matrices[0].shape();
    let rows = matrices
        .iter()
        .flat_map(|m| m.transpose().data.as_vec().clone());
    tensor(rows.collect(), shape, (&like.device(), like.dtype()))
}

/// $\rho$ and $\rho^{-1}$ with $\rho^\top \rho = G$. An eigenvalue of the normalised $G$ that may be a rounding error
/// is replaced by a larger one. A small component of a column then grows with each iteration until it is larger than
/// the rounding errors.
fn scales(gram: &DMatrix<f64>, precision: f64) -> (DMatrix<f64>, DMatrix<f64>) {
    let lengths = gram.diagonal().map(|square| match square > 0.0 {
        true => square.sqrt(),
        false => 1.0,
    });
    let (values, vectors) = eigen(gram, lengths.as_slice());
    let roots = values
        .iter()
        .map(|value| value.max(LIFTED * precision).sqrt());
    let roots: Vec<f64> = roots.collect();
    let scale = DMatrix::from_fn(roots.len(), roots.len(), |i, j| {
        roots[i] * vectors[(j, i)] * lengths[j]
    });
    let inverse = DMatrix::from_fn(roots.len(), roots.len(), |i, j| {
        vectors[(i, j)] / (roots[j] * lengths[i])
    });
    (scale, inverse)
}

/// $F$ such that the columns of $S F$ that are not 0 are conjugate and normalised, from the curvatures $S^\top A S$
/// and the squared lengths of the columns of $S$. A direction of negative curvature is returned as the error.
fn factor(
    curvature: &DMatrix<f64>,
    squares: &[f64],
    largest: &mut f64,
    precision: f64,
) -> Result<DMatrix<f64>, DMatrix<f64>> {
    let width = squares.len();
    for (k, square) in squares.iter().enumerate().filter(|(_, s)| **s > 0.0) {
        *largest = largest.max(curvature[(k, k)] / square);
    }
    if *largest <= 0.0
        && let Some(k) = squares.iter().position(|square| *square > 0.0)
    {
        return Err(DMatrix::from_fn(width, 1, |i, _| {
            f64::from(u8::from(i == k))
        }));
    }
    let lowest = 2.0 * precision * *largest;
    let lengths: Vec<f64> = (0..width)
        .map(|k| match curvature[(k, k)].max(lowest * squares[k]) {
            positive if positive > 0.0 => positive.sqrt(),
            _ => 1.0,
        })
        .collect();
    let (values, mut vectors) = eigen(curvature, &lengths);
    for (k, value) in values.iter().enumerate() {
        let mut column = vectors.column_mut(k);
        for (entry, length) in column.iter_mut().zip(&lengths) {
            *entry /= length;
        }
        let size: f64 = column.iter().zip(squares).map(|(u, s)| u * u * s).sum();
        let rounding = (INDEPENDENT * precision).max(NEGATIVE * precision * *largest * size);
        if size > 0.0 && *value <= -rounding {
            return Err(DMatrix::from_column_slice(width, 1, column.as_slice()));
        }
        let scale = match *value > INDEPENDENT * precision {
            true => value.sqrt().recip(),
            false => 0.0,
        };
        column *= scale;
    }
    Ok(vectors)
}

/// Eigenvalues and eigenvectors of $D^{-1} G D^{-1}$ with the diagonal $D$ of `lengths`.
fn eigen(gram: &DMatrix<f64>, lengths: &[f64]) -> (Vec<f64>, DMatrix<f64>) {
    let normalised = DMatrix::from_fn(lengths.len(), lengths.len(), |i, j| {
        (gram[(i, j)] + gram[(j, i)]) / 2.0 / (lengths[i] * lengths[j])
    });
    let SymmetricEigen {
        eigenvalues,
        eigenvectors,
    } = normalised.symmetric_eigen();
    (eigenvalues.as_slice().to_vec(), eigenvectors)
}
