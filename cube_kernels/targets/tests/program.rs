//! Hands its arguments on to the program, and ends as the program does.
//!
//! Cargo can build a test together with the other packages, but not a program that it runs. So the program has the same
//! features of CubeCL as the tests of the kernels, and CubeCL is built once for both. What follows `--program` are the
//! arguments. Without it, as where all tests run, there is nothing to do: kernels are compiled in a step of its own.

use std::{
    env,
    process::{Command, exit},
};

fn main() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != "--program") {
        return;
    }
    // Paths are those of the whole project, where cargo runs programs, and not tests.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut program = Command::new(env!("CARGO_BIN_EXE_burn-lazy-targets"));
    program.current_dir(root);
    let status = program.args(arguments).status();
    exit(status.expect("the program starts").code().unwrap_or(1));
}
