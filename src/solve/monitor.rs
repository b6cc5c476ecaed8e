//! Follows the residuals of an iteration, and decides when it ends.

use burn::tensor::{Bool, DType, Tensor};

use super::{
    Progress, SolveError, SolveInfo, SolveOptions,
    system::{PRODUCT, dots, epsilon, flags, host, row},
};

/// A kind of values that the host reads in an iteration, one value for each column.
pub enum Reading {
    /// A number that is positive if the operator, or the preconditioner, is positive definite. The text says which
    /// one it is.
    Positive(&'static str),
    /// The squared norm of the residual. It is the last reading of an iteration.
    Residual,
}

/// Follows the residuals of all columns through the iterations.
pub(crate) struct Monitor<'a, const R: usize> {
    pub options: &'a SolveOptions<R>,
    /// Squared norm of each column of the right-hand side.
    pub squares: Vec<f64>,
    /// The squared norm of the residual at which a column is solved: `limits` on the host, `thresholds` on the
    /// device.
    pub limits: Vec<f64>,
    pub thresholds: Tensor<R>,
    /// The columns that are still iterated: `open` on the host, which may lag behind, and `active` on the device.
    pub open: Vec<bool>,
    pub active: Tensor<R, Bool>,
    /// Values on the device that the host has not read yet.
    pub unseen: Vec<(Reading, Tensor<R>)>,
    /// The number, residuals and restarts of the iterations whose values the host has read.
    pub info: SolveInfo,
    /// Whether iterations compute in a coarser type than residuals can be computed in.
    pub coarse: bool,
    /// Squared norms of the residuals: `computed` are those that were last computed from the solution, `kept` those
    /// that the iteration has updated since.
    pub computed: Vec<f64>,
    pub kept: Vec<f64>,
    /// The smallest squared norm of the residual of each column, and the number of iterations since an open column
    /// last reached a smaller one.
    pub records: Vec<f64>,
    pub idle: usize,
    /// The number of iterations without a smaller residual after which the run is given up.
    pub patience: usize,
}

