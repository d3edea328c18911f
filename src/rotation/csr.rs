//! Requests for leafs that somebody else signs. Keys never leave the folder: a new one waits there for its certificate.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Error, Problem,
    apply::vault,
    artefact::{FLAT, LeafId, file},
    inputs,
    judge::{Judged, Judgement, Scene, judge, text},
    make::pki_error,
};
use crate::{
    config::Config,
    pki::Key,
    store::{Generations, Set},
};

/// Which requests someone asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsrWish {
    /// `server`, `client`, `worker`, `ui`, `postgres`; none = each leaf that needs a certificate.
    pub names: Vec<String>,
    /// Every leaf, whether it needs one or not.
    pub all: bool,
    /// Each by a new key.
    pub new_keys: bool,
}

/// For the audit log.
impl fmt::Display for CsrWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.names.is_empty() { "each that needs one".to_owned() } else { self.names.join(", ") };
        write!(f, "{}{}; ", if self.all { "all" } else { &which }, if self.new_keys { " by new keys" } else { "" })
    }
}

/// A request for one leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Csr {
    /// `server`, `client`, `worker`, `ui` or `postgres`.
    pub name: String,
    /// The file its certificate will be.
    pub file: String,
    /// PKCS#10 as PEM.
    pub pem: String,
    /// Its key waits in the folder; the one in use stays until the certificate is installed.
    pub new_key: bool,
}

/// Makes the requests. A key that is there is kept, the one of a request before included; a new one is published (mode
/// 0600) before its request is given out.
pub fn requests(config: &Config, now: OffsetDateTime, wish: &CsrWish) -> Result<Vec<Csr>, Error> {
    let own_ca = inputs::own_ca(config)?;
    let folder = Generations::open(&config.certs.dir)?;
    let _lock = folder.lock(config.certs.lock_timeout)?;
    let snapshot = folder.snapshot(&FLAT)?;
    let foreign = inputs::problems(&config.certs.dir, &snapshot);
    if !foreign.is_empty() {
        return Err(Error::Refused(foreign));
    }
    let mut set = inputs::to_set(&snapshot);
    let judged = judge(&set, &Scene { config, own_ca: own_ca.as_ref(), now, vault: &vault(config) });
    let mut requests = Vec::new();
    let mut new = false;
    for id in wanted(config, &judged, wish)? {
        let kept = if wish.new_keys { None } else { key_at_hand(id, &set, &judged) };
        new |= kept.is_none();
        requests.push(request(id, kept, config, &mut set)?);
    }
    if new {
        folder.publish(&set, now, &|_| Ok(()))?;
    }
    Ok(requests)
}

fn wanted(config: &Config, judged: &Judged, wish: &CsrWish) -> Result<Vec<LeafId>, Error> {
    let unknown = |name: &String| !judged.leafs.keys().any(|id| id.word() == name);
    if let Some(name) = wish.names.iter().find(|name| unknown(name)) {
        let words: Vec<_> = judged.leafs.keys().map(|id| id.word()).collect();
        let fix = format!("name {}{}", words.join(", "), if name == "postgres" { NO_DATABASE } else { "" });
        return Err(refused(config, format!("has no certificate called {name:?}"), fix));
    }
    let needs = |judgement: &Judgement| !matches!(judgement, Judgement::Good(_));
    let is_wanted = |id: &LeafId, judgement: &Judgement| match wish.names.is_empty() {
        true => wish.all || needs(judgement),
        false => wish.names.iter().any(|name| name == id.word()),
    };
    let wanted: Vec<_> = judged.leafs.iter().filter(|(id, j)| is_wanted(id, j)).map(|(id, _)| *id).collect();
    if wanted.is_empty() {
        let fix = "to have some signed all the same name them, or say --all".to_owned();
        return Err(refused(config, "holds no certificate that needs another now".to_owned(), fix));
    }
    Ok(wanted)
}

const NO_DATABASE: &str = " (postgres needs POSTGRES_SEEDS or WARDEN_POSTGRES_SANS)";

fn refused(config: &Config, what: String, fix: String) -> Error {
    Error::Refused(vec![Problem { path: config.certs.dir.clone(), what, fix }])
}

/// The key of a request under way, or the leaf's own. Whoever has the key of a revoked certificate would be in again.
fn key_at_hand(id: LeafId, set: &Set, judged: &Judged) -> Option<(Key, bool)> {
    let read = |path: &str| text(set, path).and_then(|pem| Key::from_pem(&pem).ok());
    let revoked = matches!(judged.leafs.get(&id), Some(Judgement::Revoked(_)));
    let requested = read(id.requested_key()).map(|key| (key, true));
    requested.or_else(|| read(id.key()).filter(|_| !revoked).map(|key| (key, false)))
}

fn request(id: LeafId, kept: Option<(Key, bool)>, config: &Config, set: &mut Set) -> Result<Csr, Error> {
    let path = id.requested_key();
    let (key, new_key) = match kept {
        Some(kept) => kept,
        None => {
            let key = Key::generate().map_err(pki_error(path))?;
            set.insert(path.to_owned(), file(path, key.to_pem().expose()));
            (key, true)
        }
    };
    // Only leafs with a profile are judged, and only judged ones get here.
    let pem = id.profile(config).map_or_else(|| Ok(String::new()), |profile| profile.request(&key));
    let pem = pem.map_err(pki_error(id.cert()))?;
    Ok(Csr { name: id.word().to_owned(), file: id.cert().to_owned(), pem, new_key })
}
