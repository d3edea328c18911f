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

use super::{
    Exit, ask,
    mint::life,
    output::print_line,
    profile::{Material, Profiling, Target},
};
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
    #[arg(long, value_name = "DURATION", value_parser = life)]
    ttl: Option<Duration>,
    /// Folder to write; ./NAME when not given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    profiling: Profiling,
}

pub(super) fn main(issuing: &Issuing) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let target = match issuing.profiling.target(&config) {
        Ok(target) => target,
        Err(why) => {
            eprintln!("temporal-warden: {why}");
            return Exit::Failed.into();
        }
    };
    match target {
        // Everything is in what is printed: no folder is needed for it.
        Some(target) if target.is_printed() && issuing.out.is_none() => print_profile(&config, issuing, &target),
        target => write_folder(&config, issuing, target.as_ref()),
    }
}

fn print_profile(config: &Config, issuing: &Issuing, target: &Target) -> ExitCode {
    match issued(config, &wish(issuing)) {
        Ok(issued) => profiled(config, issuing, target, &issued, &contents(&issued)),
        Err(code) => code,
    }
}

fn write_folder(config: &Config, issuing: &Issuing, target: Option<&Target>) -> ExitCode {
    let out = issuing.out.clone().unwrap_or_else(|| PathBuf::from(&issuing.name));
    if out.symlink_metadata().is_ok() {
        eprintln!("temporal-warden: {} is there already; remove it, or name another folder with --out", out.display());
        return Exit::Failed.into();
    }
    match issued(config, &wish(issuing)) {
        Ok(issued) => match write(&out, &issued) {
            Ok(()) => told(config, issuing, target, &out, &issued),
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

fn told(config: &Config, issuing: &Issuing, target: Option<&Target>, out: &Path, issued: &Issued) -> ExitCode {
    if let Some(target) = target.filter(|target| target.is_printed()) {
        eprintln!("temporal-warden: wrote {}", out.display());
        return profiled(config, issuing, target, issued, &contents(issued));
    }
    print_line(&format!("wrote {}: the certificate of {}, {issued}", out.display(), issuing.name));
    print_line(&format!("it is not renewed by itself; to end it early: temporal-warden cert revoke {}", issued.serial));
    let Some(target) = target else { return Exit::Done.into() };
    match std::path::absolute(out) {
        Ok(folder) => profiled(config, issuing, target, issued, &Material::Folder(folder)),
        Err(error) => ask::failed(&error),
    }
}

fn contents(issued: &Issued) -> Material {
    Material::Contents { trust: issued.trust_pem.clone(), chain: issued.chain_pem.clone(), key: issued.key_pem.clone() }
}

fn profiled(config: &Config, issuing: &Issuing, target: &Target, issued: &Issued, material: &Material) -> ExitCode {
    let token = issued.token.as_ref().map(|token| token.expose().as_str());
    let told = format!("the certificate of {}, {issued}", issuing.name);
    target.put(config, issuing.namespace.first(), token, material, &told)
}
