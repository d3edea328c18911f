//! Tokens and revocations that people ask for by hand, beyond what the warden makes for itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Error, Problem,
    artefact::{FLAT, JWKS, LeafId, REVOCATIONS, SIGNING_KEY},
    inputs,
    judge::{revocations, span, text},
};
use crate::{
    config::Config,
    pki::Certificate,
    store::{Generations, Set},
    tokens::{self, Confirmation, ExternalVerifier, Grant, Scopes, SigningKey, Verified, Verifier},
};

/// A token someone asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Words of the `scope` claim.
    pub scope: String,
    /// `sub`; the first scope's word when not said.
    pub subject: Option<String>,
    /// `namespaces`; empty = all.
    pub namespaces: Vec<String>,
    /// From now to `exp`; `WARDEN_TOKEN_TTL` when not said.
    pub life: Option<Duration>,
    /// Certificate it is bound to: base64url SHA-256 (RFC 8705).
    pub certificate: Option<String>,
}

/// Mints what is wished with the current signing key. Takes no lock and writes nothing.
pub fn mint(config: &Config, now: OffsetDateTime, wish: &Wish) -> Result<String, Error> {
    let set = live_set(config)?;
    let grant = grant(config, wish);
    if revocations(&set).is_some_and(|revoked| revoked.subjects.contains(&grant.sub)) {
        let reason =
            format!("the subject {:?} is revoked: its tokens are refused; choose another --subject", grant.sub);
        return Err(Error::Make { path: "the token".to_owned(), reason });
    }
    if config.tokens.binding && grant.cnf_x5t.is_none() {
        let reason = "WARDEN_TOKEN_BINDING=true refuses a token without --bind CERT.pem".to_owned();
        return Err(Error::Make { path: "the token".to_owned(), reason });
    }
    let Some(pem) = text(&set, SIGNING_KEY) else {
        return Err(refused(config, SIGNING_KEY, "is missing", "run `temporal-warden init` to have it made"));
    };
    let error = |source| Error::Token { path: SIGNING_KEY.to_owned(), source };
    tokens::mint(&SigningKey::from_pem(&pem).map_err(error)?, &grant, now).map_err(error)
}

