//! Hands its arguments on to the program, and exits with the program's status.
//!
//! Cargo can build a test together with the other packages, but not a program that it runs. So the program has the
//! same features of CubeCL as the tests of the kernels, and CubeCL is built once for both. The arguments of the
//! program follow `--program`. Without it, as when all tests run, this does nothing: kernels are compiled in a
//! separate step.

use std::{
    env,
    process::{Command, exit},
};

fn main() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != "--program") {
        return;
    }
    // The paths in the arguments are relative to the root of the project, which is not the folder of a test.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut program = Command::new(env!("CARGO_BIN_EXE_burn-lazy-targets"));
    program.current_dir(root);
    let status = program.args(arguments).status();
    exit(status.expect("the program starts").code().unwrap_or(1));
}
