//! `temporal-warden cert csr`

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{Exit, ask, output::print, output::print_line};
use crate::{
    admin::{ControlError, Reply, Request},
    audit::Act,
    clock,
    rotation::{self, Csr, CsrWish},
};

/// Arguments of `cert csr`.
#[derive(Debug, Args)]
pub(super) struct Requesting {
    /// server, client, worker, ui, postgres; each that needs a certificate when none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// By new keys; those in use stay until the certificates are installed.
    #[arg(long)]
    new_keys: bool,
    /// Write NAME.csr files there instead of printing them.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn main(requesting: &Requesting) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Requesting { names, all, new_keys, .. } = requesting;
    let wish = CsrWish { names: names.clone(), all: *all, new_keys: *new_keys };
    match ask::ask(&config, &Request::Csr { wish: wish.clone() }, |_| {}) {
        Ok(Reply::Requests { requests }) => give(requesting, &requests),
        Ok(Reply::Failed { reason }) => {
            eprintln!("temporal-warden: {reason}");
            Exit::Failed.into()
        }
        Ok(other) => ask::unexpected(&other),
        Err(ControlError::NotRunning { .. }) => match rotation::requests(&config, clock::now(), &wish) {
            Ok(requests) => {
                ask::note(&config, Act::RequestCertificates, wish.to_string().trim_end_matches("; "));
                give(requesting, &requests)
            }
            Err(error) => ask::failed(&error),
        },
        Err(error) => ask::failed(&error),
    }
}

fn give(requesting: &Requesting, requests: &[Csr]) -> ExitCode {
    match &requesting.out {
        None => requests.iter().for_each(|request| print(&request.pem)),
        Some(folder) => {
            if let Err(why) = write(folder, requests) {
                eprintln!("temporal-warden: {why}");
                return Exit::Failed.into();
            }
        }
    }
    Exit::Done.into()
}

fn write(folder: &Path, requests: &[Csr]) -> Result<(), String> {
    let failed = |path: &Path, e: std::io::Error| format!("{} can't be written: {e}", path.display());
    fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    for request in requests {
        let path = folder.join(format!("{}.csr", request.name));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        let mut file = file.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("{} is there already; remove it, or name another folder with --out", path.display())
            }
            _ => failed(&path, e),
        })?;
        file.write_all(request.pem.as_bytes()).map_err(|e| failed(&path, e))?;
        let key = if request.new_key { "a new key, which waits for it" } else { "the key in use" };
        print_line(&format!("wrote {}: a request for {} by {key}", path.display(), request.file));
    }
    print_line("have them signed, then: temporal-warden cert install CERTIFICATE...");
    Ok(())
}
