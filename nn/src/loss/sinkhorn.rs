//! Entropic optimal transport by Sinkhorn's algorithm, with decreasing blurs.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::{
    cloud::{Pair, Side},
    cost::Cost,
    error::LossError,
};

/// The relative difference up to which sums of weights are taken as equal. Rounding in F32 makes smaller
/// differences.
const EQUAL_MASSES: f64 = 1e-3;

/// The number of steps that make a self-transport potential exact. Each halves the error of the value and of the
/// gradient.
const EXACT_STEPS: usize = 30;

/// For each cloud the index of the cloud it is transported to, if that is the other cloud.
const ACROSS: [usize; 2] = [1, 0];

/// For each cloud the index of the cloud it is transported to, if that is the cloud itself.
const OWN: [usize; 2] = [0, 1];

/// The settings of the transport between two clouds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub p: f64,
    pub blur: f64,
    pub scaling: f64,
    pub reach: Option<f64>,
    pub debias: bool,
    pub diameter: Option<f64>,
}

/// Two clouds in units in which their diameter is 1 (in the given units for a custom cost), with the temperatures
/// of the steps.
#[derive(Clone, Debug)]
pub(crate) struct Problem<const R: usize> {
    pub pair: Pair<R>,
    pub cost: Cost,
    /// The temperatures of the steps, in decreasing order.
    temperatures: Vec<f64>,
    /// The reach to the power $p$, if transport is unbalanced.
    rho: Option<f64>,
    debias: bool,
    /// The factor that converts a value from these units to the units of the given points.
    pub unit: f64,
}

/// The dual potentials of two clouds, each `[.., N, 1]` or `[.., M, 1]`.
#[derive(Clone, Debug)]
pub(crate) struct Potentials<const R: usize> {
    /// The potentials of the first and of the second cloud, each transported to the other one.
    pub across: [Tensor<R>; 2],
    /// The potentials of each cloud transported to itself.
    pub own: Option<[Tensor<R>; 2]>,
}

/// $-\varepsilon \log \sum_j w_j e^{(g_j - C_{ij}) / \varepsilon}$ times `factor`, from the logarithms of the weights $w$.
/// Without a potential $g$ is 0. The sum of both is part of the formula, because small operations of Burn take as long
/// as many pairs.
fn softmin<const R: usize>(
    cost: &LazyTensor,
    epsilon: f64,
    log_weights: Tensor<R>,
    potential: Option<Tensor<R>>,
    factor: f64,
) -> Result<Tensor<R>, LazyError> {
    let mut columns = LazyTensor::try_vj(log_weights)?;
    if let Some(potential) = potential {
        columns = columns.try_add(LazyTensor::try_vj(potential)? * (1.0 / epsilon))?;
    }
    let scores = columns.try_sub(cost * (1.0 / epsilon))?;
    Ok(scores.try_logsumexp::<R>(Axis::J)? * (-epsilon * factor))
}

/// $-\varepsilon \log \sum_j w_j e^{(g_j - C_{ij}) / \varepsilon}$. The gradient by a weight of 0 is correct, too.
fn weighted_softmin<const R: usize>(
    cost: &LazyTensor,
    epsilon: f64,
    g: Tensor<R>,
    weights: Tensor<R>,
) -> Result<Tensor<R>, LazyError> {
    let scores = LazyTensor::try_vj(g)?.try_sub(cost)? * (1.0 / epsilon);
    let weights = LazyTensor::try_vj(weights)?;
    let sums = scores.try_logsumexp_weighted::<R>(weights, Axis::J)?;
    Ok(sums * -epsilon)
}

/// The logarithms of weights. The logarithm of 0 is $-\infty$, so that its point is left out.
fn logarithms<const R: usize>(weights: Tensor<R>) -> Tensor<R> {
    let is_zero = weights.clone().equal_scalar(0.0);
    let positive = weights.mask_fill(is_zero.clone(), 1.0);
    positive.log().mask_fill(is_zero, f64::NEG_INFINITY)
}

/// The same values with half of their gradient.
fn half_differentiated<const R: usize>(values: Tensor<R>) -> Tensor<R> {
    (values.clone() + values.detach()) * 0.5
}

