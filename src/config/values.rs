//! Checked values: one that exists is valid.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// A subject alternative name: a DNS name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SanName {
    /// A DNS name; underscores are accepted because container names carry them.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

impl FromStr for SanName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let label_ok = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        let name = text.strip_prefix("*.").unwrap_or(text);
        if text.len() <= 253 && name.split('.').all(label_ok) {
            Ok(Self::Dns(text.to_ascii_lowercase()))
        } else {
            Err(format!("{text:?} is neither a DNS name nor an IP address"))
        }
    }
}

impl fmt::Display for SanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// Where Docker answers (`DOCKER_HOST`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerHost {
    /// `unix:///PATH`.
    Unix(PathBuf),
    /// `tcp://HOST:PORT`.
    Tcp(String),
}

impl FromStr for DockerHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host_and_port = |rest: &str| {
            rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        match (text.strip_prefix("unix://"), text.strip_prefix("tcp://").map(|rest| rest.trim_end_matches('/'))) {
            (Some(path), _) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            (_, Some(rest)) if host_and_port(rest) => Ok(Self::Tcp(rest.to_owned())),
            _ => Err("must be unix:///PATH or tcp://HOST:PORT".to_owned()),
        }
    }
}

impl fmt::Display for DockerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// What serves the Temporal API behind the gateway (`WARDEN_ENGINE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// `temporal-server`, PostgreSQL or SQLite, internal mTLS, its own authorizer on.
    Server,
    /// The Temporal CLI's embedded server: no TLS, no authorizer, only the gateway enforces.
    Dev,
    /// Nothing of ours: an existing frontend at `WARDEN_UPSTREAM`.
    External,
}

/// Whether refusals are carried out or only reported (`WARDEN_AUTH_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Refuse what the scope table refuses.
    Enforce,
    /// Serve everything, record what would have been refused.
    Report,
}

/// When the audit file is synced (`WARDEN_AUDIT_SYNC`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditSync {
    /// Every 100 ms.
    Batch,
    /// Before the answer.
    Always,
}

/// What happens to calls when the audit log cannot be written (`WARDEN_AUDIT_FAIL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditFail {
    /// Calls are refused.
    Closed,
    /// Calls are served and counted.
    Open,
}

/// Shape of our own log lines (`WARDEN_LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One human-readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}
