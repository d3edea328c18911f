//! The inherited socket pair between PID 1 and the gateway: what is said on it, and how it is framed.
//!
//! PID 1 sends [`ToGateway::Hello`] once, then [`ToGateway::Material`] whole at each change; the gateway answers each
//! version with [`FromGateway::Switched`] or [`FromGateway::Refused`] and reports its health at each change and at
//! least every [`Hello::health_interval_ms`]. A frame is a 4-byte big-endian length and that many bytes of JSON.

mod report;

use std::{collections::BTreeSet, fmt, io};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use self::report::{Client, FromGateway, Health, IssuerSight, Served};
use crate::{
    config::{AuditFail, AuditSync, AuthMode, EngineKind, Log},
    secret::Secret,
    tokens::ExternalRules,
};

/// Descriptor of this socket pair in the gateway process.
pub const LINK_FD: i32 = 3;
/// Descriptor of the listening socket of port 7233.
pub const LISTEN_FD: i32 = 4;
/// Descriptor of the audit file, opened `O_APPEND`.
pub const AUDIT_FD: i32 = 5;
/// Descriptor of the plaintext listener; present if [`Hello::plaintext`].
pub const PLAINTEXT_FD: i32 = 6;
/// Descriptor of the metrics' listener; present if [`Hello::metrics`].
pub const METRICS_FD: i32 = 7;
/// Descriptor of the socket (`SOCK_SEQPACKET`) on which PID 1 hands over the next audit file at each rotation.
pub const AUDIT_FILES_FD: i32 = 9;

/// Largest frame either side accepts; material with a big trust bundle is some 20 KiB.
const MAX_FRAME: usize = 8 << 20;

/// PID 1 → gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToGateway {
    /// The first message: what does not change while the process lives.
    Hello(Hello),
    /// The second message, and again at each change.
    Material(Box<Material>),
    /// Where the start is: shown in `/health` until [`Phase::Ready`].
    Phase(Phase),
    /// What only PID 1 knows, for the metrics; at each change.
    Snapshot(Snapshot),
    /// Ask the upstream something that needs authorization, with this token: does it know the key by now?
    Try {
        /// Comes back in the answer.
        id: u64,
        /// A compact token of PID 1's own.
        token: Secret<String>,
    },
    /// Ask a PostgreSQL over TLS which certificate it serves.
    Look {
        /// Comes back in the answer.
        id: u64,
        /// `host:port`.
        address: String,
    },
    /// Stop: take no new connection, let calls in flight finish, flush the audit log, end.
    Drain,
}

/// What does not change while a gateway process lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// Engine behind the gateway, for `/health`.
    pub engine: EngineKind,
    /// Whether [`PLAINTEXT_FD`] is there.
    pub plaintext: bool,
    /// Whether [`METRICS_FD`] is there.
    pub metrics: bool,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most of these from one address.
    pub max_connections_per_address: usize,
    /// Most calls open at once on one connection.
    pub max_streams: u32,
    /// Milliseconds a peer has for its TLS handshake.
    pub handshake_timeout_ms: u64,
    /// Milliseconds calls in flight may take to finish at a stop.
    pub drain_timeout_ms: u64,
    /// Milliseconds an unsent call waits for the upstream.
    pub upstream_wait_ms: u64,
    /// Milliseconds between health probes.
    pub health_interval_ms: u64,
    /// Copy of audit lines to standard output.
    pub audit_stdout: bool,
    /// When audit lines are synced.
    pub audit_sync: AuditSync,
    /// What happens when they can't be written.
    pub audit_fail: AuditFail,
    /// Last `seq` and chain hash of the gateway's records in the audit file (hex SHA-256), to continue them.
    pub audit_last: Option<(u64, String)>,
    /// Its own log lines, on standard output.
    pub log: Log,
    /// The only ports it may connect to; `None` = any.
    pub connect: Option<Vec<u16>>,
    /// Where the keys of an external issuer are fetched; `None` = nowhere.
    #[serde(default)]
    pub keys_from: Option<Box<KeysFrom>>,
    /// The keys that the gateway process before had fetched.
    #[serde(default)]
    pub keys_kept: Option<Box<KeysKept>>,
}

/// Where the keys of an external issuer are fetched, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysFrom {
    /// `iss` of the tokens that they are for.
    pub issuer: String,
    /// The JWKS, or the issuer itself with [`KeysFrom::discovery`].
    pub url: String,
    /// Whether the JWKS is found by OpenID Connect Discovery.
    pub discovery: bool,
    /// Whether `http` is accepted from elsewhere than this host.
    pub allow_http: bool,
    /// PEM roots for `https`; `None` = it is not used.
    pub trust_pem: Option<String>,
    /// Milliseconds between fetches that succeed.
    pub refresh_ms: u64,
    /// Fewest milliseconds between two fetches that tokens ask for, and the first pause after a failure.
    pub retry_ms: u64,
    /// Milliseconds for which keys go on when no fetch succeeds.
    pub stale_ms: u64,
}

/// Keys of an external issuer as PID 1 keeps them for the next gateway process: it does not look into them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysKept {
    /// [`KeysFrom::url`] at that time.
    pub url: String,
    /// The JWKS, as it came.
    pub document: String,
    /// When, milliseconds of Unix time.
    pub fetched_ms: i64,
}

