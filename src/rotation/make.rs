//! Making what the plan says, in memory: the set grows, nothing touches the disk.

use std::{collections::BTreeSet, fmt::Display};

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    Error,
    artefact::{CA_CERT, CA_KEY, JWKS, LeafId, PASSWORD, PUBLIC_KEY, REVOCATIONS, SIGNING_KEY, STATE, TokenId, file},
    inputs::OwnCaFiles,
    judge::{Judged, Scene, revocations, span, text},
    leafs,
    plan::{Item, KeyChoice},
    signing,
    state::{Change, State},
};
use crate::{
    config::Config,
    pki::{Authority, Certificate, Key, Vault},
    secret::Secret,
    store::Set,
    tokens::{Grant, SigningKey, jwks, mint},
};

/// What was brought from elsewhere, as a publication lists it.
pub(super) const GIVEN: &str = "what was given";

/// Everything making needs, and the set it grows.
pub(super) struct Maker<'a> {
    pub(super) config: &'a Config,
    pub(super) own_ca: Option<&'a OwnCaFiles>,
    pub(super) judged: &'a Judged,
    pub(super) now: OffsetDateTime,
    pub(super) set: Set,
    /// `state.json` to be.
    pub(super) state: State,
    /// What was there before and is another now.
    replaced: BTreeSet<&'static str>,
    /// Carried by leaf chains while the CA before is trusted.
    pub(super) cross: Option<Certificate>,
    /// Opens and encrypts the CA key.
    pub(super) vault: &'a Vault,
}

impl<'a> Maker<'a> {
    pub(super) fn new(scene: &Scene<'a>, judged: &'a Judged, set: Set, replaced: BTreeSet<&'static str>) -> Self {
        let cross = judged.overlap.as_ref().and_then(|overlap| overlap.cross.clone());
        let (config, own_ca, now, vault) = (scene.config, scene.own_ca, scene.now, scene.vault);
        Self { config, own_ca, judged, now, state: State::of(&set), set, replaced, cross, vault }
    }