/// A minted token in words, for the audit log: everything by which it can be told and revoked, never the token.
pub fn minted(claims: &serde_json::Map<String, serde_json::Value>) -> String {
    let told = ["jti", "sub", "scope", "namespaces", "exp"].into_iter().filter_map(|name| {
        let value = claims.get(name)?;
        Some(format!("{name} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// Judges a token by the keys and revocations of the live set, as the gateway does; the refusal in words.
pub fn verify_token(config: &Config, now: OffsetDateTime, compact: &str) -> Result<Verified, String> {
    let set = live_set(config).map_err(|e| e.to_string())?;
    let jwks = text(&set, JWKS).ok_or_else(|| refused(config, JWKS, "is missing", "restore it").to_string())?;
    let verifier = Verifier::new(&jwks, &config.tokens.issuer, &config.tokens.audience);
    let verified = verifier.map_err(|e| format!("{JWKS} {e}"))?.verify(compact, now).map_err(|e| e.to_string())?;
    not_revoked(&set, verified)
}

/// The same for a token of another issuer, by that issuer's keys.
pub fn verify_external(
    config: &Config,
    verifier: &ExternalVerifier,
    now: OffsetDateTime,
    compact: &str,
) -> Result<Verified, String> {
    let set = live_set(config).map_err(|e| e.to_string())?;
    not_revoked(&set, verifier.verify(compact, now).map_err(|e| e.to_string())?)
}

fn not_revoked(set: &Set, verified: Verified) -> Result<Verified, String> {
    let revoked = revocations(set).unwrap_or_default();
    match revoked.jti.contains(&verified.jti) || revoked.subjects.contains(&verified.sub) {
        true => Err("the token was revoked".to_owned()),
        false => Ok(verified),
    }
}

fn grant(config: &Config, wish: &Wish) -> Grant {
    let scopes = Scopes::parse(&wish.scope);
    let first = scopes.iter().next().map(|scope| scope.as_str().to_owned());
    Grant {
        issuer: config.tokens.issuer.clone(),
        audience: config.tokens.audience.clone(),
        sub: wish.subject.clone().or(first).unwrap_or_default(),
        scopes,
        namespaces: Some(wish.namespaces.clone()).filter(|names| !names.is_empty()),
        cnf_x5t: wish.certificate.clone().map(Confirmation::exactly),
        life: span(wish.life.unwrap_or(config.tokens.ttl)),
    }
}

/// The serial that `cert revoke` means: one in hex, or that of a client certificate of the live set by the name of its
/// bundle, its file or its common name.
pub fn serial_of(config: &Config, named: &str) -> Result<String, Error> {
    let set = live_set(config)?;
    let chain = |id: LeafId| text(&set, id.cert()).and_then(|pem| Certificate::all_from_pem(&pem).ok());
    for id in LeafId::ALL {
        let Some(leaf) = chain(id).and_then(|chain| chain.into_iter().next()) else { continue };
        let serial = serial(named).is_some_and(|serial| serial == leaf.serial);
        match id.client_name() {
            Some(cn) if serial || is_named(id, cn, named) => return Ok(leaf.serial),
            None if serial || named == id.cert() => {
                let fix =
                    "to replace it run `temporal-warden cert generate`; clients trust the old one until it expires";
                return Err(refused(
                    config,
                    id.cert(),
                    "is no client certificate, and clients ask for no revocations",
                    fix,
                ));
            }
            _ => {}
        }
    }
    serial(named).ok_or_else(|| {
        let what = format!("{named:?} is neither a serial in hex nor the name of a client certificate");
        let fix = "`temporal-warden cert list --json` shows the serials; names are client, worker and ui".to_owned();
        Error::Refused(vec![Problem { path: config.certs.dir.clone(), what, fix }])
    })
}

fn is_named(id: LeafId, cn: &str, named: &str) -> bool {
    cn == named || cn.strip_prefix("temporal-") == Some(named) || id.cert() == named
}

/// A serial as revocations name it, however OpenSSL or a browser writes it.
fn serial(text: &str) -> Option<String> {
    let hex: String = text.trim_start_matches("0x").chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let good = !hex.is_empty() && hex.len() <= 40 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = hex.trim_start_matches('0').to_ascii_lowercase();
    (good && !digits.is_empty()).then_some(digits)
}

pub(super) fn live_set(config: &Config) -> Result<Set, Error> {
    let snapshot = Generations::open_existing(&config.certs.dir)?.snapshot_unlocked(&FLAT)?;
    let problems = inputs::problems(&config.certs.dir, &snapshot);
    let set = inputs::to_set(&snapshot);
    match (problems.is_empty(), set.contains_key(REVOCATIONS) && revocations(&set).is_none()) {
        (false, _) => Err(Error::Refused(problems)),
        (true, true) => Err(refused(config, REVOCATIONS, "is not the JSON it should be", "restore it")),
        (true, false) => Ok(set),
    }
}

fn refused(config: &Config, name: &str, what: &str, fix: &str) -> Error {
    let (path, what, fix) = (config.certs.dir.join(name), what.to_owned(), fix.to_owned());
    Error::Refused(vec![Problem { path, what, fix }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_read_however_it_is_written() {
        for text in ["dead01", "DEAD01", "00:DE:AD:01", "0xdead01", "de ad 01"] {
            assert_eq!(serial(text).as_deref(), Some("dead01"), "{text}");
        }
        for text in ["", "0", "client", "temporal-client.crt", "dead-01", &"f".repeat(41)] {
            assert_eq!(serial(text), None, "{text}");
        }
    }
}
