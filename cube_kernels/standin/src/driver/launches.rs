//! Modules, functions and launches.

use std::ffi::{CStr, c_char, c_void};
use std::panic::catch_unwind;
use std::time::Instant;

use super::device::{Handle, give};
use super::{
    FAULT, INVALID_PTX, INVALID_VALUE, NOT_FOUND, SETTINGS, SUCCESS, Status, complain, driver,
};
use crate::machine::{Kernel, Launch};
use crate::translate::{Code, compile};

/// A kernel of a module.
pub struct Function {
    code: *const Code,
    kernel: usize,
}

/// `cuModuleLoadData`
///
/// # Safety
///
/// The image is a text of PTX that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(
    module: *mut *const Code,
    image: *const c_char,
) -> Status {
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(image) }.to_string_lossy();
    let start = Instant::now();
    // A panic may not unwind out of a function that C calls.
    let code = match catch_unwind(|| compile(&text)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            complain(&error.to_string());
            return INVALID_PTX;
        }
        Err(_) => {
            complain("the compiler failed");
            return INVALID_PTX;
        }
    };
    if SETTINGS.log {
        let (lines, time) = (text.lines().count(), start.elapsed());
        complain(&format!("{lines} lines of PTX compiled in {time:.1?}"));
    }
    give!(module, Box::into_raw(Box::new(code)))
}

/// `cuModuleUnload`
///
/// # Safety
///
/// The module comes from [`cuModuleLoadData`]. Neither the module nor its functions are used
/// afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleUnload(module: *mut Code) -> Status {
    if !module.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(module) });
    }
    SUCCESS
}

/// `cuModuleGetFunction`
///
/// # Safety
///
/// The module comes from [`cuModuleLoadData`], and the name ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut *const Function,
    module: *const Code,
    name: *const c_char,
) -> Status {
    // SAFETY: as the caller promises.
    let (code, name) = unsafe { (module.as_ref(), CStr::from_ptr(name)) };
    let name = name.to_string_lossy();
    let kernel = code.and_then(|code| code.kernels.iter().position(|kernel| kernel.name == name));
    let Some(kernel) = kernel else {
        return NOT_FOUND;
    };
    let found = Function {
        code: module,
        kernel,
    };
    give!(function, Box::into_raw(Box::new(found)))
}

/// `cuFuncSetAttribute`
#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(_: Handle, _: i32, _: i32) -> Status {
    SUCCESS
}

/// `cuFuncGetAttribute`
#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetAttribute(value: *mut i32, _: i32, _: Handle) -> Status {
    give!(value, 0)
}

/// The bytes of the arguments of a kernel, each argument at its offset.
///
/// # Safety
///
/// `from` has a pointer for each argument.
unsafe fn arguments(kernel: &Kernel, from: *const *const c_void) -> Vec<u8> {
    let end = kernel.params.last().map_or(0, |(size, place)| place + size);
    let mut bytes = vec![0; end];
    for (k, (size, place)) in kernel.params.iter().enumerate() {
        // SAFETY: as the caller promises.
        unsafe {
            let argument = *from.add(k);
            let to = bytes.as_mut_ptr().add(*place);
            to.copy_from_nonoverlapping(argument.cast(), *size);
        }
    }
    bytes
}

/// `cuLaunchKernel`. The launch has ended when the call returns.
///
/// # Safety
///
/// The function comes from [`cuModuleGetFunction`], and there is a pointer for each of its arguments.
// The driver's function has these arguments.
#[allow(clippy::too_many_arguments)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: *const Function,
    cubes_x: u32,
    cubes_y: u32,
    cubes_z: u32,
    units_x: u32,
    units_y: u32,
    units_z: u32,
    shared_bytes: u32,
    _: Handle,
    from: *const *const c_void,
    _: *const *const c_void,
) -> Status {
    // SAFETY: as the caller promises; a module lives as long as its functions.
    let found = unsafe {
        function
            .as_ref()
            .map(|function| (&*function.code, function.kernel))
    };
    let Some((code, kernel)) = found else {
        return INVALID_VALUE;
    };
    let kernel = &code.kernels[kernel];
    // SAFETY: as the caller promises.
    let arguments = unsafe { arguments(kernel, from) };
    let launch = Launch {
        kernel,
        cubes: [cubes_x, cubes_y, cubes_z],
        units: [units_x, units_y, units_z],
        dynamic_bytes: shared_bytes,
        arguments: &arguments,
        order: SETTINGS.order,
    };
    let start = Instant::now();
    let mut driver = driver();
    let driver = &mut *driver;
    let result = driver.machine.run(&launch, &driver.memory, &code.globals);
    driver.launches += 1;
    driver.launched.insert(format!("{code:p}"));
    if SETTINGS.log {
        let (cubes, units, time) = (launch.cubes, launch.units, start.elapsed());
        let name = &kernel.name;
        complain(&format!(
            "{name}: {cubes:?} cubes of {units:?} units in {time:.1?}"
        ));
    }
    match result {
        Ok(()) => SUCCESS,
        Err(message) => {
            driver.failures += 1;
            complain(&message);
            FAULT
        }
    }
}
