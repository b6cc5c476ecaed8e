//! Every operation of the catalogue in a kernel against its host reference.
//!
//! The arguments are sampled over the domain of the operation and come from rows, columns, parameters
//! and run-time scalars in all combinations. An *instance* is an operation with the places of its
//! arguments; the instances of one launch are concatenated, each reading its own slice of one row
//! operand, one column operand and one parameter, and summed over a single column, so that a value is
//! compared alone. Dimensions up to 16 are unrolled, larger ones are loops.
//!
//! Tolerance, relative to each value: 1e-6 in `f32`, 1e-14 in `f64`; [`tolerance`] holds the
//! exceptions.

use burn_lazy_kernels::{Axis, Expr, Precision, catalogue::ScalarOp, expr::Var};

use crate::{
    device::{Problem, Runtime, Tensor, by_precision, client, held, precisions, runtime},
    support::{Rng, agree, leaf, s},
};

/// Where an argument comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Row,
    Column,
    Parameter,
    Scalar,
}

const PLACES: [Place; 4] = [Place::Row, Place::Column, Place::Parameter, Place::Scalar];

#[derive(Clone, Debug)]
struct Instance {
    op: ScalarOp,
    places: Vec<Place>,
}

/// The number of batches: the number of different values of the columns and parameters.
const BATCHES: usize = 24;
const ROWS: usize = 5;

fn all_instances() -> Vec<Instance> {
    let combinations = |op: &ScalarOp| -> Vec<Vec<Place>> {
        match op.arity() {
            1 => PLACES.map(|a| vec![a]).to_vec(),
            2 => PLACES
                .iter()
                .flat_map(|a| PLACES.map(|b| vec![*a, b]))
                .collect(),
            // Each place for each argument, and combinations with different places.
            _ => PLACES
                .iter()
                .flat_map(|a| {
                    let place = |k: usize| PLACES[(*a as usize + k) % 4];
                    [0, 1, 2, 3].map(|k| vec![*a, place(k), place(3 * k + 1)])
                })
                .collect(),
        }
    };
    ScalarOp::all()
        .into_iter()
        .flat_map(|op| {
            let combinations = combinations(&op);
            combinations
                .into_iter()
                .map(move |places| Instance { op, places })
        })
        .collect()
}

/// Each operation with one combination of places. Operations with a parameter have two values of it. Both depend on
/// `turn`.
fn few_instances(turn: usize) -> Vec<Instance> {
    let mut kinds: Vec<Vec<Instance>> = Vec::new();
    for instance in all_instances() {
        let kind = std::mem::discriminant(&instance.op);
        match kinds.last_mut() {
            Some(own) if std::mem::discriminant(&own[0].op) == kind => own.push(instance),
            _ => kinds.push(vec![instance]),
        }
    }
    let pick = |(k, own): (usize, &Vec<Instance>)| {
        // Seven is coprime to the numbers of combinations.
        let first = 7 * (turn + k) % own.len();
        let parametrised = own.iter().any(|instance| instance.op != own[0].op);
        let second = parametrised.then(|| own[(first + own.len() / 2) % own.len()].clone());
        [Some(own[first].clone()), second]
    };
    kinds.iter().enumerate().flat_map(pick).flatten().collect()
}

/// The samples of one argument: the edges of the domain, then random values.
fn sample(op: ScalarOp, argument: usize, index: usize, rng: &mut Rng) -> f64 {
    let domain = op.domain();
    let (low, high) = domain.intervals[argument];
    let value = rng.uniform(low, high);
    // The arguments of a binary operation have their edges at different samples.
    match domain.edges.get(index.wrapping_sub(3 * argument)) {
        Some(edge) => *edge as f32 as f64,
        None => value,
    }
}

/// Concatenated instances with their operands.
struct Pack {
    instances: Vec<Instance>,
    dim: usize,
    /// For each instance and argument the first component in its operand, or its scalar.
    starts: Vec<Vec<usize>>,
    /// Values of the row operand `[batch, row, ..]`, of the column operand and of the parameter
    /// `[batch, ..]`, and the scalars.
    values: [Vec<f64>; 4],
    widths: [usize; 4],
}

impl Pack {
    fn new(instances: &[Instance], dim: usize, seed: u64) -> Self {
        let mut widths = [0; 4];
        let starts: Vec<Vec<usize>> = instances
            .iter()
            .map(|instance| {
                let place = |place: &Place| {
                    let width = &mut widths[*place as usize];
                    let start = *width;
                    *width += if *place == Place::Scalar { 1 } else { dim };
                    start
                };
                instance.places.iter().map(place).collect()
            })
            .collect();
        let mut rng = Rng::new(seed);
        let points = [BATCHES * ROWS, BATCHES, BATCHES, 1];
        let mut values = [0, 1, 2, 3].map(|k| vec![f64::NAN; widths[k] * points[k]]);
        for (instance, starts) in instances.iter().zip(&starts) {
            for (argument, (place, start)) in instance.places.iter().zip(starts).enumerate() {
                let place = *place as usize;
                let len = if place == Place::Scalar as usize {
                    1
                } else {
                    dim
                };
                for point in 0..points[place] {
                    for k in 0..len {
                        let index = match place {
                            3 => usize::MAX,
                            _ => point * len + k,
                        };
                        values[place][point * widths[place] + start + k] =
                            sample(instance.op, argument, index, &mut rng);
                    }
                }
            }
        }
        Self {
            instances: instances.to_vec(),
            dim,
            starts,
            values,
            widths,
        }
    }