/// The largest diagonal of the bounding boxes of both clouds in a batch.
fn diameter<const R: usize>(pair: &Pair<R>) -> Result<f64, LossError> {
    let points = |side: &Side<R>| side.points.clone().inner();
    let all = Tensor::cat(vec![points(&pair.x), points(&pair.y)], R - 2);
    let sizes = all.clone().max_dim(R - 2) - all.clone().min_dim(R - 2);
    // The last term is NaN where a coordinate is not finite, because minima and maxima may ignore NaN.
    let sizes = sizes + (all * 0.0).sum_dim(R - 2);
    let dim = sizes.dims()[R - 1];
    let sizes: Vec<f64> = sizes.into_data().iter::<f64>().collect();
    let diagonals = sizes.chunks(dim).map(|sizes| {
        // Sizes are divided by the longest one, whose square may overflow.
        let longest = sizes.iter().fold(0.0f64, |max, size| max.max(*size));
        let squares = sizes.iter().map(|size| (size / longest).powi(2));
        match sizes.iter().all(|size| size.is_finite()) {
            true if longest == 0.0 => 0.0,
            true => longest * squares.sum::<f64>().sqrt(),
            false => f64::NAN,
        }
    });
    let largest = diagonals.fold(0.0, |max, size| match size.is_nan() {
        true => size,
        false if size > max => size,
        false => max,
    });
    match largest.is_nan() {
        true => Err(LossError::NotFinite {
            x: pair.x.points.dims().to_vec(),
            y: pair.y.points.dims().to_vec(),
        }),
        false => Ok(largest),
    }
}

/// Checks the weights given by the user: none is negative, each cloud has mass, and balanced clouds have equal
/// masses.
fn check_weights<const R: usize>(pair: &Pair<R>, is_balanced: bool) -> Result<(), LossError> {
    if !pair.x.is_weighted && !pair.y.is_weighted {
        return Ok(());
    }
    let read = |side: &Side<R>| {
        let weights = side.weights.clone().inner();
        let count = weights.dims()[R - 2];
        let weights: Vec<f64> = weights.into_data().iter::<f64>().collect();
        let of_batch = |weights: &[f64]| {
            let least = weights.iter().fold(f64::INFINITY, |min, own| min.min(*own));
            (weights.iter().sum::<f64>(), least)
        };
        weights.chunks(count).map(of_batch).collect::<Vec<_>>()
    };
    let (x, y) = (read(&pair.x), read(&pair.y));
    for (batch, ends) in x.iter().zip(&y).enumerate() {
        for (operand, (sum, least)) in [("x", ends.0), ("y", ends.1)] {
            let is_measure = *least >= 0.0 && *sum > 0.0 && sum.is_finite();
            if !is_measure {
                return Err(LossError::Weights {
                    operand,
                    sum: *sum,
                    least: *least,
                    batch,
                    wanted: "they have to be 0 or more, with a positive sum",
                });
            }
        }
        let [x, y] = [ends.0.0, ends.1.0];
        if is_balanced && (x - y).abs() > EQUAL_MASSES * x.max(y) {
            return Err(LossError::Masses { x, y, batch });
        }
    }
    Ok(())
}

/// The temperatures of all steps, from $d^p$ for a diameter $d$ down to $b^p$ for a blur $b$. From step to step the
/// length is multiplied by `scaling`.
fn temperatures(diameter: f64, settings: &Settings) -> Vec<f64> {
    let Settings {
        p, blur, scaling, ..
    } = settings;
    if diameter <= *blur {
        return vec![blur.powf(*p)];
    }
    let (first, last, step) = (p * diameter.ln(), p * blur.ln(), p * scaling.ln());
    let count = ((last - first) / step).ceil().max(0.0) as usize;
    let between = (0..count).map(|k| (first + k as f64 * step).exp());
    let ends = [diameter.powf(*p), blur.powf(*p)];
    [ends[0]]
        .into_iter()
        .chain(between)
        .chain([ends[1]])
        .collect()
}

impl<const R: usize> Problem<R> {
    /// Checks the weights of the clouds and determines their diameter.
    pub fn new(pair: Pair<R>, cost: Cost, settings: &Settings) -> Result<Self, LossError> {
        check_weights(&pair, settings.reach.is_none())?;
        let diameter = match settings.diameter {
            Some(diameter) => diameter,
            None => diameter(&pair)?,
        };
        // The temperatures depend only on ratios of lengths. So a cost that is a power of the distance is computed
        // in units of the diameter, in which no square leaves the range of the type.
        let (pair, length) = match cost.power() {
            Some(_) => {
                let length = diameter.max(settings.blur);
                // A product, because Burn rounds the gradient of a division to F32.
                let in_units = |points: Tensor<R>| points * (1.0 / length);
                (pair.centred().map_points(in_units), length)
            }
            None => (pair, 1.0),
        };
        let in_units = |value: f64| value / length;
        let settings = Settings {
            blur: in_units(settings.blur),
            reach: settings.reach.map(in_units),
            ..settings.clone()
        };
        Ok(Self {
            pair,
            cost,
            temperatures: temperatures(in_units(diameter), &settings),
            rho: settings.reach.map(|reach| reach.powf(settings.p)),
            debias: settings.debias,
            unit: length.powf(settings.p),
        })
    }

