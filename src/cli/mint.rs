//! `temporal-warden token mint`

use std::{
    fs,
    io::{IsTerminal, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    Exit, ask,
    output::{print, print_line},
    profile::{self, Profiling, Target},
};
use crate::{
    admin::{ControlError, Reply, Request},
    audit::Act,
    clock,
    config::Config,
    pki::Certificate,
    rotation::{self, Wish},
    tokens::{Scope, claimed},
};

/// Arguments of `token mint`.
#[derive(Debug, Args)]
pub(super) struct Minting {
    /// temporal-client, temporal-worker or temporal-system; several by commas or by repeating it.
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// Who the token is for, as the audit log and workflow histories name it; the scope's word when not given.
    #[arg(long, value_name = "SUB", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    subject: Option<String>,
    /// Limit it to this namespace; may be repeated.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Its life, e.g. 30d or 12h; WARDEN_TOKEN_TTL when not given.
    #[arg(long, value_name = "DURATION", value_parser = life)]
    ttl: Option<Duration>,
    /// Bind it to this client certificate (PEM): it passes only over a connection with that certificate.
    #[arg(long, value_name = "CERT.pem")]
    bind: Option<PathBuf>,
    #[command(flatten)]
    profiling: Profiling,
    /// The folder with the client certificate that the profile connects with; WARDEN_CERTS_DIR when not given.
    #[arg(long, value_name = "FOLDER", requires = "profile")]
    certs: Option<PathBuf>,
}

/// A duration that is more than none.
pub(super) fn life(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it would have ended before it begins; write for example 30d or 12h".to_owned()),
        Ok(life) => Ok(life),
        Err(why) => Err(format!("{why}; write for example 30d or 12h")),
    }
}

pub(super) fn main(minting: &Minting) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let wished = wish(minting).and_then(|wish| Ok((wish, wanted(minting, &config)?)));
    let (wish, wanted) = match wished {
        Ok(wished) => wished,
        Err(why) => {
            eprintln!("temporal-warden: {why}");
            return Exit::Failed.into();
        }
    };
    match ask::ask(&config, &Request::Mint { wish: wish.clone() }, |_| {}) {
        Ok(Reply::Token { token }) => deliver(&config, minting, wanted, token.expose()),
        Ok(Reply::Failed { reason }) => {
            eprintln!("temporal-warden: {reason}");
            Exit::Failed.into()
        }
        Ok(other) => ask::unexpected(&other),
        Err(ControlError::NotRunning { .. }) => match rotation::mint(&config, clock::now(), &wish) {
            Ok(token) => {
                let claims = claimed(&token).unwrap_or_default();
                ask::note(&config, Act::MintToken, &rotation::minted(&claims));
                deliver(&config, minting, wanted, &token)
            }
            Err(error) => ask::failed(&error),
        },
        Err(error) => ask::failed(&error),
    }
}

fn wish(minting: &Minting) -> Result<Wish, String> {
    let scopes: Vec<_> = minting.scope.iter().map(|scope| scope.as_str()).collect();
    Ok(Wish {
        scope: scopes.join(" "),
        subject: minting.subject.clone(),
        namespaces: minting.namespace.clone(),
        life: minting.ttl,
        certificate: minting.bind.as_deref().map(thumbprint).transpose()?,
    })
}

/// RFC 8705 §3.1 of the first certificate of a PEM file.
fn thumbprint(file: &std::path::Path) -> Result<String, String> {
    let wrong = |why: String| format!("--bind {}: {why}; give the client certificate as PEM", file.display());
    let pem = fs::read_to_string(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let chain = Certificate::all_from_pem(&pem).map_err(|e| wrong(e.to_string()))?;
    match chain.first().filter(|leaf| leaf.client_auth && !leaf.is_ca) {
        Some(leaf) => Ok(leaf.x5t()),
        None => Err(wrong("its first certificate is none of a client".to_owned())),
    }
}

/// Where a profile goes and what it connects with, if one is asked for.
fn wanted(minting: &Minting, config: &Config) -> Result<Option<(Target, profile::Material)>, String> {
    let Some(target) = minting.profiling.target(config)? else { return Ok(None) };
    let folder = minting.certs.as_deref().unwrap_or(&config.certs.dir);
    let material = profile::material(&target, folder)?;
    Ok(Some((target, material)))
}

/// On standard output, or in a profile.
fn deliver(config: &Config, minting: &Minting, wanted: Option<(Target, profile::Material)>, token: &str) -> ExitCode {
    let Some((target, material)) = wanted else { return show(token) };
    let told = rotation::minted(&claimed(token).unwrap_or_default());
    target.put(config, minting.namespace.first(), Some(token), &material, &told)
}

/// Without a line end in a file or pipe: SDKs silently drop a header value that ends in one.
fn show(token: &str) -> ExitCode {
    match stdout().is_terminal() {
        true => print_line(token),
        false => print(token),
    }
    Exit::Done.into()
}