/// Everything that rotates, whole, as one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Material {
    /// Grows by one with each message.
    pub version: u64,
    /// Server certificate and client trust of port 7233; `None` with `TEMPORAL_TLS_ENABLED=false`.
    pub tls: Option<ServerTls>,
    /// How callers are judged.
    pub auth: Auth,
    /// Where calls go.
    pub upstream: Upstream,
}

/// TLS of port 7233.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerTls {
    /// PEM: leaf first, then intermediates.
    pub chain_pem: String,
    /// PEM, PKCS#8.
    pub key_pem: Secret<String>,
    /// PEM bundle of CAs whose client certificates are accepted.
    pub trust_pem: String,
}

/// How callers are judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Auth {
    /// `TEMPORAL_AUTH_ENABLED`.
    pub enabled: bool,
    /// Enforce or only report.
    pub mode: AuthMode,
    /// Required `iss`.
    pub issuer: String,
    /// Required `aud`.
    pub audience: String,
    /// JWKS document (RFC 7517) with every key trusted now.
    pub jwks: String,
    /// `WARDEN_TOKEN_BINDING`: tokens that are bound to no certificate are refused.
    #[serde(default)]
    pub binding: bool,
    /// What was revoked before its time.
    #[serde(default)]
    pub revocations: Revocations,
    /// What is opened beyond the table.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Tokens of another issuer.
    #[serde(default)]
    pub external: Option<External>,
}

/// An issuer whose tokens are accepted beside the warden's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// What is accepted of it.
    pub rules: ExternalRules,
    /// Its JWKS, where that is a file; `None` = the gateway fetches it ([`Hello::keys_from`]).
    pub jwks: Option<String>,
}

/// Methods opened to a scope, a subject, or a subject with a scope, perhaps of one issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Word of the `scope` claim.
    pub scope: Option<String>,
    /// `sub`. Without an issuer it is that of the warden's own tokens.
    pub subject: Option<String>,
    /// `iss`.
    #[serde(default)]
    pub issuer: Option<String>,
    /// `service/method`, each in a group.
    pub methods: BTreeSet<String>,
}

/// What was revoked before its time. Another document in its place must not read as "nothing was".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// Token ids.
    #[serde(default)]
    pub jti: BTreeSet<String>,
    /// Subjects.
    #[serde(default)]
    pub subjects: BTreeSet<String>,
    /// Certificate serials, lower-case hex without separators or leading zeros.
    #[serde(default)]
    pub serials: BTreeSet<String>,
}

impl Revocations {
    /// These and `more`.
    pub fn and(mut self, more: &Self) -> Self {
        self.jti.extend(more.jti.iter().cloned());
        self.subjects.extend(more.subjects.iter().cloned());
        self.serials.extend(more.serials.iter().cloned());
        self
    }
}

impl fmt::Display for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [("jti", &self.jti), ("subject", &self.subjects), ("certificate", &self.serials)];
        let named = all.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind} {name}")));
        f.write_str(&named.collect::<Vec<_>>().join(", "))
    }
}

/// Where calls go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upstream {
    /// `host:port`.
    pub address: String,
    /// mTLS towards it; `None` = h2c.
    pub tls: Option<UpstreamTls>,
    /// PKCS#8 PEM of the per-boot internal key with which the gateway signs its own short tokens (ES256, `kid` =
    /// RFC 7638 thumbprint); `None` where the upstream checks none.
    pub internal_key_pem: Option<Secret<String>>,
}

/// mTLS towards the upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// PEM roots.
    pub trust_pem: String,
    /// PEM client chain and key.
    pub client: Option<(String, Secret<String>)>,
    /// Name checked in the upstream's certificate.
    pub server_name: String,
}

/// PID 1's part of the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Generation of the certificates folder in force.
    pub generation: u64,
    /// File and end of each certificate, Unix seconds.
    pub certificates: Vec<(String, i64)>,
    /// File and end of each token, Unix seconds.
    pub tokens: Vec<(String, i64)>,
    /// Supervised processes.
    pub children: Vec<ChildState>,
}

/// A supervised process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildState {
    /// Its log name.
    pub name: String,
    /// Whether it runs and is ready.
    pub up: bool,
    /// Restarts since PID 1 started.
    pub restarts: u32,
}

/// Where PID 1's start is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Not ready: what is being done or waited for, in words for `/health`.
    Starting {
        /// "waiting for PostgreSQL at postgres:5432", "schema 3/14", …
        doing: String,
    },
    /// The engine is up and its namespaces are registered: health is now the probe's.
    Ready,
    /// A stop was asked for.
    Stopping,
}

/// A frame is built in room for the largest material there should be: a buffer that had to grow would leave copies of
/// keys behind, which nobody zeroes.
const ROOM: usize = 64 << 10;

/// Writes one frame.
pub async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    let mut body = zeroize::Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *body, message)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(&body).await
}

/// Reads one frame; `None` when the peer closed between frames.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = room(length)?;
    from.read_exact(&mut body).await?;
    serde_json::from_slice(&body).map(Some).map_err(io::Error::from)
}

/// The same before there is a runtime.
pub fn receive_now<T: DeserializeOwned>(from: &mut impl io::Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = room(length)?;
    from.read_exact(&mut body)?;
    serde_json::from_slice(&body).map(Some).map_err(io::Error::from)
}

fn room(length: [u8; 4]) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    match u32::from_be_bytes(length) as usize {
        length if length <= MAX_FRAME => Ok(zeroize::Zeroizing::new(vec![0; length])),
        length => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {length} bytes, at most {MAX_FRAME}")))
        }
    }
}
