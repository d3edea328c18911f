//! Configuration: environment and `/etc/temporal/warden.toml` → raw values → [`Config`], all errors at once.

pub mod change;
mod check;
mod check_database;
mod check_external;
mod dependents;
mod docs;
mod errors;
mod kept;
pub mod load;
mod official;
mod parse;
mod raw;
mod secrets;
mod values;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub(crate) use check_external::security;
pub use dependents::{Action, Named};
pub use docs::page;
pub use errors::Errors;
pub use values::{AuditFail, AuditSync, AuthMode, DockerHost, EngineKind, LogFormat, SanName};

use crate::{secret::Secret, tokens::ExternalRules};

/// Everything the warden was told, checked. There is no other source of defaults or settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which engine serves behind the gateway.
    pub engine: EngineKind,
    /// `TEMPORAL_TLS_ENABLED`: mTLS on port 7233.
    pub tls_enabled: bool,
    /// `TEMPORAL_AUTH_ENABLED`: token checks at the gateway and in Temporal.
    pub auth_enabled: bool,
    /// `WARDEN_RUNTIME_DIR`: control socket and per-boot files.
    pub runtime_dir: PathBuf,
    /// Certificates, keys and bundles.
    pub certs: Certs,
    /// Tokens.
    pub tokens: Tokens,
    /// An issuer whose tokens are accepted beside the warden's own.
    pub external: Option<External>,
    /// The gateway.
    pub gateway: Gateway,
    /// The audit log.
    pub audit: Audit,
    /// The engine's own settings.
    pub temporal: Temporal,
    /// Limits of the supervisor.
    pub supervisor: Supervisor,
    /// Docker, for dependents.
    pub docker: Docker,
    /// Our own log.
    pub log: Log,
    /// What is to be said at each start: variables without effect here, and what is less safe than the defaults.
    pub notices: Vec<String>,
}

impl Config {
    /// False only where PostgreSQL is used without TLS.
    pub fn postgres_is_encrypted(&self) -> bool {
        !matches!(&self.temporal.database, Database::Postgres(postgres) if !postgres.tls.enabled)
    }
}

/// `WARDEN_CERTS_DIR` and what is put there.
#[derive(Debug, Clone)]
pub struct Certs {
    /// Where generations live (`/etc/temporal/certs`).
    pub dir: PathBuf,
    /// Where bundles are published (`/etc/temporal/published`).
    pub publish_dir: PathBuf,
    /// SANs of the server certificate: contract §1 list plus `WARDEN_SERVER_SANS`.
    pub server_sans: Vec<SanName>,
    /// SANs of the PostgreSQL certificate: hosts of `POSTGRES_SEEDS` plus `WARDEN_POSTGRES_SANS`.
    pub postgres_sans: Vec<SanName>,
    /// Group that reads the client, worker and ui bundles (`WARDEN_PUBLISH_GID`).
    pub publish_gid: u32,
    /// Group that reads the postgres bundle (`WARDEN_POSTGRES_GID`).
    pub postgres_gid: u32,
    /// Life of a CA certificate (`WARDEN_CA_TTL`).
    pub ca_ttl: Duration,
    /// Life of a leaf certificate (`WARDEN_CERT_TTL`).
    pub cert_ttl: Duration,
    /// How long a writer waits for another one's lock (`WARDEN_LOCK_TIMEOUT`).
    pub lock_timeout: Duration,
    /// The user's own CA, if any.
    pub own_ca: Option<OwnCa>,
    /// Passphrase of the CA key: content of `WARDEN_CA_KEY_PASSPHRASE_FILE`.
    pub ca_key_passphrase: Option<Secret<String>>,
}

/// `WARDEN_CA_CERT_FILE` and `WARDEN_CA_KEY_FILE`.
#[derive(Debug, Clone)]
pub struct OwnCa {
    /// CA certificate, first the issuer, then its parents.
    pub cert_file: PathBuf,
    /// Its key; absent with an offline CA: then leafs are verified, never issued.
    pub key_file: Option<PathBuf>,
}

/// What tokens say.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `iss` (`WARDEN_TOKEN_ISSUER`).
    pub issuer: String,
    /// `aud` (`WARDEN_TOKEN_AUDIENCE`).
    pub audience: String,
    /// Life of a token (`WARDEN_TOKEN_TTL`).
    pub ttl: Duration,
    /// Age at which the signing key is changed (`WARDEN_SIGNING_KEY_TTL`); zero = only by hand.
    pub key_ttl: Duration,
    /// Whether tokens must be bound to a client certificate (`WARDEN_TOKEN_BINDING`).
    pub binding: bool,
}

