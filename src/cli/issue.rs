//! `temporal-warden cert issue`

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{Exit, ask, output::print_line};
use crate::{
    admin::{ControlError, Reply, Request},
    audit::Act,
    clock,
    config::Config,
    rotation::{self, IssueWish, Issued, Wish},
    tokens::Scope,
};

/// Arguments of `cert issue`.
#[derive(Debug, Args)]
pub(super) struct Issuing {
    /// Who it is for: the common name, which the audit log shows.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A token beside it, with this scope and NAME as its subject; several by commas or by repeating it.
    #[arg(long, value_delimiter = ',', value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// Limit the token to this namespace; may be repeated.
    #[arg(long, value_name = "NAMESPACE", requires = "scope")]
    namespace: Vec<String>,
    /// Life of certificate and token, e.g. 30d; WARDEN_CERT_TTL and WARDEN_TOKEN_TTL when not given.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Folder to write; ./NAME when not given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn main(issuing: &Issuing) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let out = issuing.out.clone().unwrap_or_else(|| PathBuf::from(&issuing.name));
    if out.symlink_metadata().is_ok() {
        eprintln!("temporal-warden: {} is there already; remove it, or name another folder with --out", out.display());
        return Exit::Failed.into();
    }
    match issued(&config, &wish(issuing)) {
        Ok(issued) => match write(&out, &issued) {
            Ok(()) => told(issuing, &out, &issued),
            Err(e) => {
                eprintln!("temporal-warden: {} can't be written: {e}; name another folder with --out", out.display());
                Exit::Failed.into()
            }
        },
        Err(code) => code,
    }
}

fn wish(issuing: &Issuing) -> IssueWish {
    let scopes: Vec<_> = issuing.scope.iter().map(|scope| scope.as_str()).collect();
    let token = Wish {
        scope: scopes.join(" "),
        subject: Some(issuing.name.clone()),
        namespaces: issuing.namespace.clone(),
        life: issuing.ttl,
        certificate: None,
    };
    IssueWish { name: issuing.name.clone(), life: issuing.ttl, token: Some(token).filter(|_| !scopes.is_empty()) }
}

fn issued(config: &Config, wish: &IssueWish) -> Result<Issued, ExitCode> {
    match ask::ask(config, &Request::Issue { wish: wish.clone() }, |_| {}) {
        Ok(Reply::Issued(issued)) => Ok(*issued),
        Ok(Reply::Failed { reason }) => {
            eprintln!("temporal-warden: {reason}");
            Err(Exit::Failed.into())
        }
        Ok(other) => Err(ask::unexpected(&other)),
        Err(ControlError::NotRunning { .. }) => {
            let issued = rotation::issue(config, clock::now(), wish).map_err(|error| ask::failed(&error))?;
            ask::note(config, Act::IssueCertificate, &format!("{}; {issued}", wish.name));
            Ok(issued)
        }
        Err(error) => Err(ask::failed(&error)),
    }
}

/// The files of a `client` bundle, for their owner alone: who is to read them is not known here.
fn write(out: &Path, issued: &Issued) -> io::Result<()> {
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(out)?;
    let token = issued.token.as_ref().map(|token| ("client-token.jwt", token.expose(), 0o600));
    let files = [
        ("ca.crt", &issued.trust_pem, 0o644),
        ("temporal-client.crt", &issued.chain_pem, 0o644),
        ("temporal-client.key", issued.key_pem.expose(), 0o600),
    ];
    for (name, text, mode) in files.into_iter().chain(token) {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(out.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    Ok(())
}

fn told(issuing: &Issuing, out: &Path, issued: &Issued) -> ExitCode {
    print_line(&format!("wrote {}: the certificate of {}, {issued}", out.display(), issuing.name));
    print_line(&format!("it is not renewed by itself; to end it early: temporal-warden cert revoke {}", issued.serial));
    Exit::Done.into()
}
