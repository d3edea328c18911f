//! `temporal-warden cert install`

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{Exit, ask};
use crate::rotation::{Installation, Signed};

/// Most that is read of one file: a chain is a few KiB.
const MAX: u64 = 1 << 20;

/// Arguments of `cert install`.
#[derive(Debug, Args)]
pub(super) struct Installing {
    /// Certificates as PEM, leafs and intermediates in any order; - reads standard input.
    #[arg(value_name = "FILE", required_unless_present = "trust")]
    files: Vec<PathBuf>,
    /// Trust this CA too, beside the warden's: the first step of a move to a CA of your own.
    #[arg(long, value_name = "CA.pem")]
    trust: Vec<PathBuf>,
}

pub(super) fn main(installing: &Installing) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let read = |files: &[PathBuf]| files.iter().map(|file| signed(file)).collect::<Result<Vec<_>, _>>();
    match (read(&installing.files), read(&installing.trust)) {
        (Ok(certificates), Ok(trust)) => ask::install(&config, &Installation { certificates, trust }),
        (Err(why), _) | (_, Err(why)) => {
            eprintln!("temporal-warden: {why}");
            Exit::Failed.into()
        }
    }
}

fn signed(file: &Path) -> Result<Signed, String> {
    let (name, opened) = match file.to_str() {
        Some("-") => ("standard input".to_owned(), Ok(Box::new(io::stdin()) as Box<dyn io::Read>)),
        _ => (file.display().to_string(), fs::File::open(file).map(|f| Box::new(f) as Box<dyn io::Read>)),
    };
    let unreadable =
        |e: io::Error| format!("{name} can't be read: {e}; name the certificates that were signed, as PEM");
    let mut bytes = Vec::new();
    let read = opened.and_then(|f| io::Read::read_to_end(&mut io::Read::take(f, MAX + 1), &mut bytes));
    read.map_err(unreadable)?;
    if bytes.len() as u64 > MAX {
        return Err(format!("{name} is larger than 1 MiB; name the certificates that were signed, as PEM"));
    }
    Ok(Signed { pem: String::from_utf8_lossy(&bytes).into_owned(), name })
}
