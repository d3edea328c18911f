//! What serves: one version of the material, built whole and swapped at once, and what all workers share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    audit::Recorder,
    authenticate::Authenticator,
    authorize::Policy,
    health::Parts,
    link::{Hello, Material},
    signer::Signer,
    tls::ServerSide,
    upstream::Connector,
};
use crate::config::EngineKind;

/// One version of the material, ready for use.
pub(super) struct Serving {
    /// As in [`Material::version`].
    pub version: u64,
    /// TLS of port 7233; `None` with TLS off.
    pub tls: Option<ServerSide>,
    /// How decisions are made.
    pub policy: Policy,
    /// Who callers are.
    pub authenticator: Authenticator,
    /// Where calls go.
    pub connector: Arc<Connector>,
    /// Signs the gateway's own tokens, where the upstream checks any.
    pub signer: Option<Signer>,
}

impl Serving {
    /// Builds everything that differs from the version `before`; the reason in words when a part can't be used.
    pub(super) fn new(material: &Material, engine: EngineKind, before: Option<&Self>) -> Result<Self, String> {
        let auth = &material.auth;
        let serials = auth.revocations.serials.clone();
        let revoked = move |serial: &str| serials.contains(serial);
        let tls = material.tls.as_ref().map(|tls| ServerSide::new(tls, revoked)).transpose();
        let key = material.upstream.internal_key_pem.as_ref();
        Ok(Self {
            version: material.version,
            tls: tls.map_err(|e| e.to_string())?,
            policy: Policy { enabled: auth.enabled, mode: auth.mode, engine },
            authenticator: Authenticator::new(auth).map_err(|e| format!("the JWKS {e}"))?,
            connector: Connector::after(before.map(|b| &b.connector), &material.upstream, material.version)?,
            signer: key.map(|pem| Signer::new(pem.expose(), auth)).transpose()?,
        })
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
    /// The audit log.
    pub recorder: Recorder,
    /// What PID 1 said first.
    pub hello: Hello,
    /// Counters.
    pub counters: Counters,
}

/// Counters for `/health` and PID 1.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Open connections.
    pub connections: AtomicUsize,
    /// Calls decided.
    pub calls: AtomicU64,
    /// Of these, denied.
    pub denied: AtomicU64,
}

/// One place among the connections.
pub(super) struct Place(Arc<Shared>);

impl Place {
    /// Takes a place; `None` when all are taken.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let taken = shared.counters.connections.fetch_add(1, Ordering::Relaxed);
        let place = Self(shared.clone());
        (taken < shared.hello.max_connections).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