impl<const R: usize> Monitor<'_, R> {
    /// `value` for the columns that are still iterated, 0 for others.
    pub fn only_active(&self, value: Tensor<R>) -> Tensor<R> {
        value.mask_fill(self.active.clone().bool_not(), 0.0)
    }

    /// Ends the iterations of the columns where `value` is not positive. `what` is then not positive definite.
    pub fn check_positive(&mut self, what: &'static str, value: Tensor<R>) {
        let positive = value.clone().greater_elem(0.0);
        self.active = self.active.clone().bool_and(positive);
        self.unseen.push((Reading::Positive(what), value));
    }

    /// Ends an iteration after which the columns have the squared residual norms `squares`. Returns whether it was
    /// the last one.
    pub fn end_iteration(&mut self, squares: Tensor<R>) -> Result<bool, SolveError> {
        let open = squares.clone().greater(self.thresholds.clone());
        self.active = self.active.clone().bool_and(open);
        self.unseen.push((Reading::Residual, squares));
        let residuals = self.unseen.iter();
        let count = residuals.filter(|(reading, _)| matches!(reading, Reading::Residual));
        let count = count.count();
        let last = self.info.iterations + count >= self.options.max_iterations;
        match last || count >= self.options.check_every {
            true => self.look(),
            false => Ok(false),
        }
    }

    /// Reads the values of the last iterations from the device. Returns whether the run is at its end.
    pub fn look(&mut self) -> Result<bool, SolveError> {
        let (readings, rows): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unseen).into_iter().unzip();
        let columns = rows[0].dims()[R - 1];
        let count = rows.len();
        let values = host(Tensor::cat(rows, R - 2));
        for (k, reading) in readings.iter().enumerate() {
            if !self.open.contains(&true) {
                break;
            }
            let mut worst = 0.0f64;
            for (number, open) in self.open.iter_mut().enumerate() {
                let (batch, column) = (number / columns, number % columns);
                let value = values[(batch * count + k) * columns + column];
                worst = worst.max(relative(value, self.squares[number]));
                if !*open {
                    continue;
                }
                if !value.is_finite() {
                    return Err(SolveError::NotFinite(PRODUCT));
                }
                match reading {
                    Reading::Positive(what) if value <= 0.0 => {
                        return Err(SolveError::NotPositiveDefinite {
                            what,
                            iteration: self.info.iterations + 1,
                            column: number,
                        });
                    }
                    Reading::Positive(_) => {}
                    Reading::Residual => {
                        self.kept[number] = value;
                        *open = value > self.limits[number];
                    }
                }
            }
            if matches!(reading, Reading::Residual) {
                self.info.iterations += 1;
                self.info.history.push(worst);
                self.note_records();
            }
        }
        self.report();
        Ok(self.is_done())
    }

    pub fn report(&self) {
        if let Some(observer) = &self.options.progress {
            observer(&Progress {
                iteration: self.info.iterations,
                residual: self.info.history.last().copied().unwrap_or_default(),
            });
        }
    }

    pub fn is_done(&self) -> bool {
        let exhausted = self.info.iterations >= self.options.max_iterations;
        exhausted || self.idle >= self.patience || !self.open.contains(&true)
    }

    /// Counts the iterations in which no open column reaches a smaller residual.
    pub fn note_records(&mut self) {
        // A residual of the size of rounding errors fluctuates, and a value a little smaller is no progress.
        const LOWER: f64 = 0.99;
        self.idle += 1;
        let columns = self.kept.iter().zip(&mut self.records).zip(&self.open);
        for ((kept, record), open) in columns {
            if *kept < LOWER.powi(2) * *record {
                *record = *kept;
                self.idle = if *open { 0 } else { self.idle };
            }
        }
    }

    /// Notes that an iteration cannot change the solution. A few of these in a row end the run.
    pub fn note_standstill(&mut self) {
        /// Small components of nearly dependent columns become visible after at most this many iterations.
        const ITERATIONS: usize = 4;
        self.idle += self.patience.div_ceil(ITERATIONS);
    }

    /// Ends an iteration of a method that follows residuals on the host, in which the columns that are still iterated
    /// have the squared residual norms `squares`. Returns whether it was the last one.
    pub fn residuals(&mut self, squares: &[f64]) -> Result<bool, SolveError> {
        let mut worst = 0.0f64;
        for (number, square) in squares.iter().enumerate() {
            if self.open[number] {
                if !square.is_finite() {
                    return Err(SolveError::NotFinite(PRODUCT));
                }
                self.kept[number] = *square;
                self.open[number] = *square > self.limits[number];
            }
            worst = worst.max(relative(self.kept[number], self.squares[number]));
        }
        self.info.iterations += 1;
        self.info.history.push(worst);
        self.note_records();
        let done = self.is_done();
        if done
            || self
                .info
                .iterations
                .is_multiple_of(self.options.check_every)
        {
            self.report();
        }
        Ok(done)
    }

    /// Whether a column is still iterated, counted as in [`SolveInfo::residuals`].
    pub fn is_open(&self, number: usize) -> bool {
        self.open[number]
    }

    /// The error that `what` is not positive definite, as seen for a combination, with the given weights, of the
    /// columns of a matrix of the batch. Of the columns that are still iterated, the error names the one with the
    /// largest weight.
    pub fn not_positive(&self, what: &'static str, batch: usize, weights: &[f64]) -> SolveError {
        let first = batch * weights.len();
        let open = weights.iter().enumerate();
        let open = open.filter(|(column, _)| self.open[first + column]);
        let column = open.max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
        SolveError::NotPositiveDefinite {
            what,
            iteration: self.info.iterations + 1,
            column: first + column.map_or(0, |(column, _)| column),
        }
    }

    /// Takes `squares` as the squared norms of the residuals from which the iteration goes on.
    pub fn compare_with(&mut self, squares: &[f64]) {
        self.computed = squares.to_vec();
        self.kept = squares.to_vec();
    }

    /// Whether iterations compute in a coarser type, and a residual has become so small that rounding errors begin to
    /// matter. Rounding errors are relative to the residual that was last computed from the solution.
    pub fn wants_refresh(&self) -> bool {
        const SMALLER: f64 = 0.1;
        let mut columns = self.kept.iter().zip(&self.computed).zip(&self.open);
        self.coarse
            && columns.any(|((kept, computed), open)| *open && *kept < SMALLER.powi(2) * computed)
    }

    /// Starts again from a residual that was computed from the solution. Returns whether it is worth going on:
    /// whether the residual of an open column is less than half of that computed before.
    pub fn refreshed(&mut self, r: &Tensor<R>) -> Result<bool, SolveError> {
        let before = std::mem::take(&mut self.computed);
        let squares = host(dots(&[[r, r]])?.remove(0));
        if squares.iter().any(|square| !square.is_finite()) {
            return Err(SolveError::NotFinite(PRODUCT));
        }
        // A column whose iterations have ended is not iterated again.
        let open = std::mem::take(&mut self.open);
        self.start(&squares, r, &open);
        let mut columns = squares.iter().zip(before).zip(&self.open);
        Ok(columns.any(|((square, before), open)| *open && *square < 0.25 * before))
    }

    /// Whether, in a column that is still iterated, the residual `r` that was computed from the solution is much
    /// larger than the one that the iteration has updated, whose squared norms are `squares`.
    pub fn has_drifted(&self, r: &Tensor<R>, squares: Tensor<R>) -> Result<bool, SolveError> {
        const LARGER: f64 = 2.0;
        let (computed, kept) = (host(dots(&[[r, r]])?.remove(0)), host(squares));
        let mut columns = computed.iter().zip(&kept).zip(&self.open);
        Ok(columns.any(|((computed, kept), open)| *open && *computed > LARGER.powi(2) * kept))
    }

    /// Starts a run from a residual of the squared norms `squares`, for the columns that are true in `among`.
    pub fn start(&mut self, squares: &[f64], like: &Tensor<R>, among: &[bool]) {
        // A run cannot lower residuals by a larger factor: after that, the updated residuals have nothing to do with
        // the solution.
        let lowest = 4.0 * epsilon(like.dtype());
        let tolerance = self.options.tolerance;
        let limit = |(b, r): (&f64, &f64)| {
            let limit = (tolerance.powi(2) * b).max(lowest.powi(2) * r);
            match like.dtype() {
                DType::F64 => limit,
                // The device compares in F32.
                _ => f64::from(limit as f32),
            }
        };
        self.limits = self.squares.iter().zip(squares).map(limit).collect();
        let unsolved = squares.iter().zip(&self.squares);
        self.open = unsolved
            .zip(among)
            .map(|((r, b), among)| *among && relative(*r, *b) > tolerance)
            .collect();
        self.computed = squares.to_vec();
        self.kept = squares.to_vec();
        self.records = squares.to_vec();
        self.idle = 0;
        self.thresholds = row(&self.limits, like);
        self.active = flags(self.open.iter().copied(), like).greater_elem(0.5);
    }
}

/// The relative residual, from the squared norms `r` of a residual and `b` of a right-hand side; 0 for `b` = 0.
pub fn relative(r: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { (r / b).sqrt() }
}
