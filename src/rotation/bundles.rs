//! What each consumer may see (contract §1), and publishing it where its folder is a mount.

use std::{fmt, path::PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::artefact::{CA_CERT, LeafId, PASSWORD, TokenId};
use crate::{
    config::{Config, Database},
    store::{File, Mounts, Set, publish_bundle},
};

/// What became of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleReport {
    /// `client`, `worker`, `postgres` or `ui`.
    pub name: &'static str,
    /// Its folder.
    pub path: PathBuf,
    /// What became of it.
    #[serde(flatten)]
    pub state: BundleState,
}

/// What became of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "snake_case")]
pub enum BundleState {
    /// Written as this generation.
    Published(u64),
    /// Already there, unchanged.
    Current,
    /// Not wanted, or not possible, and why.
    Skipped(String),
    /// Tried and failed; the set itself is published.
    Failed(String),
}

impl fmt::Display for BundleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, path, state } = self;
        match state {
            BundleState::Published(n) => write!(f, "published bundle {name} as generation {n} of {}", path.display()),
            BundleState::Current => write!(f, "bundle {name} is current"),
            BundleState::Skipped(why) => write!(f, "bundle {name} skipped: {why}"),
            BundleState::Failed(why) => write!(f, "bundle {name} could not be published: {why}"),
        }
    }
}

struct Bundle {
    name: &'static str,
    gid: u32,
    /// Name in the bundle and path in the set.
    files: Vec<(&'static str, &'static str)>,
}

fn table(config: &Config) -> [Bundle; 4] {
    let leaf = |id: LeafId, token: (&'static str, TokenId)| {
        vec![
            (CA_CERT, CA_CERT),
            ("temporal-client.crt", id.cert()),
            ("temporal-client.key", id.key()),
            (token.0, token.1.path()),
        ]
    };
    let (apps, postgres) = (config.certs.publish_gid, config.certs.postgres_gid);
    let database = vec![
        (CA_CERT, CA_CERT),
        ("server.crt", LeafId::Postgres.cert()),
        ("server.key", LeafId::Postgres.key()),
        ("password", PASSWORD),
    ];
    [
        Bundle { name: "client", gid: apps, files: leaf(LeafId::Client, ("client-token.jwt", TokenId::Client)) },
        Bundle { name: "worker", gid: apps, files: leaf(LeafId::Worker, ("worker-token.jwt", TokenId::Worker)) },
        Bundle { name: "postgres", gid: postgres, files: database },
        Bundle { name: "ui", gid: apps, files: leaf(LeafId::Ui, ("ui-token.jwt", TokenId::Ui)) },
    ]
}

/// Publishes every bundle whose folder is a mount. One that fails does not keep the others back.
pub(super) fn publish(config: &Config, set: &Set, mounts: &Mounts, now: OffsetDateTime) -> Vec<BundleReport> {
    table(config).iter().map(|bundle| publish_one(bundle, config, set, mounts, now)).collect()
}

fn publish_one(bundle: &Bundle, config: &Config, set: &Set, mounts: &Mounts, now: OffsetDateTime) -> BundleReport {
    let path = config.certs.publish_dir.join(bundle.name);
    let state = if !mounts.contains(&path) {
        BundleState::Skipped("its folder is not a mount".to_owned())
    } else {
        match contents(bundle, config, set) {
            Err(missing) => BundleState::Skipped(format!("there is no {missing}")),
            Ok(files) => match publish_bundle(&path, &files, now) {
                Ok(Some(generation)) => BundleState::Published(generation),
                Ok(None) => BundleState::Current,
                Err(e) => BundleState::Failed(e.to_string()),
            },
        }
    };
    BundleReport { name: bundle.name, path, state }
}

fn contents(bundle: &Bundle, config: &Config, set: &Set) -> Result<Set, &'static str> {
    let mut files = Set::new();
    for (name, path) in &bundle.files {
        let bytes = match (*path, &config.temporal.database) {
            (PASSWORD, Database::Postgres(postgres)) if postgres.password.is_some() => {
                let own = postgres.password.as_ref().map(|p| p.expose().as_bytes().to_vec());
                Zeroizing::new(own.unwrap_or_default())
            }
            _ => set.get(*path).ok_or(*path)?.bytes.clone(),
        };
        let mode = if name.ends_with(".crt") { 0o644 } else { 0o640 };
        files.insert((*name).to_owned(), File { bytes, mode, gid: Some(bundle.gid) });
    }
    Ok(files)
}
