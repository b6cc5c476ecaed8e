//! Bounds of lists of smallest values, which units that stand alone find beforehand.

use super::{Alone, Device, Problem, Schedule, tuning};

/// Whether kernels can bound lists beforehand.
pub fn can_bound(device: &Device, problem: &Problem, own: &Alone) -> bool {
    let spec = problem.spec;
    spec.inserts()
        && spec.dim == 1
        && problem.ranges.is_none()
        && !Schedule::Alone(*own).reads_blocks(problem.program)
        // Columns are split without the iterations that it takes.
        && device.max_iterations.is_none()
}

/// Of how many columns one is evaluated twice for a bound of lists of smallest values, where that takes less time
/// than the insertions that it saves. With a bound of $s$ of $n$ columns a list of $k$ values is changed about
/// $k (1 + \ln(n / s))$ times, each time for all lanes, so that the time is least with $s$ as below.
pub fn ahead(device: &Device, problem: &Problem, own: &Alone, columns: usize) -> Option<usize> {
    device.cores?;
    let k = problem.spec.depth();
    let insertion = tuning::insertion(k);
    let pair = problem.program.pair_work().max(1);
    let pays = insertion >= pair && columns >= 8 * k;
    if !pays || !can_bound(device, problem, own) {
        return None;
    }
    let best = columns.div_ceil(own.registers.lanes * k * insertion / pair);
    // A power of 4 is near enough, and other numbers of columns need no other kernel.
    let powers = (0..usize::BITS / 2).map(|power| 1 << (2 * power));
    powers.take_while(|n| *n == 1 || *n < 2 * best).last()
}
