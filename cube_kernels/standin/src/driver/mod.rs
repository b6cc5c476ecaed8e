//! The functions of the driver that the CUDA runtime calls, by their C names.

mod context;
mod device;
mod launches;
mod transfers;

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, MutexGuard};

use crate::machine::{Machine, Memory, Order};

/// What functions give: `CUresult`.
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
/// `CUDA_ERROR_UNKNOWN`: unlike those of a card, which make each later call fail, so that a test that fails takes the
/// others with it.
pub const FAULT: Status = 999;

/// What the tester asks for, by variables of the environment.
pub struct Settings {
    /// The compute capability, as 90.
    pub capability: i32,
    /// The order of cubes and units.
    pub order: Order,
    /// Whether each launch is written to the standard error.
    pub log: bool,
}

/// The prefix of the variables.
const PREFIX: &str = "BURN_LAZY_STANDIN_";

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("{PREFIX}{name}")).ok()
}

/// Stops at a setting that means nothing: a test that runs with another is no test.
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

/// All that the driver holds.
#[derive(Default)]
pub struct Driver {
    /// The memory of the device.
    pub memory: Memory,
    /// Memory of the host that was asked for.
    pub host: Memory,
    /// What runs launches.
    pub machine: Machine,
    /// Kernels that were launched.
    pub launched: HashSet<String>,
    /// Launches so far.
    pub launches: u64,
    /// Launches that failed.
    pub failures: u64,
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(Mutex::default);

/// The driver, for one thread at a time.
pub fn driver() -> MutexGuard<'static, Driver> {
    DRIVER.lock().unwrap_or_else(|error| error.into_inner())
}

/// Says what is wrong, in one line.
pub fn complain(message: &str) {
    eprintln!("stand-in for CUDA: {message}");
}

/// Says at the end of the process how much ran.
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
        // SAFETY: a function of this library, which is never unloaded.
        unsafe { libc::atexit(report) };
    });
    SUCCESS
}
