//! The executable: see [`temporal_warden`].

#[cfg(all(any(target_env = "musl", test), target_arch = "x86_64"))]
mod compare;
#[cfg(all(any(target_env = "musl", test), target_arch = "x86_64"))]
mod copy;
#[cfg(target_env = "musl")]
mod memory;
#[cfg(target_env = "musl")]
mod relro;
#[cfg(all(target_env = "musl", target_arch = "x86_64"))]
mod start;

use std::{env, ffi::OsString, process::ExitCode};

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: memory::ByProcess = memory::ByProcess::new();

fn main() -> ExitCode {
    #[cfg(target_env = "musl")]
    if let Err(error) = relro::protect() {
        eprintln!("temporal-warden: the program's constants stay writable: {error}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<OsString> = env::args_os().collect();
    #[cfg(target_env = "musl")]
    if arguments.get(1).is_some_and(|command| command == "gateway") {
        drop(arguments);
        ALLOCATOR.serve_threads();
        return temporal_warden::cli::main(env::args_os().collect());
    }
    temporal_warden::cli::main(arguments)
}