/// `WARDEN_EXTERNAL_*`.
#[derive(Debug, Clone)]
pub struct External {
    /// What is accepted, and how claims are read.
    pub rules: ExternalRules,
    /// Where its keys are.
    pub keys: ExternalKeys,
}

/// Where the keys of an external issuer are.
#[derive(Debug, Clone)]
pub enum ExternalKeys {
    /// Content of `WARDEN_EXTERNAL_JWKS_FILE`.
    File(String),
    /// Fetched by the gateway.
    Fetched(Box<Fetched>),
}

/// How they are fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// `WARDEN_EXTERNAL_JWKS_URL`, or the issuer with [`Fetched::discovery`].
    pub url: String,
    /// Whether the URL is found by OpenID Connect Discovery.
    pub discovery: bool,
    /// Its port: the gateway may connect to it.
    pub port: u16,
    /// `WARDEN_EXTERNAL_ALLOW_HTTP`.
    pub allow_http: bool,
    /// PEM roots for `https`.
    pub trust_pem: Option<String>,
    /// `WARDEN_EXTERNAL_REFRESH`.
    pub refresh: Duration,
    /// `WARDEN_EXTERNAL_RETRY`.
    pub retry: Duration,
    /// `WARDEN_EXTERNAL_STALE`.
    pub stale: Duration,
}

/// The gateway's door and limits.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// `WARDEN_LISTEN`.
    pub listen: SocketAddr,
    /// `WARDEN_PLAINTEXT_LISTEN`: a second, unencrypted door; off by default.
    pub plaintext_listen: Option<SocketAddr>,
    /// `WARDEN_METRICS_LISTEN`; `None` = off.
    pub metrics_listen: Option<SocketAddr>,
    /// `WARDEN_AUTH_MODE`.
    pub auth_mode: AuthMode,
    /// `WARDEN_POLICY_FILE`.
    pub policy_file: Option<PathBuf>,
    /// Worker threads (`WARDEN_GATEWAY_THREADS`; 0 = one per core).
    pub threads: usize,
    /// Most connections at once (`WARDEN_MAX_CONNECTIONS`).
    pub max_connections: usize,
    /// Most of these from one address (`WARDEN_MAX_CONNECTIONS_PER_ADDRESS`).
    pub max_connections_per_address: usize,
    /// Most calls open at once on one connection (`WARDEN_MAX_STREAMS`).
    pub max_streams: u32,
    /// Time a peer has for its TLS handshake (`WARDEN_HANDSHAKE_TIMEOUT`).
    pub handshake_timeout: Duration,
    /// How long calls in flight may finish at a stop (`WARDEN_DRAIN_TIMEOUT`).
    pub drain_timeout: Duration,
    /// How long a call that was not yet sent waits for the upstream (`WARDEN_UPSTREAM_WAIT`).
    pub upstream_wait: Duration,
    /// User the gateway runs as when PID 1 is root (`WARDEN_GATEWAY_UID`, uid = gid).
    pub uid: u32,
}

/// Docker, through which dependents are told.
#[derive(Debug, Clone)]
pub struct Docker {
    /// `DOCKER_HOST`.
    pub host: DockerHost,
    /// `WARDEN_DEPENDENTS`: who is told by name, in this order; when empty, labels decide.
    pub named: Vec<Named>,
    /// How long a dependent may take to be well again (`WARDEN_DEPENDENT_TIMEOUT`).
    pub timeout: Duration,
}

/// The audit log.
#[derive(Debug, Clone)]
pub struct Audit {
    /// `WARDEN_AUDIT_FILE`.
    pub file: PathBuf,
    /// `WARDEN_AUDIT_STDOUT`.
    pub stdout: bool,
    /// `WARDEN_AUDIT_SYNC`.
    pub sync: AuditSync,
    /// `WARDEN_AUDIT_FAIL`.
    pub fail: AuditFail,
    /// `WARDEN_AUDIT_MAX_SIZE`, bytes; `None` = the warden does not rotate.
    pub max_size: Option<u64>,
    /// `WARDEN_AUDIT_KEEP`.
    pub keep: u32,
}