    fn expr(&self) -> Expr {
        let operand = |place: Place, start: usize| match place {
            Place::Scalar => s(10 + start as u64).expand(self.dim),
            _ => {
                let axis = [Some(Axis::I), Some(Axis::J), None][place as usize];
                let width = self.widths[place as usize];
                Expr::var(leaf(place as u64, axis, width)).slice(start, self.dim)
            }
        };
        let instance = |(instance, starts): (&Instance, &Vec<usize>)| {
            let args = instance.places.iter().zip(starts);
            let args = args.map(|(place, start)| operand(*place, *start)).collect();
            Expr::scalar(instance.op, args)
        };
        Expr::concat(
            self.instances
                .iter()
                .zip(&self.starts)
                .map(instance)
                .collect(),
        )
    }

    fn problem(&self) -> Problem {
        let tensor = |var: &Var| {
            let shape: &[usize] = match var.axis() {
                Some(Axis::I) => &[BATCHES, ROWS, var.dim],
                Some(Axis::J) => &[BATCHES, 1, var.dim],
                None => &[BATCHES, var.dim],
            };
            Tensor::new(shape, self.values[var.id as usize].clone())
        };
        let scalar = |var: &Var| self.values[3][var.id as usize - 10];
        let sizes = (ROWS, 1);
        Problem::new(&self.expr(), Axis::J, &[BATCHES], sizes, tensor, scalar)
    }

    /// The argument values of component `k` of an instance.
    fn args(&self, instance: usize, batch: usize, row: usize, k: usize) -> Vec<f64> {
        let places = &self.instances[instance].places;
        let value = |(place, start): (&Place, &usize)| {
            let values = &self.values[*place as usize];
            let width = self.widths[*place as usize];
            match place {
                Place::Row => values[(batch * ROWS + row) * width + start + k],
                Place::Column | Place::Parameter => values[batch * width + start + k],
                Place::Scalar => values[*start],
            }
        };
        places
            .iter()
            .zip(&self.starts[instance])
            .map(value)
            .collect()
    }

    fn check(&self, precisions: &[Precision]) {
        let client = client();
        let problem = self.problem();
        for precision in precisions {
            let got = problem
                .run(&client, *precision)
                .expect("the launch succeeds");
            let mut got = got.iter();
            for batch in 0..BATCHES {
                for row in 0..ROWS {
                    for (index, instance) in self.instances.iter().enumerate() {
                        for k in 0..self.dim {
                            let args = self.args(index, batch, row, k);
                            let want = held(instance.op.host(&args), *precision);
                            let got = *got.next().expect("a value for each component");
                            assert!(
                                agree(got, want, tolerance(instance.op, *precision, &args, want)),
                                "{:?} at {args:?} from {:?} in {precision:?}: {got}, expected {want}",
                                instance.op,
                                instance.places,
                            );
                        }
                    }
                }
            }
            assert!(got.next().is_none());
        }
    }
}

/// The error that is allowed for an operation.
fn tolerance(op: ScalarOp, precision: Precision, args: &[f64], want: f64) -> f64 {
    let relative = by_precision(precision, 1e-6, 1e-14);
    // Values below it may be replaced by 0.
    let smallest = by_precision(precision, f32::MIN_POSITIVE.into(), f64::MIN_POSITIVE);
    let gpu = runtime() != Runtime::Cpu;
    match op {
        // What the graphics standards promise: 3 + 2 |x| units in the last place.
        ScalarOp::Exp if gpu && precision == Precision::F32 => {
            (3.0 + 2.0 * args[0].abs()) * 1.2e-7 * want
        }
        _ => smallest + relative * want.abs().max(op.domain().scale),
    }
}

/// Checks each instance in only one of the precisions, because kernels take long to compile.
fn check_all(instances: &[Instance], dim: usize, in_a_launch: usize) {
    let precisions = precisions();
    for turn in 0..precisions.len() {
        // Precisions alternate. `k / 4` shifts the turns, because there are four places per argument, and each place
        // should meet each precision.
        let numbered = instances.iter().enumerate();
        let own = numbered.filter(|(k, _)| (k + k / 4) % precisions.len() == turn);
        let own: Vec<Instance> = own.map(|(_, instance)| instance.clone()).collect();
        for (k, chunk) in own.chunks(in_a_launch).enumerate() {
            let seed = 1000 * dim as u64 + (k * precisions.len() + turn) as u64;
            Pack::new(chunk, dim, seed).check(&precisions[turn..turn + 1]);
        }
    }
}

/// Defines tests of operations with a number of components. The last number is the number of instances of a launch.
macro_rules! match_the_host {
    ($($name:ident: $instances:expr, $dim:literal, $in_a_launch:expr;)*) => {$(
        #[test]
        fn $name() {
            check_all(&$instances, $dim, $in_a_launch);
        }
    )*};
}

match_the_host! {
    operations_of_one_component_match_the_host: all_instances(), 1, 16;
    operations_of_two_components_match_the_host: few_instances(0), 2, 8;
    operations_of_three_components_match_the_host: few_instances(2), 3, 5;
    operations_of_seven_components_match_the_host: few_instances(3), 7, 2;
    operations_of_sixteen_components_match_the_host: few_instances(4), 16, 1;
    operations_of_seventeen_components_match_the_host:
        few_instances(5), 17, if runtime() == Runtime::Cpu { 5 } else { 1 };
}

#[test]
fn operations_of_a_hundred_components_match_the_host() {
    let instances = few_instances(6);
    match runtime() {
        Runtime::Cpu => check_all(&instances, 100, 5),
        _ => check_all(&instances[..3], 100, 1),
    }
}
