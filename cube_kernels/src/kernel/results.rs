//! The output buffers of a kernel.

use cubecl::prelude::*;

/// The output buffers of a kernel: one buffer for each kind of output that it writes, none for the others. `states`
/// are the maxima and sums that the values are made of.
#[derive(CubeType)]
pub struct Results<'a, A: Float, O: Float, I: Int> {
    pub values: &'a mut Sequence<Box<[O]>>,
    pub indices: &'a mut Sequence<Box<[I]>>,
    pub states: &'a mut Sequence<Box<[A]>>,
}

#[cube]
impl<'a, A: Float, O: Float, I: Int> Results<'a, A, O, I> {
    pub fn new(
        values: &'a mut Sequence<Box<[O]>>,
        indices: &'a mut Sequence<Box<[I]>>,
        states: &'a mut Sequence<Box<[A]>>,
    ) -> Results<'a, A, O, I> {
        Results::<'a, A, O, I> {
            values,
            indices,
            states,
        }
    }
}
