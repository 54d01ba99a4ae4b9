//! The program: everything that can be tested is in the library.

use std::process::ExitCode;

/// Records and objects are many small allocations on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    stele_cli::run()
}
