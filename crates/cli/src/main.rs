//! The program: everything that can be tested is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stele_cli::run()
}
