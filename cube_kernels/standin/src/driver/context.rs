//! Contexts, streams and events. Each call does its work before it returns, so that there is nothing to wait for.

use std::time::Instant;

use super::device::{Handle, give};
use super::{INVALID_VALUE, NOT_SUPPORTED, SUCCESS, Status};

/// A handle that is not null. Nothing reads what it points to.
fn some_handle() -> Handle {
    std::ptr::without_provenance_mut(64)
}

/// `cuDevicePrimaryCtxRetain`
#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, _: i32) -> Status {
    give!(context, some_handle())
}

/// `cuDevicePrimaryCtxRelease_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_: i32) -> Status {
    SUCCESS
}

/// `cuCtxSetCurrent`
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(_: Handle) -> Status {
    SUCCESS
}

/// `cuCtxGetCurrent`
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> Status {
    give!(context, some_handle())
}

/// `cuCtxGetDevice`
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetDevice(device: *mut i32) -> Status {
    give!(device, 0)
}

/// `cuCtxSynchronize`
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Status {
    SUCCESS
}

/// `cuCtxGetStreamPriorityRange`
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) -> Status {
    match give!(least, 0) {
        SUCCESS => give!(greatest, 0),
        other => other,
    }
}

/// `cuStreamCreate`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreate(stream: *mut Handle, _: u32) -> Status {
    give!(stream, some_handle())
}

/// `cuStreamCreateWithPriority`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreateWithPriority(stream: *mut Handle, _: u32, _: i32) -> Status {
    give!(stream, some_handle())
}

/// `cuStreamDestroy_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(_: Handle) -> Status {
    SUCCESS
}

/// `cuStreamSynchronize`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(_: Handle) -> Status {
    SUCCESS
}

/// `cuStreamQuery`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamQuery(_: Handle) -> Status {
    SUCCESS
}

/// `cuStreamWaitEvent`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(_: Handle, _: Handle, _: u32) -> Status {
    SUCCESS
}

/// `cuStreamBeginCapture_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(_: Handle, _: i32) -> Status {
    NOT_SUPPORTED
}

/// `cuStreamEndCapture`
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamEndCapture(_: Handle, _: *mut Handle) -> Status {
    NOT_SUPPORTED
}

/// `cuEventCreate`
#[unsafe(no_mangle)]
pub extern "C" fn cuEventCreate(event: *mut *mut Instant, _: u32) -> Status {
    give!(event, Box::into_raw(Box::new(Instant::now())))
}

/// `cuEventDestroy_v2`
///
/// # Safety
///
/// The event comes from [`cuEventCreate`] and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventDestroy_v2(event: *mut Instant) -> Status {
    if !event.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(event) });
    }
    SUCCESS
}

/// `cuEventRecord`
#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: *mut Instant, _: Handle) -> Status {
    give!(event, Instant::now())
}

/// `cuEventSynchronize`
#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(_: *mut Instant) -> Status {
    SUCCESS
}

/// `cuEventQuery`
#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(_: *mut Instant) -> Status {
    SUCCESS
}

/// `cuEventElapsedTime`
///
/// # Safety
///
/// The events come from [`cuEventCreate`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    from: *const Instant,
    to: *const Instant,
) -> Status {
    // SAFETY: as the caller promises.
    let (Some(from), Some(to)) = (unsafe { from.as_ref() }, unsafe { to.as_ref() }) else {
        return INVALID_VALUE;
    };
    let time = to.saturating_duration_since(*from);
    give!(milliseconds, (time.as_secs_f64() * 1e3) as f32)
}

/// `cuEventElapsedTime_v2`
///
/// # Safety
///
/// The same as for [`cuEventElapsedTime`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime_v2(
    milliseconds: *mut f32,
    from: *const Instant,
    to: *const Instant,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuEventElapsedTime(milliseconds, from, to) }
}
