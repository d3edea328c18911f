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
    /// Mint a token and print it; nothing is stored.
    #[command(
        after_help = "Examples:\n  temporal-warden token mint --scope temporal-client --subject billing --namespace orders --ttl 30d > billing.jwt\n  temporal-warden token mint --scope temporal-worker --bind /etc/temporal/certs/temporal-client.crt\n  temporal-warden token mint --scope temporal-client --subject alice --profile alice   (then: temporal --profile alice workflow list)"
    )]
    Mint(Minting),
    /// Show what a token says, and whether the gateway would take it. Exit 1 when not.
    #[command(
        after_help = "Examples:\n  temporal-warden token inspect /etc/temporal/certs/client-token.jwt\n  temporal-warden token inspect billing.jwt --can StartWorkflowExecution"
    )]
    Inspect(Inspecting),
    /// Refuse a token or everything of a subject from the next call on; open calls end. There is no way back.
    #[command(
        after_help = "Examples:\n  temporal-warden token revoke 0193a1b2-…            (a jti, as the audit log names it)\n  temporal-warden token revoke ./stolen.jwt\n  temporal-warden token revoke --subject billing"
    )]
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
