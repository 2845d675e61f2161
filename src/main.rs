//! The `iron-runtime` command: hands its arguments to the library, which the Python package calls too.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(iron_runtime::cli::run(std::env::args_os().skip(1)))
}
