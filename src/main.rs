//! The executable: see [`temporal_warden`].

#[cfg(target_env = "musl")]
mod memory;

use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: memory::ByProcess = memory::ByProcess::new();

fn main() -> ExitCode {
    #[cfg(target_env = "musl")]
    if std::env::args_os().nth(1).is_some_and(|command| command == "gateway") {
        ALLOCATOR.serve_threads();
    }
    temporal_warden::cli::main(std::env::args_os().collect())
}
