//! The set that is live: what the other parts get of it.

use time::OffsetDateTime;

use super::{
    Artefact, BundleReport, Error, Problem,
    artefact::{CA_CERT, JWKS, LeafId, PASSWORD, REVOCATIONS, SIGNING_KEY},
    judge::{Judged, text},
    put_back::PutBack,
    report::artefacts,
    state::{Published, State},
};
use crate::{
    config::{Config, Database},
    gateway::link::Revocations,
    secret::Secret,
    store::Set,
};

/// A certificate chain and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// PEM: leaf first, then intermediates.
    pub chain_pem: String,
    /// PKCS#8 PEM.
    pub key_pem: Secret<String>,
}

/// The set that is live.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its generation.
    pub generation: u64,
    /// Whether this call published it.
    pub changed: bool,
    /// Certificate and key of port 7233.
    pub server: Pair,
    /// The client pair of the container itself; absent with an offline CA that came without one.
    pub client: Option<Pair>,
    /// `ca.crt`: who is trusted.
    pub trust_pem: String,
    /// `temporal-jwks.json`.
    pub jwks: String,
    /// `temporal-jwt-private.key`.
    pub signing_key_pem: Secret<String>,
    /// What was revoked before its time.
    pub revocations: Revocations,
    /// The user's `POSTGRES_PWD`, or the one made here.
    pub postgres_password: Secret<String>,
    /// Everything with its state and end, for `status`.
    pub artefacts: Vec<Artefact>,
    /// What became of each bundle.
    pub bundles: Vec<BundleReport>,
    /// When the next renewal or retirement is due.
    pub next_due: Option<OffsetDateTime>,
    /// When what others hold was last replaced.
    pub published: Published,
    /// A new signing key is published, and the tokens are still those of the one before.
    pub behind: bool,
    /// This generation was put back in the place of one that failed.
    pub put_back: Option<PutBack>,
}

impl Live {
    pub(super) fn new(
        config: &Config,
        generation: u64,
        changed: bool,
        set: &Set,
        judged: &Judged,
        bundles: Vec<BundleReport>,
        now: OffsetDateTime,
    ) -> Result<Self, Error> {
        let get = |path: &str| text(set, path).map(|t| t.into_owned()).ok_or_else(|| missing(config, path));
        let artefacts = artefacts(config, set, judged, now);
        let own_password = match &config.temporal.database {
            Database::Postgres(postgres) => postgres.password.clone(),
            Database::Sqlite => None,
        };
        Ok(Self {
            generation,
            changed,
            server: pair(set, LeafId::Server).ok_or_else(|| missing(config, LeafId::Server.cert()))?,
            client: pair(set, LeafId::Client),
            trust_pem: get(CA_CERT)?,
            jwks: get(JWKS)?,
            signing_key_pem: get(SIGNING_KEY)?.into(),
            revocations: serde_json::from_str(&get(REVOCATIONS)?).map_err(|e| {
                let fix = "restore it: without it revoked tokens would pass again".to_owned();
                Error::Refused(vec![Problem { path: config.certs.dir.join(REVOCATIONS), what: e.to_string(), fix }])
            })?,
            postgres_password: match own_password {
                Some(password) => password,
                None => get(PASSWORD)?.into(),
            },
            next_due: artefacts.iter().filter_map(|a| a.renew_at).min(),
            artefacts,
            bundles,
            behind: judged.behind,
            published: State::of(set).published,
            put_back: State::of(set).put_back.filter(|note| note.generation == generation),
        })
    }
}

fn pair(set: &Set, id: LeafId) -> Option<Pair> {
    let (chain, key) = (text(set, id.cert())?, text(set, id.key())?);
    Some(Pair { chain_pem: chain.into_owned(), key_pem: key.into_owned().into() })
}

fn missing(config: &Config, path: &str) -> Error {
    let fix = "restore it, or start again to have it made".to_owned();
    Error::Refused(vec![Problem { path: config.certs.dir.join(path), what: "is missing".to_owned(), fix }])
}
