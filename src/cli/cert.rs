//! `temporal-warden cert …`

use std::process::ExitCode;

use clap::Subcommand;

use super::status::{self, Subject};
use crate::rotation::Request;

/// Sub-commands of `cert`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make new server, client and database certificates, signed by the same CA or by a new one.
    #[command(
        after_help = "Examples:\n  temporal-warden cert generate\n  temporal-warden cert generate --keep-keys\n  temporal-warden cert generate --rotate-ca"
    )]
    Generate {
        /// Make a new CA first. Clients that trust only the old one go on working until it is retired.
        #[arg(long)]
        rotate_ca: bool,
        /// Keep the private keys, renew the certificates only.
        #[arg(long, conflicts_with = "new_keys")]
        keep_keys: bool,
        /// Make new private keys too (the default by hand).
        #[arg(long)]
        new_keys: bool,
    },
    /// Stop trusting the CA before the current one now, instead of when its last certificate has expired.
    #[command(after_help = "Example:\n  temporal-warden cert retire")]
    Retire,
    /// List certificates and keys with their remaining life.
    #[command(after_help = "Example:\n  temporal-warden cert list --json")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Verify every file: pairs, chain, names, dates. Exit 1 if anything is wrong.
    #[command(after_help = "Example:\n  temporal-warden cert verify && echo good")]
    Verify {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: &Command) -> ExitCode {
    match command {
        Command::Generate { keep_keys, rotate_ca: false, .. } => {
            super::ask::make(Request::Certificates { keep_keys: *keep_keys })
        }
        Command::Generate { keep_keys, .. } => super::ask::make(Request::RotateCa { keep_keys: *keep_keys }),
        Command::Retire => super::ask::make(Request::RetireCa),
        Command::List { json } => status::list(Subject::Certificates, *json),
        Command::Verify { json } => status::verify(Subject::Certificates, *json),
    }
}
