//! The executable: see [`temporal_warden`].

use std::process::ExitCode;

fn main() -> ExitCode {
    temporal_warden::cli::main(std::env::args_os().collect())
}