    /// The temperature of the last step.
    pub fn temperature(&self) -> f64 {
        self.temperatures[self.temperatures.len() - 1]
    }

    /// The factor of a softmin: 1 for balanced transport, less for unbalanced transport.
    fn damping(&self, epsilon: f64) -> f64 {
        self.rho.map_or(1.0, |rho| 1.0 / (1.0 + epsilon / rho))
    }

    /// The potentials after all averaged steps and one last step without averaging. Only the last step is
    /// differentiated, as the envelope theorem requires.
    pub fn potentials(&self) -> Result<Potentials<R>, LazyError> {
        let [x, y] = [self.pair.x.inner(), self.pair.y.inner()];
        let logs = [&x, &y].map(|side| logarithms(side.weights.clone()));
        let across = self.cost.constant(x.points.clone(), y.points.clone())?;
        let across = [across.t(), across];
        let [to_x, to_y] = &across;
        let annealed = self.annealed([to_y, to_x], ACROSS, &logs)?;
        let own = match self.debias {
            true => {
                let own = |points: &Tensor<R>| self.cost.constant(points.clone(), points.clone());
                let own = [own(&x.points)?, own(&y.points)?];
                Some(self.annealed([&own[0], &own[1]], OWN, &logs)?)
            }
            false => None,
        };
        let last = |of: usize, before: &[Tensor<R>; 2], towards: usize| {
            let epsilon = self.temperature();
            let (logs, before) = (logs[towards].clone(), before[towards].clone());
            let (cost, damping) = (self.last_cost(of, towards)?, self.damping(epsilon));
            let values = softmin(&cost, epsilon, logs, Some(before), damping)?;
            Ok::<_, LazyError>(match self.cost {
                Cost::Power(_) => values,
                // The points of both clouds and the tensors of the formula get gradients from both softmins, half
                // from each.
                Cost::Custom(_) => half_differentiated(values),
            })
        };
        Ok(Potentials {
            across: [last(0, &annealed, 1)?, last(1, &annealed, 0)?],
            own: match own {
                Some(own) => Some([last(0, &own, 0)?, last(1, &own, 1)?]),
                None => None,
            },
        })
    }

    /// The cost of the last step. Its rows are the points of the cloud `of`, its columns are those of the cloud
    /// `towards`.
    fn last_cost(&self, of: usize, towards: usize) -> Result<LazyTensor, LazyError> {
        let points = [&self.pair.x, &self.pair.y].map(|side| side.points.clone());
        match (&self.cost, of <= towards) {
            // Only the rows get a gradient, because each cloud is once the rows.
            (Cost::Power(_), _) => {
                let columns = points[towards].clone().detach();
                self.cost.between(points[of].clone(), columns)
            }
            (Cost::Custom(_), true) => {
                (self.cost).between(points[of].clone(), points[towards].clone())
            }
            // A formula takes the point of the first cloud as its first argument.
            (Cost::Custom(_), false) => {
                let cost = (self.cost).between(points[towards].clone(), points[of].clone())?;
                Ok(cost.t())
            }
        }
    }

    /// The potentials of both clouds after all averaged steps. `costs[k]` are the costs from the points of cloud
    /// `k` to the points of cloud `towards[k]`.
    fn annealed(
        &self,
        costs: [&LazyTensor; 2],
        towards: [usize; 2],
        logs: &[Tensor<R>; 2],
    ) -> Result<[Tensor<R>; 2], LazyError> {
        // The new potential of cloud `k` times `share`, from the potentials before.
        let step = |k: usize, epsilon: f64, before: Option<&[Tensor<R>; 2]>, share: f64| {
            let other = towards[k];
            let potential = before.map(|before| before[other].clone());
            let factor = share * self.damping(epsilon);
            softmin(costs[k], epsilon, logs[other].clone(), potential, factor)
        };
        let first = self.temperatures[0];
        let mut own = [step(0, first, None, 1.0)?, step(1, first, None, 1.0)?];
        for epsilon in &self.temperatures {
            let half = |k: usize| step(k, *epsilon, Some(&own), 0.5);
            let [f, g] = [half(0)?, half(1)?];
            let [f_before, g_before] = own;
            own = [f_before * 0.5 + f, g_before * 0.5 + g];
        }
        Ok(own)
    }

