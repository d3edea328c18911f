//! `temporal-warden token …`

use std::process::ExitCode;

use clap::Subcommand;

use super::status::{self, Subject};
use crate::rotation::Request;

/// Sub-commands of `token`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the system, worker, client and ui tokens anew, signed by the current key.
    #[command(
        after_help = "Examples:\n  temporal-warden token generate\n  temporal-warden token generate --rotate-key"
    )]
    Generate {
        /// Make a new signing key first. Tokens signed by the old one pass until the last of them has expired.
        #[arg(long)]
        rotate_key: bool,
    },
    /// Stop trusting the signing keys before the current one now: every token they signed ends.
    #[command(after_help = "Example:\n  temporal-warden token retire")]
    Retire,
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
        Command::Generate { rotate_key: false } => super::ask::make(Request::Tokens),
        Command::Generate { rotate_key: true } => super::ask::make(Request::RotateKey),
        Command::Retire => super::ask::make(Request::RetireKeys),
        Command::List { json } => status::list(Subject::Tokens, *json),
    }
}