/// What stands behind the gateway.
#[derive(Debug, Clone)]
pub struct Temporal {
    /// The server's program (`WARDEN_TEMPORAL_SERVER`).
    pub server_program: PathBuf,
    /// The schema tool (`WARDEN_TEMPORAL_SQL_TOOL`).
    pub sql_tool_program: PathBuf,
    /// The real Temporal CLI (`WARDEN_TEMPORAL_CLI`).
    pub cli_program: PathBuf,
    /// User the engine runs as when PID 1 is root (`WARDEN_TEMPORAL_UID`, uid = gid).
    pub uid: u32,
    /// Folder for what the engine writes itself (`WARDEN_DATA_DIR`): SQLite files of `server` and `dev`.
    pub data_dir: PathBuf,
    /// `WARDEN_NAMESPACES`.
    pub namespaces: Vec<String>,
    /// `WARDEN_NAMESPACE_RETENTION`.
    pub namespace_retention: Duration,
    /// Where data is kept.
    pub database: Database,
    /// `NUM_HISTORY_SHARDS`.
    pub history_shards: u32,
    /// `LOG_LEVEL` of the engine.
    pub log_level: String,
    /// `WARDEN_UPSTREAM` of engine `external`.
    pub upstream: Option<Upstream>,
    /// Variables of the official images that reach Temporal unchanged.
    pub passthrough: BTreeMap<String, Secret<String>>,
    /// How long the engine may take to become healthy (`WARDEN_ENGINE_START_TIMEOUT`).
    pub start_timeout: Duration,
    /// Content of `WARDEN_DYNAMIC_CONFIG_FILE`.
    pub dynamic_config: Option<String>,
    /// `WARDEN_SCHEMA_SETUP`.
    pub schema_setup: bool,
}

/// Where the engine keeps its data.
#[derive(Debug, Clone)]
pub enum Database {
    /// PostgreSQL over verified TLS.
    Postgres(Box<Postgres>),
    /// SQLite files in `data_dir`.
    Sqlite,
}

/// How PostgreSQL is reached.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// The server's plugin: `postgres12` or `postgres12_pgx`.
    pub plugin: String,
    /// Host of `POSTGRES_SEEDS`.
    pub host: String,
    /// `DB_PORT`.
    pub port: u16,
    /// `POSTGRES_USER`.
    pub user: String,
    /// `POSTGRES_PWD`, `POSTGRES_PWD_FILE`; absent = the password the warden made (`postgres-password`).
    pub password: Option<Secret<String>>,
    /// `DBNAME`.
    pub database: String,
    /// `VISIBILITY_DBNAME`.
    pub visibility_database: String,
    /// `SQL_TLS_ENABLED` and its kin; on by default, verified against our own CA unless `SQL_CA` names another.
    pub tls: PostgresTls,
    /// How long to wait for the database at start (`WARDEN_DATABASE_WAIT`; zero = for ever).
    pub wait: Duration,
    /// Whether missing databases may be created (`WARDEN_DATABASE_CREATE`).
    pub create: bool,
}

/// TLS towards PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresTls {
    /// `SQL_TLS_ENABLED`.
    pub enabled: bool,
    /// `SQL_HOST_VERIFICATION`.
    pub verify_host: bool,
    /// `SQL_CA`; absent = the warden's own `ca.crt`.
    pub ca_file: Option<PathBuf>,
    /// `SQL_CERT` and `SQL_CERT_KEY`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// An existing frontend (`WARDEN_UPSTREAM`, `WARDEN_UPSTREAM_TLS_*`).
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `host:port`.
    pub address: String,
    /// Its TLS settings; absent = h2c.
    pub tls: Option<UpstreamTls>,
}

/// TLS towards an existing frontend.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// `WARDEN_UPSTREAM_TLS_CA`.
    pub ca_file: PathBuf,
    /// `WARDEN_UPSTREAM_TLS_CERT` and `WARDEN_UPSTREAM_TLS_KEY`.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `WARDEN_UPSTREAM_TLS_SERVER_NAME`; absent = the host of the address.
    pub server_name: Option<String>,
}

/// Limits of the supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// `WARDEN_START_LIMIT`: failures within the window after which the warden gives up.
    pub start_limit: u32,
    /// `WARDEN_START_WINDOW`.
    pub start_window: Duration,
    /// `WARDEN_STOP_TIMEOUT`: the whole stop; then everything left is killed.
    pub stop_timeout: Duration,
    /// `WARDEN_BACKOFF_BASE`.
    pub backoff_base: Duration,
    /// `WARDEN_BACKOFF_CAP`.
    pub backoff_cap: Duration,
    /// `WARDEN_PROBE_LIMIT`: unanswered probes in a row after which a child is taken for hung; 0 = never.
    pub probe_limit: u32,
}

impl Supervisor {
    /// Starts in vain after which what came last, a generation or a configuration, is taken for the cause: three, and fewer where that
    /// would be too late. A process that ran before fails once by its end, and what is put back gets a start of its own.
    pub fn tries(&self) -> u32 {
        self.start_limit.saturating_sub(2).clamp(1, 3)
    }
}

/// Our own log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// `WARDEN_LOG_FORMAT`.
    pub format: LogFormat,
    /// `WARDEN_LOG_LEVEL` (a tracing filter).
    pub level: String,
}
