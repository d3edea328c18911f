//! What a rotation starts from: the files found, who owns them, and the user's own CA.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{
    Error, Problem,
    artefact::{PASSWORD, REVOCATIONS, mode},
    judge::revocations,
};
use crate::{
    config::{Config, OwnCa},
    gateway::link::Revocations,
    secret::Secret,
    store::{File, Set, Snapshot, own_uid},
};

/// The user's own CA as read.
pub(super) struct OwnCaFiles {
    pub(super) cert_file: PathBuf,
    pub(super) cert_pem: String,
    pub(super) key_file: Option<PathBuf>,
    pub(super) key_pem: Option<Secret<String>>,
}

/// Reads `WARDEN_CA_CERT_FILE` and `WARDEN_CA_KEY_FILE`. They are input: never written, never copied.
pub(super) fn own_ca(config: &Config) -> Result<Option<OwnCaFiles>, Error> {
    let Some(OwnCa { cert_file, key_file }) = &config.certs.own_ca else { return Ok(None) };
    let cert_pem = read(cert_file, "WARDEN_CA_CERT_FILE")?;
    let key_pem = key_file.as_deref().map(|path| read(path, "WARDEN_CA_KEY_FILE")).transpose()?.map(Secret::new);
    Ok(Some(OwnCaFiles { cert_file: cert_file.clone(), cert_pem, key_file: key_file.clone(), key_pem }))
}

fn read(path: &Path, variable: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|e| {
        let fix = format!("{variable} must name a PEM file the warden can read");
        Error::Refused(vec![Problem { path: path.to_owned(), what: format!("can't be read: {e}"), fix }])
    })
}

/// The files found as a set with the modes they should have. Tokens put there by hand lose their newline.
pub(super) fn to_set(snapshot: &Snapshot) -> Set {
    let file = |path: &String, bytes: &Zeroizing<Vec<u8>>| {
        let bytes =
            if path.ends_with(".jwt") { Zeroizing::new(bytes.trim_ascii_end().to_vec()) } else { bytes.clone() };
        File { bytes, mode: mode(path), gid: None }
    };
    snapshot.files.iter().map(|(path, found)| (path.clone(), file(path, &found.bytes))).collect()
}

/// The set with more on its list of what is revoked; a list that can't be read is left to its judgement.
pub(super) fn with_revoked(set: &Set, more: &Revocations) -> Set {
    let mut set = set.clone();
    let all = match (set.get(REVOCATIONS), revocations(&set)) {
        (Some(_), None) => return set,
        (_, all) => all.unwrap_or_default().and(more),
    };
    if *more != Revocations::default()
        && let Ok(text) = serde_json::to_vec_pretty(&all)
    {
        let bytes = Zeroizing::new(text);
        set.insert(REVOCATIONS.to_owned(), File { bytes, mode: mode(REVOCATIONS), gid: None });
    }
    set
}

/// Files of another user, and a password that is not the one published.
pub(super) fn problems(dir: &Path, snapshot: &Snapshot) -> Vec<Problem> {
    let own = own_uid();
    let mut problems = Vec::new();
    for (path, found) in &snapshot.files {
        let (at, what, fix) = if found.uid != own {
            let what = format!("belongs to uid {}, not to uid {own}", found.uid);
            (dir.join(path), what, format!("if you trust it: chown {own} {}", dir.join(path).display()))
        } else if path == PASSWORD && !found.intact && !snapshot.flat.contains(path) {
            let fix = "restore it (an older generation beside it may have it) or set POSTGRES_PWD".to_owned();
            (dir.join(path), "is not what was published".to_owned(), fix)
        } else {
            continue;
        };
        problems.push(Problem { path: at, what, fix });
    }
    problems
}
