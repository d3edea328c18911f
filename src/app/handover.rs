//! What the gateway is handed: settings once, material at each change.

use std::time::Duration;

use super::{HEALTH_INTERVAL, Warden, audit_log, engine::ThisBoot};
use crate::{
    config::{Config, Database, ExternalKeys, Fetched},
    gateway::link::{self, Auth, Hello, KeysFrom, Material, ServerTls},
};

/// What it is told first.
pub(super) fn hello(config: &Config, boot: &ThisBoot) -> Hello {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let gateway = &config.gateway;
    Hello {
        engine: config.engine,
        plaintext: gateway.plaintext_listen.is_some(),
        metrics: gateway.metrics_listen.is_some(),
        threads: gateway.threads,
        max_connections: gateway.max_connections,
        max_connections_per_address: gateway.max_connections_per_address,
        max_streams: gateway.max_streams,
        handshake_timeout_ms: ms(gateway.handshake_timeout),
        drain_timeout_ms: ms(gateway.drain_timeout),
        upstream_wait_ms: ms(gateway.upstream_wait),
        health_interval_ms: ms(HEALTH_INTERVAL),
        audit_stdout: config.audit.stdout,
        audit_sync: config.audit.sync,
        audit_fail: config.audit.fail,
        audit_last: audit_log::gateway_link(config),
        log: config.log.clone(),
        connect: Some(ports(config, boot)),
        keys_from: fetched(config).map(|fetched| {
            Box::new(KeysFrom {
                issuer: config.external.as_ref().map(|e| e.rules.issuer.clone()).unwrap_or_default(),
                url: fetched.url.clone(),
                discovery: fetched.discovery,
                allow_http: fetched.allow_http,
                trust_pem: fetched.trust_pem.clone(),
                refresh_ms: ms(fetched.refresh),
                retry_ms: ms(fetched.retry),
                stale_ms: ms(fetched.stale),
            })
        }),
        // What a gateway before fetched is put in by the link.
        keys_kept: None,
    }
}

/// How the keys of an external issuer are fetched, if they are.
fn fetched(config: &Config) -> Option<&Fetched> {
    match config.external.as_ref().filter(|_| config.auth_enabled)?.keys {
        ExternalKeys::Fetched(ref fetched) => Some(fetched),
        ExternalKeys::File(_) => None,
    }
}

/// The external issuer as callers are judged by it.
fn external(config: &Config) -> Option<link::External> {
    let external = config.external.as_ref()?;
    let jwks = match &external.keys {
        ExternalKeys::File(jwks) => Some(jwks.clone()),
        ExternalKeys::Fetched(_) => None,
    };
    Some(link::External { rules: external.rules.clone(), jwks })
}

/// The only ports the gateway may connect to: the upstream's, PostgreSQL's where it is asked for the certificate it
/// serves, an external issuer's, and that of name servers where a long answer comes by TCP.
fn ports(config: &Config, boot: &ThisBoot) -> Vec<u16> {
    let mut ports = boot.upstream_ports();
    if let Database::Postgres(postgres) = &config.temporal.database
        && postgres.tls.enabled
    {
        ports.extend([postgres.port, 53]);
    }
    ports.extend(fetched(config).iter().flat_map(|fetched| [fetched.port, 53]));
    ports
}

impl Warden {
    /// What the gateway must know, from the live generation.
    pub(super) fn material(&self) -> Material {
        let live = self.live.borrow();
        let tls = self.config().tls_enabled.then(|| ServerTls {
            chain_pem: live.server.chain_pem.clone(),
            key_pem: live.server.key_pem.clone(),
            trust_pem: live.trust_pem.clone(),
        });
        let auth = Auth {
            enabled: self.config().auth_enabled,
            mode: self.config().gateway.auth_mode,
            issuer: self.config().tokens.issuer.clone(),
            audience: self.config().tokens.audience.clone(),
            jwks: live.jwks.clone(),
            binding: self.config().tokens.binding,
            revocations: live.revocations.clone(),
            rules: self.rules.borrow().clone(),
            external: external(&self.config()),
        };
        Material { version: 0, tls, auth, upstream: self.boot().upstream() }
    }
}
