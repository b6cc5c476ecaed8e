//! Checks of the points and targets that a model is fitted to.

use burn::prelude::*;

use crate::error::LayerError;

/// Returns an error if there are no points, if the shapes of points and targets do not fit, or if a value is not
/// finite.
pub(crate) fn check_data(x: &Tensor<2>, t: &Tensor<2>) -> Result<(), LayerError> {
    let ([points, _], [targets, outputs]) = (x.dims(), t.dims());
    if points == 0 {
        return Err(LayerError::Empty("the points"));
    }
    if points != targets || outputs == 0 {
        return Err(LayerError::Shape {
            what: "the targets",
            shape: t.dims().to_vec(),
            other: "the points",
            other_shape: x.dims().to_vec(),
            expected: "a row for each point, and a column or more",
        });
    }
    check_finite("the points", x)?;
    check_finite("the targets", t)
}

/// Returns an error if a tensor has values that are not finite.
pub(crate) fn check_finite<const R: usize>(
    what: &'static str,
    tensor: &Tensor<R>,
) -> Result<(), LayerError> {
    let wrong = tensor.clone().is_finite().bool_not().any().into_data();
    match wrong.iter::<bool>().any(|wrong| wrong) {
        true => Err(LayerError::NotFinite(what)),
        false => Ok(()),
    }
}
