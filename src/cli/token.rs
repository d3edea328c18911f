//! `temporal-warden token …`

use std::process::ExitCode;

use clap::Subcommand;

use super::{
    inspect::{self, Inspecting},
    mint::{self, Minting},
    revoke::{self, Revoking},
    status::{self, Subject},
};
use crate::rotation::Request;

/// Sub-commands of `token`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the system, worker, client and ui tokens anew.
    #[command(after_long_help = include_str!("help/token_generate.txt"))]
    Generate {
        /// Make a new signing key first. Tokens signed by the old one pass until the last of them has expired.
        #[arg(long)]
        rotate_key: bool,
    },
    /// Stop trusting the signing keys before the current one now.
    ///
    /// Every token they signed ends.
    #[command(after_long_help = include_str!("help/token_retire.txt"))]
    Retire,
    /// List tokens with scope and remaining life.
    #[command(after_long_help = include_str!("help/token_list.txt"))]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Mint a token and print it; nothing is stored.
    #[command(after_long_help = include_str!("help/token_mint.txt"))]
    Mint(Minting),
    /// Show what a token says, and whether the gateway would take it.
    #[command(after_long_help = include_str!("help/token_inspect.txt"))]
    Inspect(Inspecting),
    /// Revoke a token, or everything of a subject.
    ///
    /// It is refused from the next call on, and open calls end. There is no way back.
    #[command(after_long_help = include_str!("help/token_revoke.txt"))]
    Revoke(Revoking),
}

pub(super) fn main(command: &Command) -> ExitCode {
    match command {
        Command::Generate { rotate_key: false } => super::ask::make(Request::Tokens),
        Command::Generate { rotate_key: true } => super::ask::make(Request::RotateKey),
        Command::Retire => super::ask::make(Request::RetireKeys),
        Command::List { json } => status::list(Subject::Tokens, *json),
        Command::Mint(minting) => mint::main(minting),
        Command::Inspect(inspecting) => inspect::main(inspecting),
        Command::Revoke(revoking) => revoke::main(revoking),
    }
}
