//! Making the CA and the signing key after this one, and letting the ones before go. In memory, as all of making.

use super::{
    Error,
    artefact::{CA_CERT, JWKS, LeafId, PUBLIC_KEY, SIGNING_KEY},
    judge::{span, text},
    make::{Maker, authority, pki_error, token_error, whole},
    overlap::{self, certificates},
    plan::{Drop, KeyChoice},
    state::End,
};
use crate::{
    pki::{Authority, Certificate},
    tokens::{SigningKey, jwks_with, jwks_without},
};

impl Maker<'_> {
    /// A new CA that the old one signed as well. `ca.crt` keeps everything that was in it, behind the new one.
    pub(super) fn roll_over(&mut self) -> Result<&'static str, Error> {
        let old = authority(&self.set, self.own_ca, self.vault)?;
        let new = Authority::create(self.now, span(self.config.certs.ca_ttl)).map_err(pki_error(CA_CERT))?;
        let cross = old.cross_sign(&new, self.now).map_err(pki_error(CA_CERT))?;
        self.cross = Certificate::all_from_pem(&cross).map_err(pki_error(CA_CERT))?.into_iter().next();
        let ends = self.judged.leafs.values().filter_map(|leaf| leaf.window()).map(|window| window.until);
        let ends = overlap::end(ends, old.certificate(), self.now, self.config.certs.cert_ttl);
        self.state.overlap_ends = Some(ends);
        self.state.old_ca = Some(old.certificate().fingerprint.clone());
        let before = text(&self.set, CA_CERT).unwrap_or_default().into_owned();
        self.put_ca_key(&new.key_pem())?;
        Ok(self.put(CA_CERT, format!("{}{before}", new.trust_pem())))
    }

    /// The CA before is no longer trusted, and no chain leads to it.
    pub(super) fn retire(&mut self) -> Result<&'static str, Error> {
        let Some(overlap) = &self.judged.overlap else { return Ok(CA_CERT) };
        let trust = certificates(&self.set, CA_CERT);
        let kept = trust.iter().filter(|c| c.fingerprint != overlap.old.fingerprint).map(Certificate::to_pem);
        let kept: String = kept.collect();
        (self.cross, self.state.old_ca, self.state.overlap_ends) = (None, None, None);
        self.put(CA_CERT, kept);
        for id in LeafId::ALL {
            self.leave(id, &trust[0])?;
        }
        Ok(CA_CERT)
    }

    /// Takes the cross-signed certificate from a chain; a leaf of the CA before is issued anew, with the tokens
    /// bound to it.
    fn leave(&mut self, id: LeafId, current: &Certificate) -> Result<(), Error> {
        let chain = certificates(&self.set, id.cert());
        let Some(leaf) = chain.first() else { return Ok(()) };
        if leaf.check_issued_by(current).is_err() {
            self.make_leaf(id, KeyChoice::Keep)?;
            return self.rebind(id);
        }
        if let Some(bridge) = overlap::cross(&chain, current) {
            let kept: String = chain.iter().filter(|c| **c != bridge).map(Certificate::to_pem).collect();
            self.put(id.cert(), kept);
        }
        Ok(())
    }

    /// A new signing key. The JWKS lists both; the one before goes when its last token has expired.
    ///
    /// By age nobody thought of tokens minted by hand: they are trusted for as long as the key itself was.
    pub(super) fn next_key(&mut self, by_age: bool) -> Result<&'static str, Error> {
        let old = self.signing_key()?;
        let new = SigningKey::generate().map_err(token_error(SIGNING_KEY))?;
        let document = text(&self.set, JWKS).unwrap_or_default().into_owned();
        // Tokens minted singly have at most the usual life, or are gone with the key.
        let tokens = &self.config.tokens;
        let usual = self.now + span(if by_age { tokens.ttl.max(tokens.key_ttl) } else { tokens.ttl });
        let ends = self.judged.tokens.values().filter_map(|t| t.window()).map(|w| w.until).fold(usual, Ord::max);
        self.state.old_keys.insert(old.public().kid.clone(), End(ends));
        self.state.signing_key_since = Some(whole(self.now));
        let document = jwks_with(&document, new.public()).map_err(token_error(JWKS))?;
        self.put(JWKS, document);
        self.put(PUBLIC_KEY, new.public_pem());
        Ok(self.put(SIGNING_KEY, new.to_pem().expose()))
    }

    /// Old signing keys leave the JWKS, and with them every token they signed.
    pub(super) fn drop_keys(&mut self, which: Drop) -> Result<&'static str, Error> {
        let gone = self.judged.old_keys.iter().filter(|(_, end)| which == Drop::All || **end <= self.now);
        let gone = gone.map(|(kid, _)| kid.clone()).collect();
        let document = text(&self.set, JWKS).unwrap_or_default().into_owned();
        let document = jwks_without(&document, &gone).map_err(token_error(JWKS))?;
        self.state.old_keys.retain(|kid, _| !gone.contains(kid));
        Ok(self.put(JWKS, document))
    }
}
