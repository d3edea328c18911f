//! What the gateway tells PID 1.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::KeysKept;

/// Gateway → PID 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromGateway {
    /// This version serves now.
    Switched {
        /// As in [`Material::version`](super::Material::version).
        version: u64,
    },
    /// This version could not be used; the one before still serves.
    Refused {
        /// As in [`Material::version`](super::Material::version).
        version: u64,
        /// Why, in words.
        reason: String,
    },
    /// Answer to [`ToGateway::Try`](super::ToGateway::Try).
    Tried {
        /// As in the question.
        id: u64,
        /// `None` = the upstream accepted the token; else its words.
        failure: Option<String>,
    },
    /// Answer to [`ToGateway::Look`](super::ToGateway::Look).
    Looked {
        /// As in the question.
        id: u64,
        /// What it serves, or why that is not known.
        served: Result<Served, String>,
    },
    /// Who connects by which certificate: every row, at most once a health interval, when one has changed.
    Clients {
        /// In no order.
        rows: Vec<Client>,
    },
    /// The keys of an external issuer, at each change.
    Keys(KeysKept),
    /// At each change and with each probe.
    Health(Health),
}

/// The gateway's view of the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// A gateway process said this; false is PID 1's own word for "none runs".
    pub reported: bool,
    /// Whether `/health` says SERVING.
    pub serving: bool,
    /// Why not, in words; empty when serving.
    pub reason: String,
    /// Whether the last probe that reads the database succeeded.
    pub upstream_ok: bool,
    /// When the last probe that succeeded began, milliseconds of Unix time; a process started later is not vouched for.
    pub probed_ms: i64,
    /// Probes in a row that got no answer at all, not even to a question that reads no database.
    #[serde(default)]
    pub upstream_silent: u32,
    /// Rounds in a row in which a worker gave no sign of life; that of the one silent for longest.
    #[serde(default)]
    pub worker_silent: u32,
    /// Which one; empty while all turn.
    #[serde(default)]
    pub silent_worker: String,
    /// The probe's own words.
    pub upstream_detail: String,
    /// Whether audit records are being written.
    pub audit_ok: bool,
    /// Open client connections.
    pub connections: u64,
    /// Calls decided since the start.
    pub calls: u64,
    /// Of these, denied.
    pub denied: u64,
    /// The external issuer, where there is one.
    #[serde(default)]
    pub issuer: Option<IssuerSight>,
}

/// What the gateway has of an external issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerSight {
    /// Its `iss`.
    pub issuer: String,
    /// Where its keys come from: a URL, or `file`.
    pub source: String,
    /// Names of the keys held, at most twenty.
    pub keys: Vec<String>,
    /// When they were last fetched, milliseconds of Unix time; 0 = never, or a file.
    pub fetched_ms: i64,
    /// Why the last fetch failed; empty = it did not.
    pub error: String,
    /// When the keys go when no fetch succeeds, milliseconds of Unix time; 0 = never.
    pub stale_at_ms: i64,
}

/// Connections from one address by one client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// SHA-256 of the certificate, lower-case hex.
    pub sha256: String,
    /// Its serial, lower-case hex.
    pub serial: String,
    /// Its subject in words.
    pub subject: String,
    /// Its issuer in words.
    pub issuer: String,
    /// Where it comes from.
    pub address: IpAddr,
    /// Connections open now.
    pub open: u32,
    /// When one last began or ended, milliseconds of Unix time.
    pub seen_ms: i64,
}

/// The certificate a server serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// Its serial, lower-case hex.
    pub serial: String,
    /// Its issuer in words.
    pub issuer: String,
}
