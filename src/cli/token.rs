//! `temporal-warden token …`

use std::process::ExitCode;

use clap::Subcommand;

use super::status::{self, Subject};
use crate::rotation::Request;

/// Sub-commands of `token`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the system, worker, client and ui tokens anew, signed by the current key.
    #[command(after_help = "Example:\n  temporal-warden token generate")]
    Generate,
    /// List tokens with scope and remaining life.
    #[command(after_help = "Example:\n  temporal-warden token list --json")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: &Command) -> ExitCode {
    match command {
        Command::Generate => super::ask::make(Request::Tokens),
        Command::List { json } => status::list(Subject::Tokens, *json),
    }
}
