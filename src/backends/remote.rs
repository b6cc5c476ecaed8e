//! Devices of a server, as the client sees them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    backend::{
        Backend, DeviceId, DeviceOps, Remote,
        tensor::{Device, FloatTensor},
    },
    tensor::DType,
};
use burn_lazy_kernels::Wanted;

use super::{Supported, Unsupported, precision};
use crate::{kept::Kept, ops::Reduction, wire};

/// Whether the device of the server supports tensors of type `dtype`.
fn has(device: &Device<Remote>, dtype: DType) -> Result<bool, Unsupported> {
    static KNOWN: Kept<(DeviceId, DType), Option<bool>> = Kept::new();

    match precision(dtype) {
        None => Ok(false),
        // All devices support F32, so that the server need not be asked.
        Some(_) if dtype == DType::F32 => Ok(true),
        Some(_) => {
            // Burn panics if the session has ended. The answer is kept, as a session does not come back.
            let ask = AssertUnwindSafe(|| Remote::supports_dtype(device, dtype));
            let known = KNOWN.get((device.id(), dtype), |_| catch_unwind(ask).ok());
            known.ok_or_else(|| Unsupported::Sent("the server does not answer".into()))
        }
    }
}

impl Supported for Remote {
    fn check_type(device: &Self::Device, dtype: DType) -> Result<(), Unsupported> {
        match has(device, dtype)? {
            true => Ok(()),
            false => Err(Unsupported::Backend),
        }
    }

    /// Checks that the reduction can be sent. Only the server knows what else its device refuses, and puts an error
    /// into the result.
    fn check_reduction(
        _device: &Self::Device,
        _dtype: DType,
        (reduction, _): (&Reduction, Wanted),
        shapes: &[Vec<usize>],
    ) -> Result<(), Unsupported> {
        match shapes.is_empty() {
            // A formula without tensors is computed on the client.
            true => Ok(()),
            false => wire::check(reduction).map_err(|error| Unsupported::Sent(error.to_string())),
        }
    }

    fn is_processor(_device: &Self::Device) -> bool {
        false
    }

    fn is_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
        #[cfg(feature = "fusion")]
        return left.id == right.id;
        #[cfg(not(feature = "fusion"))]
        return left.id() == right.id();
    }
}
