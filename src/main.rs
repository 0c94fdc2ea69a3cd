//! The `taffrail` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    taffrail::cli::main()
}
