//! The functions of the driver that the CUDA runtime calls, under their C names.

mod context;
mod device;
mod launches;
mod transfers;

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, MutexGuard};

use crate::machine::{Machine, Memory, Order};

/// The result of the driver's functions, `CUresult`.
pub type Status = i32;
/// `CUDA_SUCCESS`
pub const SUCCESS: Status = 0;
/// `CUDA_ERROR_INVALID_VALUE`
pub const INVALID_VALUE: Status = 1;
/// `CUDA_ERROR_OUT_OF_MEMORY`
pub const OUT_OF_MEMORY: Status = 2;
/// `CUDA_ERROR_INVALID_PTX`
pub const INVALID_PTX: Status = 218;
/// `CUDA_ERROR_NOT_FOUND`
pub const NOT_FOUND: Status = 500;
/// `CUDA_ERROR_NOT_SUPPORTED`
pub const NOT_SUPPORTED: Status = 801;
/// `CUDA_ERROR_UNKNOWN`, for a fault of a kernel. Later calls still succeed. After a fault on a card all later calls
/// fail, so that one failing test makes the others fail, too.
pub const FAULT: Status = 999;

/// Settings from variables of the environment.
pub struct Settings {
    /// The compute capability as a number such as 90.
    pub capability: i32,
    /// The order of cubes and units.
    pub order: Order,
    /// Whether each launch is written to the standard error.
    pub log: bool,
}

/// The prefix of the names of the variables.
const PREFIX: &str = "BURN_LAZY_STANDIN_";

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("{PREFIX}{name}")).ok()
}

/// Ends the process because of a setting without a meaning. A test that ran with another setting would prove nothing.
fn refused(name: &str, value: &str, known: &str) -> ! {
    complain(&format!(
        "{PREFIX}{name} is '{value}', which is none of {known}"
    ));
    std::process::exit(2)
}

fn order() -> Order {
    let Some(value) = variable("ORDER") else {
        return Order::Forward;
    };
    match value.as_str() {
        "forward" => Order::Forward,
        "backward" => Order::Backward,
        "alternating" => Order::Alternating,
        seed => match seed.parse() {
            Ok(seed) => Order::Random(seed),
            Err(_) => refused("ORDER", &value, "forward, backward, alternating, a seed"),
        },
    }
}

/// The settings, read once.
pub static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let capability = variable("CAPABILITY").unwrap_or_else(|| "90".into());
    let number = capability.parse().ok();
    let Some(number) = number.filter(|number| (75..=90).contains(number)) else {
        refused("CAPABILITY", &capability, "75 to 90");
    };
    if let Some(part) = variable("APPROXIMATE") {
        match part.parse() {
            Ok(part) if (-1.0..=1.0).contains(&part) => {
                crate::operations::approximate::set_shift(part);
            }
            _ => refused("APPROXIMATE", &part, "-1 to 1"),
        }
    }
    Settings {
        capability: number,
        order: order(),
        log: variable("LOG").is_some(),
    }
});

/// The state of the driver.
#[derive(Default)]
pub struct Driver {
    /// The memory of the device.
    pub memory: Memory,
    /// Memory of the host that the driver has allocated.
    pub host: Memory,
    /// The machine that runs launches.
    pub machine: Machine,
    /// The modules whose kernels were launched, by their addresses.
    pub launched: HashSet<String>,
    /// The number of launches.
    pub launches: u64,
    /// The number of launches that failed.
    pub failures: u64,
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(Mutex::default);

/// Locks the driver for the calling thread.
pub fn driver() -> MutexGuard<'static, Driver> {
    DRIVER.lock().unwrap_or_else(|error| error.into_inner())
}

/// Writes one line to the standard error.
pub fn complain(message: &str) {
    eprintln!("stand-in for CUDA: {message}");
}

/// Reports the number of launches when the process ends.
extern "C" fn report() {
    let driver = driver();
    if driver.launches > 0 {
        complain(&format!(
            "{} kernels in {} launches, {} of which failed; {} writes of what another unit wrote at the same time",
            driver.launched.len(),
            driver.launches,
            driver.failures,
            driver.machine.equal_writes
        ));
    }
}

/// `cuInit`
#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_: u32) -> Status {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        LazyLock::force(&SETTINGS);
        // SAFETY: `report` is a function of this library, which is never unloaded.
        unsafe { libc::atexit(report) };
    });
    SUCCESS
}
