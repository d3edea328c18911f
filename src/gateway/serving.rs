//! What serves: one version of the material, built whole and swapped at once, and what all workers share.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use super::{
    audit::Recorder,
    authenticate::Authenticator,
    authorize::{Policy, Refusal},
    clients::Clients,
    health::Parts,
    issuer::{Issuer, shown},
    knocks::Knocks,
    link::{Hello, IssuerSight, Material, Snapshot},
    lookup::Ids,
    metrics::{Limit, Tally},
    signer::Signer,
    tls::ServerSide,
    upstream::{Connector, Pool},
};
use crate::{
    config::{AuthMode, EngineKind},
    tokens::Verified,
};

/// One version of the material, ready for use.
pub(super) struct Serving {
    /// As in [`Material::version`].
    pub version: u64,
    /// Another for each that serves, also when only the keys of an external issuer differ.
    pub edition: u64,
    /// TLS of port 7233; `None` with TLS off.
    pub tls: Option<ServerSide>,
    /// How decisions are made.
    pub policy: Policy,
    /// Who callers are.
    pub authenticator: Authenticator,
    /// Where calls go.
    pub connector: Arc<Connector>,
    /// Signs the gateway's own tokens, where the upstream checks any.
    pub signer: Option<Arc<Signer>>,
}

/// Grows with each version that is built.
static EDITION: AtomicU64 = AtomicU64::new(0);

impl Serving {
    /// Builds everything that differs from the version `before`; the reason in words when a part can't be used.
    pub(super) fn new(
        material: &Material,
        engine: EngineKind,
        before: Option<&Self>,
        issuer: Option<&Issuer>,
    ) -> Result<Self, String> {
        let auth = &material.auth;
        let serials = auth.revocations.serials.clone();
        let revoked = move |serial: &str| serials.contains(serial);
        let tls = material.tls.as_ref().map(|tls| ServerSide::new(tls, revoked)).transpose();
        let key = material.upstream.internal_key_pem.as_ref();
        let fetched = auth.external.as_ref().zip(issuer).and_then(|(external, issuer)| issuer.keys_for(external));
        Ok(Self {
            version: material.version,
            edition: EDITION.fetch_add(1, Ordering::Relaxed),
            tls: tls.map_err(|e| e.to_string())?,
            policy: Policy {
                enabled: auth.enabled,
                mode: auth.mode,
                engine,
                binding: auth.binding,
                rules: auth.rules.clone(),
            },
            authenticator: Authenticator::new(auth, fetched)?,
            connector: Connector::after(before.map(|b| &b.connector), &material.upstream, material.version)?,
            signer: key.map(|pem| Signer::new(pem.expose(), auth)).transpose()?.map(Arc::new),
        })
    }

    /// The same with the keys that `issuer` has at hand now.
    pub(super) fn with_keys(&self, issuer: &Issuer) -> Self {
        let keys = self.authenticator.external().and_then(|(external, _)| issuer.keys_for(external));
        Self {
            version: self.version,
            edition: EDITION.fetch_add(1, Ordering::Relaxed),
            tls: self.tls.clone(),
            policy: self.policy.clone(),
            authenticator: self.authenticator.with(keys),
            connector: self.connector.clone(),
            signer: self.signer.clone(),
        }
    }

    /// What there is of an external issuer.
    pub(super) fn issuer(&self, fetching: Option<&Issuer>) -> Option<IssuerSight> {
        let (external, keys) = self.authenticator.external()?;
        let keys = keys.map(|keys| &**keys);
        let (name, source) = (&external.rules.issuer, "file".to_owned());
        Some(match fetching.filter(|_| external.jwks.is_none()) {
            Some(fetching) => fetching.sight(name, keys),
            None => IssuerSight { issuer: name.clone(), source, keys: shown(keys), ..IssuerSight::default() },
        })
    }

    /// Whether a call under way with `token` may go on.
    pub(super) fn still_accepts(&self, token: &Verified) -> Result<(), Refusal> {
        match self.policy.mode {
            AuthMode::Enforce if self.policy.enabled => {
                self.authenticator.still_accepts(token).map_err(Refusal::Unauthorized)
            }
            _ => Ok(()),
        }
    }
}

/// What every worker sees.
pub(super) struct Shared {
    /// The version that serves now.
    pub serving: ArcSwap<Serving>,
    /// Told at each new version.
    pub version: watch::Receiver<u64>,
    /// Parts of the health.
    pub health: watch::Receiver<Parts>,
    /// Turns true when the gateway drains.
    pub draining: watch::Receiver<bool>,
    /// What PID 1 says of itself.
    pub snapshot: watch::Receiver<Snapshot>,
    /// The audit log.
    pub recorder: Recorder,
    /// What PID 1 said first.
    pub hello: Hello,
    /// Places of connections.
    pub places: Places,
    /// Failed handshakes.
    pub knocks: Knocks,
    /// Who connects by which certificate.
    pub clients: Arc<Clients>,
    /// What each worker counts, and last what the acceptors do.
    pub tallies: Vec<Arc<Tally>>,
    /// Each worker's upstream connections.
    pub pools: Vec<Arc<Pool>>,
    /// Ids of namespaces.
    pub ids: Ids,
    /// The keys of an external issuer, where they are fetched.
    pub issuer: Option<Arc<Issuer>>,
    /// Room for messages read ahead.
    pub room: Arc<Semaphore>,
}

impl Shared {
    /// Calls begun, and of these denied, since the start.
    pub(super) fn totals(&self) -> (u64, u64) {
        let each = self.tallies.iter().map(|tally| tally.totals());
        each.fold((0, 0), |sum, totals| (sum.0 + totals.0, sum.1 + totals.1))
    }
}

/// How many connections there are, in total and by address.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    /// Open connections.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn enter(&self, address: IpAddr, most: usize, most_of_one: usize) -> Result<(), Limit> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = by_address.get(&address).copied().unwrap_or_default();
        if self.taken() >= most {
            return Err(Limit::Connections);
        }
        if of_one >= most_of_one {
            return Err(Limit::ConnectionsPerAddress);
        }
        by_address.insert(address, of_one + 1);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn leave(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        match by_address.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(by_address.remove(&address)),
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One place among the connections.
pub(super) struct Place(Arc<Shared>, IpAddr);

impl Place {
    /// Takes a place, or says which limit is reached.
    pub(super) fn take(shared: &Arc<Shared>, address: IpAddr) -> Result<Self, Limit> {
        let (most, most_of_one) = (shared.hello.max_connections, shared.hello.max_connections_per_address);
        shared.places.enter(address, most, most_of_one).map(|()| Self(shared.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.leave(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let (places, one, other) = (Places::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!([(); 3].map(|()| places.enter(one, 4, 2).err()), [None, None, Some(Limit::ConnectionsPerAddress)]);
        assert_eq!(
            [(); 3].map(|()| places.enter(other, 3, 2).err()),
            [None, Some(Limit::Connections), Some(Limit::Connections)]
        );
        places.leave(one);
        assert_eq!(places.enter(one, 4, 2), Ok(()));
        [one, one, other].into_iter().for_each(|address| places.leave(address));
        assert_eq!((places.taken(), places.by_address.lock().unwrap().len()), (0, 0));
    }
}
