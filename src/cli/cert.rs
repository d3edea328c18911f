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
    /// Make new certificates, signed by the same CA or by a new one.
    ///
    /// Those of the server, of clients and of the database, published together; connections go on.
    #[command(after_long_help = include_str!("help/cert_generate.txt"))]
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
    /// Stop trusting the CA before the current one now.
    ///
    /// Without it that happens when the last certificate it signed has expired.
    #[command(after_long_help = include_str!("help/cert_retire.txt"))]
    Retire,
    /// List certificates and keys with their remaining life.
    #[command(after_long_help = include_str!("help/cert_list.txt"))]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a client certificate: its connections end, it gets in no more.
    ///
    /// One of the warden's own is replaced by a new one. There is no way back.
    #[command(after_long_help = include_str!("help/cert_revoke.txt"))]
    Revoke {
        /// Serial in hex, or client, worker or ui for the one of that bundle.
        #[arg(value_name = "SERIAL|NAME")]
        certificate: String,
    },
    /// Write requests (CSR), to have certificates signed elsewhere.
    ///
    /// For a CA whose key is not here. Private keys stay where they are.
    #[command(after_long_help = include_str!("help/cert_csr.txt"))]
    Csr(Requesting),
    /// Make a client certificate for somebody further.
    ///
    /// It is written as a folder with ca.crt, certificate, key and, with --scope, a token.
    #[command(after_long_help = include_str!("help/cert_issue.txt"))]
    Issue(Issuing),
    /// Install certificates that were signed elsewhere.
    ///
    /// They are checked first, then published together.
    #[command(after_long_help = include_str!("help/cert_install.txt"))]
    Install(Installing),
    /// Verify every file: pairs, chain, names, dates.
    #[command(after_long_help = include_str!("help/cert_verify.txt"))]
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
