//! What the server needs beside the configuration: loopback ports, per-boot TLS, places of files.

use std::path::{Path, PathBuf};

use crate::{
    config::{Config, Database},
    pki,
    secret::Secret,
};

/// The name in the per-boot certificate of Temporal's own services, checked by them and by the gateway.
pub const INTERNAL_SERVER_NAME: &str = pki::BOOT_SERVER_NAME;

/// Loopback ports of the server's services. None is 7233: that one is the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// gRPC of the frontend the gateway calls.
    pub frontend: u16,
    /// HTTP of the same.
    pub frontend_http: u16,
    /// gRPC of the internal frontend, where every caller is admin.
    pub internal_frontend: u16,
    /// HTTP of the same.
    pub internal_http: u16,
    /// gRPC of history.
    pub history: u16,
    /// gRPC of matching.
    pub matching: u16,
    /// gRPC of the system worker.
    pub worker: u16,
    /// Ring membership of frontend, internal frontend, history, matching, worker. At most 32767: Temporal keeps them
    /// in a `smallint` of PostgreSQL and dies on more.
    pub membership: [u16; 5],
}

impl Ports {
    /// The usual ports, each moved up until it collides neither with `taken` nor with another.
    pub fn avoiding(taken: &[u16]) -> Self {
        let mut used = taken.to_vec();
        let mut next = |wanted: u16| {
            let port = (wanted..u16::MAX).find(|p| !used.contains(p)).unwrap_or(wanted);
            used.push(port);
            port
        };
        Self {
            history: next(7234),
            matching: next(7235),
            internal_frontend: next(7236),
            frontend: next(7237),
            worker: next(7239),
            frontend_http: next(7243),
            internal_http: next(7246),
            membership: [next(6933), next(6936), next(6934), next(6935), next(6939)],
        }
    }

    /// The ports for `config`: clear of the gateway's and the metrics' own.
    pub fn for_config(config: &Config) -> Self {
        let gateway = &config.gateway;
        let mut taken = vec![7233, gateway.listen.port()];
        taken.extend(gateway.plaintext_listen.into_iter().chain(gateway.metrics_listen).map(|a| a.port()));
        Self::avoiding(&taken)
    }
}

/// The CA made in memory at each boot, and what it issued. PEM throughout.
#[derive(Debug, Clone)]
pub struct InternalTls {
    /// The CA: root of servers and of clients.
    pub ca_pem: String,
    /// Certificate of the services, for [`INTERNAL_SERVER_NAME`]; serverAuth and clientAuth, they call each other.
    pub server_cert_pem: String,
    /// Its key.
    pub server_key_pem: Secret<String>,
    /// Client certificate of the gateway and of the CLI that registers namespaces.
    pub client_cert_pem: String,
    /// Its key.
    pub client_key_pem: Secret<String>,
}

/// Everything the server's environment is made of.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where the services listen.
    pub ports: Ports,
    /// Per-boot TLS.
    pub tls: &'a InternalTls,
    /// The database password: the user's, or the one the warden made.
    pub password: Option<&'a Secret<String>>,
}

/// JWKS of the warden's tokens, read again by Temporal's authorizer.
pub fn jwks_file(config: &Config) -> PathBuf {
    config.certs.dir.join("temporal-jwks.json")
}

/// JWKS of the per-boot internal key; whoever makes that key writes it.
pub fn internal_jwks_file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("internal-jwks.json")
}

/// The dynamic configuration; must exist before the server starts.
pub fn dynamic_config_file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("dynamicconfig.yaml")
}

/// The CA that signed PostgreSQL's certificate; `None` where nothing is to be verified.
pub fn postgres_ca_file(config: &Config) -> Option<PathBuf> {
    match &config.temporal.database {
        Database::Postgres(p) if p.tls.enabled => {
            Some(p.tls.ca_file.clone().unwrap_or_else(|| config.certs.dir.join("ca.crt")))
        }
        _ => None,
    }
}

/// The SQLite file of engine `server`.
pub fn sqlite_file(data_dir: &Path) -> PathBuf {
    data_dir.join("temporal.db")
}

/// The SQLite file of engine `dev`, whose schema may differ.
pub fn dev_sqlite_file(data_dir: &Path) -> PathBuf {
    data_dir.join("temporal-dev.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(p: Ports) -> Vec<u16> {
        let mut all = vec![p.frontend, p.frontend_http, p.internal_frontend, p.internal_http, p.history, p.matching];
        all.push(p.worker);
        all.extend(p.membership);
        all
    }

    #[test]
    fn no_two_ports_are_equal_and_none_is_taken() {
        let taken = [7233, 7236, 7237, 6933, 7243];
        let mut ports = all(Ports::avoiding(&taken));
        assert!(ports.iter().all(|p| !taken.contains(p)), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 12);
    }
}