    /// The potential of the first cloud that follows from the potential `g` of the second cloud, without gradients.
    /// If transport is balanced, the plan of both potentials has exactly the masses of the first cloud.
    pub fn answer(&self, g: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let [x, y] = [self.pair.x.inner(), self.pair.y.inner()];
        let epsilon = self.temperature();
        let cost = self.cost.constant(x.points, y.points)?;
        let (logs, damping) = (logarithms(y.weights), self.damping(epsilon));
        softmin(&cost, epsilon, logs, Some(g), damping)
    }

    /// The Sinkhorn divergence, or without debiasing the cost of transport, of shape `[.., 1, 1]`.
    pub fn value(&self, potentials: &Potentials<R>) -> Tensor<R> {
        let sides = [&self.pair.x, &self.pair.y];
        let value = match self.rho {
            None => {
                let [f, g] = [0, 1].map(|k| {
                    let own = potentials.own.as_ref().map(|own| own[k].clone());
                    let across = potentials.across[k].clone();
                    let difference = match own {
                        Some(own) => across - own,
                        None => across,
                    };
                    sides[k].weighted(difference)
                });
                f + g
            }
            Some(rho) => self.unbalanced_value(potentials, rho),
        };
        value * self.unit
    }

    /// The value of unbalanced transport.
    fn unbalanced_value(&self, potentials: &Potentials<R>, rho: f64) -> Tensor<R> {
        let epsilon = self.temperature();
        let sides = [&self.pair.x, &self.pair.y];
        let [f, g] = [0, 1].map(|k| {
            let across = potentials.across[k].clone() * (-1.0 / rho);
            let own = match &potentials.own {
                Some(own) => own[k].clone() * (-1.0 / rho),
                None => across.zeros_like(),
            };
            // e^u - e^v = tanh((u - v) / 2) (e^u + e^v), which loses no digits when e^u and e^v are both close to
            // 1.
            let half = (own.clone() - across.clone()) * 0.5;
            sides[k].weighted(half.tanh() * (own.exp() + across.exp()))
        });
        let lost = f + g;
        // The potentials are the fixed point of an equation that depends on the points and weights. Therefore the
        // derivative has the factor rho + epsilon, but the value has the factor rho + epsilon / 2.
        let value = lost.clone() * (rho + epsilon) - lost.detach() * (0.5 * epsilon);
        if potentials.own.is_some() {
            return value;
        }
        // Without debiasing the value has another term, which is 0 if both masses are 1.
        let [x, y] = sides.map(|side| side.weights.clone().sum_dim(R - 2));
        let sum = x.clone() + y.clone();
        value + (x * y - sum.clone() + sum.detach() * 0.5) * epsilon
    }

    /// The Hausdorff divergence, of shape `[.., 1, 1]`. At the points of each cloud, the self-transport potential
    /// of the cloud is compared with the extended potential of the other cloud.
    pub fn hausdorff(&self) -> Result<Tensor<R>, LazyError> {
        let sides = [&self.pair.x, &self.pair.y];
        let inner = [self.pair.x.inner(), self.pair.y.inner()];
        let logs = [0, 1].map(|k| logarithms(inner[k].weights.clone()));
        let [x, y] = inner.map(|side| side.points);
        let constant = [
            self.cost.constant(x.clone(), x)?,
            self.cost.constant(y.clone(), y)?,
        ];
        let mut potentials = self.annealed([&constant[0], &constant[1]], OWN, &logs)?;
        let epsilon = self.temperature();
        let extended = |cost: &LazyTensor, k: usize, potential: &Tensor<R>| {
            weighted_softmin(cost, epsilon, potential.clone(), sides[k].weights.clone())
        };
        let [x, y] = sides.map(|side| side.points.clone());
        let own = [
            self.cost.between(x.clone(), x.clone())?,
            self.cost.between(y.clone(), y.clone())?,
        ];
        // The derivative of the fixed point is a series. Each of these steps adds a term of it.
        for (k, potential) in potentials.iter_mut().enumerate() {
            for _ in 0..EXACT_STEPS {
                let next = extended(&own[k], k, potential)?;
                *potential = (potential.clone() + next) * 0.5;
            }
        }
        let to_y = self.cost.between(x, y)?;
        let of_x = extended(&to_y, 1, &potentials[1])?;
        let of_y = extended(&to_y.t(), 0, &potentials[0])?;
        // The same step extends the potential of each cloud to its own points, so that equal clouds have equal
        // values.
        let f = extended(&own[0], 0, &potentials[0])?;
        let g = extended(&own[1], 1, &potentials[1])?;
        let sum = sides[0].weighted(of_x - f) + sides[1].weighted(of_y - g);
        Ok(sum * (0.5 * self.unit))
    }
}
