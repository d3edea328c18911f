//! The settings as written: text, where each came from, no meaning yet.

use serde::{Deserialize, Serialize};

/// One setting as written.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Setting {
    /// Its variable, e.g. `WARDEN_CERT_TTL`.
    pub(super) name: String,
    /// What was written; empty = not set.
    pub(super) text: String,
    /// Where: `environment`, a file, or `default`.
    pub(super) source: String,
}

impl Setting {
    /// Whether the value may be shown.
    pub(super) fn is_secret(&self) -> bool {
        self.name.ends_with("_PWD")
    }

    /// `NAME="value" (source)`, without the value of a secret.
    pub(super) fn shown(&self) -> String {
        match self.is_secret() {
            true => format!("{} ({})", self.name, self.source),
            false => format!("{}={:?} ({})", self.name, self.text, self.source),
        }
    }

    /// The value as it may be shown.
    pub(super) fn public(&self) -> String {
        match self.is_secret() && !self.text.is_empty() {
            true => "[redacted]".to_owned(),
            false => self.text.clone(),
        }
    }

    /// The text, or `None` when it is empty.
    pub(super) fn given(&self) -> Option<&str> {
        Some(self.text.as_str()).filter(|t| !t.is_empty())
    }
}

/// Every key of `default.toml`; the meaning of each is written there.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) engine: Setting,
    pub(super) listen: Setting,
    pub(super) plaintext_listen: Setting,
    pub(super) metrics_listen: Setting,
    pub(super) auth_mode: Setting,
    pub(super) policy_file: Setting,
    pub(super) runtime_dir: Setting,
    pub(super) certs_dir: Setting,
    pub(super) publish_dir: Setting,
    pub(super) server_sans: Setting,
    pub(super) postgres_sans: Setting,
    pub(super) publish_gid: Setting,
    pub(super) postgres_gid: Setting,
    pub(super) ca_ttl: Setting,
    pub(super) cert_ttl: Setting,
    pub(super) lock_timeout: Setting,
    pub(super) ca_cert_file: Setting,
    pub(super) ca_key_file: Setting,
    pub(super) ca_key_passphrase_file: Setting,
    pub(super) token_issuer: Setting,
    pub(super) token_audience: Setting,
    pub(super) token_ttl: Setting,
    pub(super) signing_key_ttl: Setting,
    pub(super) token_binding: Setting,
    pub(super) external_issuer: Setting,
    pub(super) external_audience: Setting,
    pub(super) external_jwks_url: Setting,
    pub(super) external_jwks_file: Setting,
    pub(super) external_ca_file: Setting,
    pub(super) external_allow_http: Setting,
    pub(super) external_algorithms: Setting,
    pub(super) external_leeway: Setting,
    pub(super) external_subject_claim: Setting,
    pub(super) external_scope_claim: Setting,
    pub(super) external_scopes: Setting,
    pub(super) external_namespaces_claim: Setting,
    pub(super) external_namespaces: Setting,
    pub(super) external_refresh: Setting,
    pub(super) external_retry: Setting,
    pub(super) external_stale: Setting,
    pub(super) gateway_threads: Setting,
    pub(super) max_connections: Setting,
    pub(super) max_connections_per_address: Setting,
    pub(super) max_streams: Setting,
    pub(super) handshake_timeout: Setting,
    pub(super) drain_timeout: Setting,
    pub(super) upstream_wait: Setting,
    pub(super) gateway_uid: Setting,
    pub(super) audit_file: Setting,
    pub(super) audit_stdout: Setting,
    pub(super) audit_sync: Setting,
    pub(super) audit_fail: Setting,
    pub(super) audit_max_size: Setting,
    pub(super) audit_keep: Setting,
    pub(super) temporal_server: Setting,
    pub(super) temporal_sql_tool: Setting,
    pub(super) temporal_cli: Setting,
    pub(super) temporal_uid: Setting,
    pub(super) data_dir: Setting,
    pub(super) namespaces: Setting,
    pub(super) namespace_retention: Setting,
    pub(super) engine_start_timeout: Setting,
    pub(super) dynamic_config_file: Setting,
    pub(super) database_wait: Setting,
    pub(super) database_create: Setting,
    pub(super) schema_setup: Setting,
    pub(super) upstream: Setting,
    pub(super) upstream_tls_ca: Setting,
    pub(super) upstream_tls_cert: Setting,
    pub(super) upstream_tls_key: Setting,
    pub(super) upstream_tls_server_name: Setting,
    pub(super) start_limit: Setting,
    pub(super) start_window: Setting,
    pub(super) stop_timeout: Setting,
    pub(super) backoff_base: Setting,
    pub(super) backoff_cap: Setting,
    pub(super) probe_limit: Setting,
    pub(super) dependents: Setting,
    pub(super) dependent_timeout: Setting,
    pub(super) log_format: Setting,
    pub(super) log_level: Setting,
    pub(super) temporal: RawTemporal,
}

/// The table `[temporal]`: names of the official images.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) struct RawTemporal {
    pub(super) temporal_tls_enabled: Setting,
    pub(super) temporal_auth_enabled: Setting,
    pub(super) db: Setting,
    pub(super) postgres_seeds: Setting,
    pub(super) db_port: Setting,
    pub(super) postgres_user: Setting,
    pub(super) postgres_pwd: Setting,
    pub(super) postgres_pwd_file: Setting,
    pub(super) dbname: Setting,
    pub(super) visibility_dbname: Setting,
    pub(super) sql_tls_enabled: Setting,
    pub(super) sql_ca: Setting,
    pub(super) sql_cert: Setting,
    pub(super) sql_cert_key: Setting,
    pub(super) sql_host_verification: Setting,
    pub(super) num_history_shards: Setting,
    pub(super) log_level: Setting,
    pub(super) docker_host: Setting,
}
