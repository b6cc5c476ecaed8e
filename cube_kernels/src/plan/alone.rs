//! Bounds of lists of smallest values, which the units of the schedule [`Alone`] find before the reduction.

use super::{Alone, Device, Problem, Schedule, tuning};

/// Whether kernels can find a bound of the lists before the reduction.
pub fn can_bound(device: &Device, problem: &Problem, own: &Alone) -> bool {
    let spec = problem.spec;
    spec.inserts()
        && spec.dim == 1
        && problem.ranges.is_none()
        && !Schedule::Alone(*own).reads_blocks(problem.program)
        // The iterations for the bound are not counted, so it is not possible where the number of iterations is
        // limited.
        && device.max_iterations.is_none()
}

/// One in this many columns is evaluated twice, to find a bound of lists of smallest values. `None` if that takes
/// more time than the insertions that it saves, or is not possible. If $s$ of $n$ columns give the bound, a list of
/// $k$ values is changed about $k (1 + \ln(n / s))$ times, each time for all lanes. The time is least if $n / s$ is
/// `best` below.
pub fn ahead(device: &Device, problem: &Problem, own: &Alone, columns: usize) -> Option<usize> {
    device.cores?;
    let k = problem.spec.depth();
    let insertion = tuning::insertion(k, problem.spec.is_list());
    let pair = problem.program.pair_work().max(1);
    let pays = insertion >= pair && columns >= 8 * k;
    if !pays || !can_bound(device, problem, own) {
        return None;
    }
    let best = columns.div_ceil(own.registers.lanes * k * insertion / pair);
    // A power of 4 is near enough, and similar numbers of columns then share a kernel.
    let powers = (0..usize::BITS / 2).map(|power| 1 << (2 * power));
    powers.take_while(|n| *n == 1 || *n < 2 * best).last()
}
