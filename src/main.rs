//! The executable: see [`temporal_warden`].

use std::process::ExitCode;

/// With musl's own allocator, which has one lock for all threads, a call costs several times the CPU.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    temporal_warden::cli::main(std::env::args_os().collect())
}