    /// Makes one item; answers with its name.
    pub(super) fn make(&mut self, item: Item) -> Result<&'static str, Error> {
        match item {
            Item::Authority => self.make_authority(),
            Item::Rollover => self.roll_over(),
            Item::Retirement => self.retire(),
            Item::Trust => {
                let trust = self.judged.new_trust.clone().unwrap_or_default();
                Ok(self.put(CA_CERT, trust))
            }
            Item::SealKey => {
                let clear = self.vault.open(&text(&self.set, CA_KEY).unwrap_or_default()).map_err(pki_error(CA_KEY))?;
                self.put_ca_key(&clear)?;
                Ok(CA_KEY)
            }
            // It lies in the set already: the publication is what is left to do.
            Item::Signed => Ok(GIVEN),
            Item::Leaf(id, choice) => self.make_leaf(id, choice),
            Item::SigningKey => {
                let key = SigningKey::generate().map_err(token_error(SIGNING_KEY))?;
                self.state.signing_key_since = Some(whole(self.now));
                Ok(self.put(SIGNING_KEY, key.to_pem().expose()))
            }
            Item::PublicKey => {
                let public = self.signing_key()?.public_pem();
                Ok(self.put(PUBLIC_KEY, public))
            }
            Item::Jwks => {
                let document = jwks([self.signing_key()?.public()]);
                Ok(self.put(JWKS, document))
            }
            Item::NextKey { by_age } => self.next_key(by_age),
            Item::DropKeys(which) => self.drop_keys(which),
            Item::Token(id) => self.make_token(id),
            Item::Password => self.make_password(),
            Item::Revocations => self.put_json(REVOCATIONS, &revocations(&self.set).unwrap_or_default()),
            Item::State => self.make_state(),
        }
    }

    pub(super) fn put(&mut self, path: &'static str, text: impl AsRef<str>) -> &'static str {
        if self.set.insert(path.to_owned(), file(path, text.as_ref())).is_some() {
            self.replaced.insert(path);
        }
        path
    }

    fn put_json(&mut self, path: &'static str, value: &impl serde::Serialize) -> Result<&'static str, Error> {
        let text = serde_json::to_string_pretty(value).map_err(failed(path))?;
        Ok(self.put(path, format!("{text}\n")))
    }

    fn make_authority(&mut self) -> Result<&'static str, Error> {
        let made = Authority::create(self.now, span(self.config.certs.ca_ttl)).map_err(pki_error(CA_CERT))?;
        self.put_ca_key(&made.key_pem())?;
        Ok(self.put(CA_CERT, made.trust_pem()))
    }

    /// Encrypted where there is a passphrase.
    pub(super) fn put_ca_key(&mut self, clear: &Secret<String>) -> Result<(), Error> {
        let written = self.vault.close(clear).map_err(pki_error(CA_KEY))?;
        self.put(CA_KEY, written.expose());
        Ok(())
    }

    pub(super) fn make_leaf(&mut self, id: LeafId, choice: KeyChoice) -> Result<&'static str, Error> {
        let Some(profile) = id.profile(self.config) else { return Ok(id.cert()) };
        let authority = authority(&self.set, self.own_ca, self.vault)?;
        let kept = match choice {
            KeyChoice::Keep => text(&self.set, id.key()).map(|pem| Key::from_pem(&pem)),
            KeyChoice::New => None,
        };
        let key = kept.unwrap_or_else(Key::generate).map_err(pki_error(id.key()))?;
        let leaf = authority.issue(&profile, &key, self.now, span(self.config.certs.cert_ttl));
        let leaf = leaf.map_err(pki_error(id.cert()))?;
        self.put(id.key(), key.to_pem().expose());
        let bridge = self.cross.as_ref().map(Certificate::to_pem).unwrap_or_default();
        Ok(self.put(id.cert(), format!("{}{bridge}", leaf.chain_pem)))
    }

    pub(super) fn signing_key(&self) -> Result<SigningKey, Error> {
        let pem = text(&self.set, SIGNING_KEY).unwrap_or_default();
        SigningKey::from_pem(&pem).map_err(token_error(SIGNING_KEY))
    }

    fn make_token(&mut self, id: TokenId) -> Result<&'static str, Error> {
        let tokens = &self.config.tokens;
        let grant = Grant {
            issuer: tokens.issuer.clone(),
            audience: tokens.audience.clone(),
            sub: id.sub().to_owned(),
            scopes: id.scope().into(),
            namespaces: None,
            cnf_x5t: leafs::binding(id, &self.set, self.config),
            life: span(tokens.ttl),
        };
        let token = mint(&self.signing_key()?, &grant, self.now).map_err(token_error(id.path()))?;
        Ok(self.put(id.path(), token))
    }

    /// Tokens bound to this certificate are made for the one that took its place.
    pub(super) fn rebind(&mut self, leaf: LeafId) -> Result<(), Error> {
        if self.config.tokens.binding {
            for id in TokenId::ALL.into_iter().filter(|id| id.leaf() == leaf) {
                self.make_token(id)?;
            }
        }
        Ok(())
    }

    /// 256 random bits in hex: fits every connection string and command line unquoted.
    fn make_password(&mut self) -> Result<&'static str, Error> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        aws_lc_rs::rand::fill(&mut bytes[..]).map_err(|_| failed(PASSWORD)("the random generator failed"))?;
        let text = Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        Ok(self.put(PASSWORD, text.as_str()))
    }

    /// Keeps what other versions wrote there.
    fn make_state(&mut self) -> Result<&'static str, Error> {
        self.state.last_seen = Some(whole(self.now));
        // A key whose age is not on record, of another version or a lost state, is as old as the record.
        self.state.signing_key_since.get_or_insert(whole(self.now));
        for change in self.replaced.iter().filter_map(|path| Change::of(path)) {
            self.state.published.note(change, self.now);
        }
        self.state.settle(signing::behind(&self.set));
        let state = self.state.clone();
        self.put_json(STATE, &state)
    }
}

/// To the second.
pub(super) fn whole(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

/// The CA that signs: the user's, or the warden's in the set.
pub(super) fn authority(set: &Set, own_ca: Option<&OwnCaFiles>, vault: &Vault) -> Result<Authority, Error> {
    let (cert, key) = match own_ca {
        Some(own) => (own.cert_pem.clone(), own.key_pem.clone()),
        None => {
            let get = |path| text(set, path).map(|text| text.into_owned());
            (get(CA_CERT).unwrap_or_default(), get(CA_KEY).map(Secret::new))
        }
    };
    let key = key.ok_or(crate::pki::Error::NoPem("private key"));
    let loaded = key.and_then(|key| vault.open(key.expose())).and_then(|key| Authority::load(&cert, key.expose()));
    loaded.map_err(pki_error(CA_KEY))
}

pub(super) fn pki_error(path: &str) -> impl FnOnce(crate::pki::Error) -> Error {
    move |source| Error::Pki { path: path.to_owned(), source }
}

pub(super) fn token_error(path: &str) -> impl FnOnce(crate::tokens::Error) -> Error {
    move |source| Error::Token { path: path.to_owned(), source }
}

fn failed<E: Display>(path: &str) -> impl FnOnce(E) -> Error {
    move |reason| Error::Make { path: path.to_owned(), reason: reason.to_string() }
}
