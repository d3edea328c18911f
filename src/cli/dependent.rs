//! `temporal-warden dependent …`: containers that are told when certificates or tokens changed.

use std::process::ExitCode;

use clap::Subcommand;

use super::ask;
use crate::admin::Request;

/// Sub-commands of `dependent`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Who is told what, who has been, and why each other container is left alone.
    #[command(after_help = "Example:\n  temporal-warden dependent list")]
    List,
    /// Tell those that still hold older certificates or tokens now.
    #[command(
        after_help = "Examples:\n  temporal-warden dependent restart\n  temporal-warden dependent restart --dry-run"
    )]
    Restart {
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) fn main(command: &Command) -> ExitCode {
    ask::running(&match command {
        Command::List | Command::Restart { dry_run: true } => Request::Dependents,
        Command::Restart { dry_run: false } => Request::TellDependents,
    })
}
