//! Makes results and partial results from the states of reductions, and states from partial results.

use super::{
    HostLaunch, HostOutput, HostPart, HostValues,
    reductions::{HostResults, HostState, Rules},
};
use crate::{
    formula::Axis,
    math::Precision,
    reduction::{NO_INDEX, ReductionKind, Wanted, for_each_reduction},
};

/// Work that is done with a reduction, generic over its family.
pub trait WithFamily {
    type Output;

    fn run<R: HostResults + Sync>(self, family: R) -> Self::Output;
}

macro_rules! define_with_family {
    ($(
        $(#[$doc:meta])*
        $kind:ident $(($field:ident: $type:ty))? $({ $(#[$note:meta])* $name:ident: $own:ty })?
            => $family:ident $value:tt; $examples:tt,
    )*) => {
        pub fn with_family<W: WithFamily>(kind: ReductionKind, work: W) -> W::Output {
            match kind {
                $(
                    ReductionKind::$kind $(($field))? $({ $name })? => {
                        work.run(crate::reduction::$family $value)
                    }
                )*
            }
        }
    };
}

for_each_reduction!(define_with_family);

/// The output of a reduction without columns.
pub fn nothing(launch: &HostLaunch, wanted: Wanted) -> HostOutput {
    let spec = launch.spec(wanted);
    let len = launch.all_rows() * spec.entries();
    let state = vec![0.0; launch.all_rows() * spec.state_size()];
    HostOutput {
        values: wanted
            .values
            .then(|| HostValues::new(&vec![spec.empty(); len], launch.values)),
        indices: wanted.indices.then(|| vec![spec.empty_index(); len]),
        // Sums are 0, so that the maxima that they are relative to do not matter.
        state: wanted
            .state
            .then(|| HostValues::new(&state, launch.precision.computed())),
    }
}

/// The results of some rows.
#[derive(Default)]
pub struct Found {
    values: Vec<f64>,
    indices: Vec<i64>,
    state: Vec<f64>,
}

impl Found {
    pub fn of<R: HostResults>(family: &R, state: &R::State, rows: usize, rules: &Rules) -> Self {
        let (spec, wanted) = (&rules.spec, rules.spec.wanted);
        let entries = spec.entries();
        let mut found = Self::default();
        for row in 0..rows {
            if wanted.values {
                let values = (0..entries).map(|at| family.result(state, row, at, rules));
                found.values.extend(values);
            }
            if wanted.indices {
                let indices = (0..entries).map(|at| match state.index(row, at, rules) {
                    NO_INDEX => -1,
                    index => index.into(),
                });
                found.indices.extend(indices);
            }
            if wanted.state {
                for plane in 0..spec.state_planes() {
                    let size = spec.plane_size(plane);
                    let save = |at| state.save(row, (plane, at), rules);
                    let values = (0..size).map(save);
                    found.state.extend(values);
                }
            }
        }
        found
    }
}

pub fn output(launch: &HostLaunch, wanted: Wanted, found: Vec<Found>) -> HostOutput {
    let all = |read: fn(&Found) -> &Vec<f64>| -> Vec<f64> {
        let values = found.iter().flat_map(|f| read(f).iter().copied()).collect();
        in_order(launch, values)
    };
    let indices = || found.iter().flat_map(|f| f.indices.iter().copied());
    let computed = launch.precision.computed();
    HostOutput {
        values: wanted
            .values
            .then(|| HostValues::new(&all(|f| &f.values), launch.values)),
        indices: wanted
            .indices
            .then(|| in_order(launch, indices().collect())),
        state: wanted
            .state
            .then(|| HostValues::new(&all(|f| &f.state), computed)),
    }
}

/// Sorts the results of all rows by the indices of the rows. Before, they are in the order in which the operands have
/// the rows.
fn in_order<T: Copy>(launch: &HostLaunch, values: Vec<T>) -> Vec<T> {
    let order = launch.ranges.and_then(|ranges| ranges.order(Axis::I));
    let Some(order) = order.filter(|_| !values.is_empty()) else {
        return values;
    };
    let entries = values.len() / launch.all_rows();
    let mut ordered = values.clone();
    let batches = ordered.chunks_mut(order.len() * entries);
    for (batch, from) in batches.zip(values.chunks(order.len() * entries)) {
        for (row, own) in order.iter().zip(from.chunks(entries)) {
            batch[*row as usize * entries..][..entries].copy_from_slice(own);
        }
    }
    ordered
}

pub fn part(state: &impl HostState, rows: usize, rules: &Rules) -> HostPart {
    let spec = &rules.spec;
    let mut part = HostPart {
        values: Vec::new(),
        indices: Vec::new(),
    };
    for row in 0..rows {
        for plane in 0..spec.planes().len() {
            let save = |at| state.save(row, (plane, at), rules);
            part.values.extend((0..spec.plane_size(plane)).map(save));
        }
        if spec.keeps_indices() {
            let indices = (0..spec.entries()).map(|at| state.index(row, at, rules));
            part.indices.extend(indices);
        }
    }
    part
}

pub fn rules<'a>(launch: &'a HostLaunch, wanted: Wanted) -> Rules<'a> {
    let indices = launch.ranges.and_then(|ranges| ranges.order(Axis::J));
    Rules {
        instructions: launch.instructions,
        spec: launch.spec(wanted),
        largest: match launch.precision {
            Precision::F64 => f64::MAX,
            _ => f32::MAX.into(),
        },
        indices: indices.map(|indices| &**indices),
    }
}

/// Partial results to merge.
pub struct Merging<'a> {
    pub launch: &'a HostLaunch<'a>,
    pub parts: &'a [HostPart],
    pub wanted: Wanted,
}

impl Merging<'_> {
    /// The state of all rows, merged from all parts.
    fn state<R: HostResults>(&self, family: &R, rules: &Rules) -> R::State {
        let mut parts = self.parts.iter().map(|part| self.load(family, part, rules));
        let mut own = parts.next().expect("there are parts");
        for later in parts {
            family.merge(&mut own, &later, rules);
        }
        own
    }

    fn load<R: HostResults>(&self, family: &R, part: &HostPart, rules: &Rules) -> R::State {
        let (spec, rows) = (&rules.spec, self.launch.all_rows());
        let mut state = family.start(rules, rows);
        let (mut values, mut indices) = (part.values.iter(), part.indices.iter());
        for row in 0..rows {
            for plane in 0..spec.planes().len() {
                for at in 0..spec.plane_size(plane) {
                    let value = values.next().expect("the size was checked");
                    state.load(row, (plane, at), *value, rules);
                }
            }
            if spec.keeps_indices() {
                for at in 0..spec.entries() {
                    let index = indices.next().expect("the size was checked");
                    state.load_index(row, at, *index, rules);
                }
            }
        }
        state
    }
}

pub struct MergedResults<'a>(pub Merging<'a>);

impl WithFamily for MergedResults<'_> {
    type Output = Found;

    fn run<R: HostResults + Sync>(self, family: R) -> Found {
        let rules = rules(self.0.launch, self.0.wanted);
        let state = self.0.state(&family, &rules);
        Found::of(&family, &state, self.0.launch.all_rows(), &rules)
    }
}

pub struct MergedPart<'a>(pub Merging<'a>);

impl WithFamily for MergedPart<'_> {
    type Output = HostPart;

    fn run<R: HostResults + Sync>(self, family: R) -> HostPart {
        let rules = rules(self.0.launch, self.0.wanted);
        let state = self.0.state(&family, &rules);
        part(&state, self.0.launch.all_rows(), &rules)
    }
}
