//! A client certificate for somebody further, handed out and not kept: who loses it asks again.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Error, Problem, Wish,
    apply::vault,
    artefact::{CA_CERT, LeafId},
    authority::Issuing,
    inputs,
    judge::{Scene, date, judge, span, text},
    make::{authority, pki_error},
    wish::{live_set, mint},
};
use crate::{
    config::{Config, SanName},
    pki::{Certificate, Key, Profile},
    secret::Secret,
};

/// Longest common name (RFC 5280, ub-common-name).
const LONGEST: usize = 64;

/// Whose certificate someone asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueWish {
    /// Common name, as the audit log shows it.
    pub name: String,
    /// From now to its end; `WARDEN_CERT_TTL` when not said.
    pub life: Option<Duration>,
    /// A token beside it.
    pub token: Option<Wish>,
}

/// A bundle of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Issued {
    /// PEM: the leaf, then what leads to the CA.
    pub chain_pem: String,
    /// PKCS#8 PEM.
    pub key_pem: Secret<String>,
    /// `ca.crt`.
    pub trust_pem: String,
    /// By which it can be revoked.
    pub serial: String,
    /// Its last moment.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The token that was asked for.
    pub token: Option<Secret<String>>,
}

/// For the audit log: nothing secret.
impl fmt::Display for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {}, until {}", self.serial, date(self.not_after))
    }
}

/// Makes key, certificate and, where asked for, token. Takes no lock and writes nothing.
pub fn issue(config: &Config, now: OffsetDateTime, wish: &IssueWish) -> Result<Issued, Error> {
    check(config, wish).map_err(|(what, fix)| refused(what, fix))?;
    let own_ca = inputs::own_ca(config)?;
    let (set, vault) = (live_set(config)?, vault(config));
    let judged = judge(&set, &Scene { config, own_ca: own_ca.as_ref(), now, vault: &vault });
    if let Some(problem) = judged.authority.problem() {
        return Err(Error::Refused(vec![problem.clone()]));
    }
    if let Issuing::Offline { fix } = &judged.issuing {
        return Err(refused(format!("{:?} can't be signed: the CA key is absent", wish.name), fix.clone()));
    }
    let authority = authority(&set, own_ca.as_ref(), &vault)?;
    let key = Key::generate().map_err(pki_error(&wish.name))?;
    let profile = Profile::Client { cn: wish.name.clone() };
    let life = span(wish.life.unwrap_or(config.certs.cert_ttl));
    let leaf = authority.issue(&profile, &key, now, life).map_err(pki_error(&wish.name))?;
    let bridge = judged.overlap.and_then(|overlap| overlap.cross).map(|cross| cross.to_pem());
    let chain_pem = leaf.chain_pem + &bridge.unwrap_or_default();
    let chain = Certificate::all_from_pem(&chain_pem).map_err(pki_error(&wish.name))?;
    Ok(Issued {
        token: wish.token.as_ref().map(|token| bound(config, now, token, &chain[0])).transpose()?,
        serial: chain[0].serial.clone(),
        not_after: leaf.not_after,
        chain_pem,
        key_pem: key.to_pem(),
        trust_pem: text(&set, CA_CERT).unwrap_or_default().into_owned(),
    })
}

/// Bound to the certificate where the settings ask for that.
fn bound(config: &Config, now: OffsetDateTime, token: &Wish, leaf: &Certificate) -> Result<Secret<String>, Error> {
    let certificate = config.tokens.binding.then(|| leaf.x5t());
    mint(config, now, &Wish { certificate, ..token.clone() }).map(Secret::new)
}

fn check(config: &Config, wish: &IssueWish) -> Result<(), (String, String)> {
    let name = &wish.name;
    let dns = name.len() <= LONGEST && matches!(name.parse(), Ok(SanName::Dns(_))) && !name.starts_with('*');
    if !dns {
        let fix = "choose a name of at most 64 letters, digits, -, _ and dots, for example billing".to_owned();
        return Err((format!("{name:?} can't be the name of a client"), fix));
    }
    let own = LeafId::ALL.into_iter().any(|id| id.word() == name || id.client_name() == Some(name.as_str()));
    if own || name.starts_with("temporal-") {
        let fix = "choose another, so that the audit log tells them apart".to_owned();
        return Err((format!("{name:?} is a name of the warden's own"), fix));
    }
    match wish.life {
        // What the CA before signed must have ended when it is retired.
        Some(life) if life > config.certs.cert_ttl => {
            let fix = "choose a shorter one, or raise WARDEN_CERT_TTL".to_owned();
            Err((format!("{name:?} can't live longer than WARDEN_CERT_TTL"), fix))
        }
        _ => Ok(()),
    }
}

fn refused(what: String, fix: String) -> Error {
    Error::Refused(vec![Problem { path: "the certificate".into(), what: format!("for {what}"), fix }])
}
