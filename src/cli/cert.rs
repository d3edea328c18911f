//! `temporal-warden cert …`

use std::process::ExitCode;

use clap::Subcommand;

use super::{
    ask,
    csr::{self, Requesting},
    install::{self, Installing},
    issue::{self, Issuing},
    output::print_line,
    status::{self, Subject},
};
use crate::{
    gateway::link::Revocations,
    rotation::{self, Request},
};

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
    /// Revoke a client certificate: its connections end, it gets in no more. One of the warden's own is replaced.
    #[command(
        after_help = "Examples:\n  temporal-warden cert revoke worker\n  temporal-warden cert revoke 1f:a0:…   (serials: cert list --json)"
    )]
    Revoke {
        /// Serial in hex, or client, worker or ui for the one of that bundle.
        #[arg(value_name = "SERIAL|NAME")]
        certificate: String,
    },
    /// Write requests, to have certificates signed by a CA whose key is not here. Private keys stay where they are.
    #[command(
        after_help = "Examples:\n  temporal-warden cert csr --out ./requests\n  temporal-warden cert csr server > server.csr\n  temporal-warden cert csr --all --new-keys --out ./requests"
    )]
    Csr(Requesting),
    /// Make a client certificate for somebody further: a folder with ca.crt, certificate, key and, with --scope, a token.
    #[command(
        after_help = "Examples:\n  temporal-warden cert issue --name billing --scope temporal-client --namespace orders\n  temporal-warden cert issue --name ci --ttl 7d --out ./ci\n  temporal-warden cert issue --name alice --scope temporal-client --profile alice --profile-file - > alice.toml"
    )]
    Issue(Issuing),
    /// Install certificates that were signed elsewhere: checked first, then published together.
    #[command(
        after_help = "Examples:\n  temporal-warden cert install server.crt client.crt worker.crt intermediate.crt\n  cat *.crt | docker exec -i app_data_temporal_server temporal-warden cert install -\n  temporal-warden cert install --trust my-root.crt"
    )]
    Install(Installing),
    /// Verify every file: pairs, chain, names, dates. Exit 1 if anything is wrong.
    #[command(after_help = "Example:\n  temporal-warden cert verify && echo good")]
    Verify {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What is revoked stays revoked; the live set gets a new certificate in its place.
fn revoke(named: &str) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match rotation::serial_of(&config, named) {
        Ok(serial) => {
            print_line(&format!("revoking the certificate with serial {serial}"));
            ask::revoke(&config, Revocations { serials: [serial].into(), ..Revocations::default() })
        }
        Err(error) => ask::failed(&error),
    }
}

pub(super) fn main(command: &Command) -> ExitCode {
    match command {
        Command::Generate { keep_keys, rotate_ca: false, .. } => {
            ask::make(Request::Certificates { keep_keys: *keep_keys })
        }
        Command::Generate { keep_keys, .. } => ask::make(Request::RotateCa { keep_keys: *keep_keys }),
        Command::Retire => ask::make(Request::RetireCa),
        Command::Revoke { certificate } => revoke(certificate),
        Command::Csr(requesting) => csr::main(requesting),
        Command::Issue(issuing) => issue::main(issuing),
        Command::Install(installing) => install::main(installing),
        Command::List { json } => status::list(Subject::Certificates, *json),
        Command::Verify { json } => status::verify(Subject::Certificates, *json),
    }
}
