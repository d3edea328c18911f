//! `temporal-warden dependent …`: containers that are told when certificates or tokens changed.

use std::process::ExitCode;

use clap::Subcommand;

use super::ask;
use crate::admin::Request;

/// Sub-commands of `dependent`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List who is told what, who has been, and who is left alone.
    ///
    /// For each container that is left alone it says why.
    #[command(after_long_help = include_str!("help/dependent_list.txt"))]
    List,
    /// Tell those that still hold older certificates or tokens now.
    #[command(after_long_help = include_str!("help/dependent_restart.txt"))]
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
