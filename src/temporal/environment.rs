//! Settings → the server's whole environment. Nothing else reaches it.
//!
//! The server pours each variable into a YAML template without escaping it. Where the template has the quotes, a value
//! is escaped for them; where it has none, the value brings its own.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::settings::{
    INTERNAL_SERVER_NAME, ServerSettings, dynamic_config_file, internal_jwks_file, jwks_file, postgres_ca_file,
    sqlite_file,
};
use crate::{
    config::{Database, Postgres},
    secret::Secret,
};

/// Names and values of a child's environment.
pub type Environment = Vec<(String, Secret<String>)>;

/// Where programs are looked for in a child.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often Temporal's authorizer reads the JWKS files again (contract §5).
const KEY_REFRESH: &str = "5s";
/// What a path may not have as it is in a URL.
const URL_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');

/// The services, in the order the server starts them; without the last one its own workers would be unauthorized.
const SERVICES: [&str; 5] = ["frontend", "history", "matching", "worker", "internal-frontend"];

/// Arguments of `temporal-server`.
pub fn arguments() -> Vec<String> {
    let services = SERVICES.iter().flat_map(|service| ["--service", service]);
    std::iter::once("start").chain(services).map(str::to_owned).collect()
}

/// What every child starts from.
pub(super) fn base(home: &Path) -> Environment {
    vec![pair("PATH", PATH), pair("HOME", home.to_string_lossy())]
}

/// The environment of `temporal-server`.
pub fn server(s: &ServerSettings<'_>) -> Environment {
    let temporal = &s.config.temporal;
    let mut env = base(&temporal.data_dir);
    env.extend(temporal.passthrough.iter().map(|(k, v)| (k.clone(), v.clone())));
    env.extend(listening(s));
    env.extend(internal_tls(s));
    env.extend(authorization(s));
    env.extend(database(s));
    env.push(pair("NUM_HISTORY_SHARDS", temporal.history_shards.to_string()));
    env.push(pair("LOG_LEVEL", &temporal.log_level));
    env.push(pair(
        "DYNAMIC_CONFIG_FILE_PATH",
        in_quotes(&dynamic_config_file(&s.config.runtime_dir).to_string_lossy()),
    ));
    env
}

pub(super) fn pair(name: &str, value: impl Into<String>) -> (String, Secret<String>) {
    (name.to_owned(), Secret::new(value.into()))
}

fn listening(s: &ServerSettings<'_>) -> Environment {
    let p = &s.ports;
    let mut env = vec![pair("BIND_ON_IP", "127.0.0.1"), pair("USE_INTERNAL_FRONTEND", "1")];
    let ports = [
        ("FRONTEND_GRPC_PORT", p.frontend),
        ("FRONTEND_HTTP_PORT", p.frontend_http),
        ("FRONTEND_MEMBERSHIP_PORT", p.membership[0]),
        ("INTERNAL_FRONTEND_GRPC_PORT", p.internal_frontend),
        ("INTERNAL_FRONTEND_HTTP_PORT", p.internal_http),
        ("INTERNAL_FRONTEND_MEMBERSHIP_PORT", p.membership[1]),
        ("HISTORY_GRPC_PORT", p.history),
        ("HISTORY_MEMBERSHIP_PORT", p.membership[2]),
        ("MATCHING_GRPC_PORT", p.matching),
        ("MATCHING_MEMBERSHIP_PORT", p.membership[3]),
        ("WORKER_GRPC_PORT", p.worker),
        ("WORKER_MEMBERSHIP_PORT", p.membership[4]),
    ];
    env.extend(ports.map(|(name, port)| pair(name, port.to_string())));
    env
}

fn internal_tls(s: &ServerSettings<'_>) -> Environment {
    let data = |name: &str, pem: &str| pair(name, STANDARD.encode(pem));
    let tls = s.tls;
    vec![
        pair("TEMPORAL_TLS_REQUIRE_CLIENT_AUTH", "true"),
        data("TEMPORAL_TLS_SERVER_CERT_DATA", &tls.server_cert_pem),
        data("TEMPORAL_TLS_SERVER_KEY_DATA", tls.server_key_pem.expose()),
        data("TEMPORAL_TLS_SERVER_CA_CERT_DATA", &tls.ca_pem),
        data("TEMPORAL_TLS_FRONTEND_CERT_DATA", &tls.server_cert_pem),
        data("TEMPORAL_TLS_FRONTEND_KEY_DATA", tls.server_key_pem.expose()),
        data("TEMPORAL_TLS_CLIENT1_CA_CERT_DATA", &tls.ca_pem),
        pair("TEMPORAL_TLS_INTERNODE_SERVER_NAME", INTERNAL_SERVER_NAME),
        pair("TEMPORAL_TLS_FRONTEND_SERVER_NAME", INTERNAL_SERVER_NAME),
    ]
}

fn authorization(s: &ServerSettings<'_>) -> Environment {
    if !s.config.auth_enabled {
        return Vec::new();
    }
    vec![
        pair("TEMPORAL_AUTH_AUTHORIZER", "default"),
        pair("TEMPORAL_AUTH_CLAIM_MAPPER", "default"),
        pair("TEMPORAL_JWT_KEY_SOURCE1", file_url(&jwks_file(s.config))),
        pair("TEMPORAL_JWT_KEY_SOURCE2", file_url(&internal_jwks_file(&s.config.runtime_dir))),
        pair("TEMPORAL_JWT_KEY_REFRESH", KEY_REFRESH),
    ]
}

fn database(s: &ServerSettings<'_>) -> Environment {
    match &s.config.temporal.database {
        Database::Postgres(postgres) => postgres_environment(s, postgres),
        Database::Sqlite => {
            let file = in_quotes(&sqlite_file(&s.config.temporal.data_dir).to_string_lossy());
            vec![pair("DB", "sqlite"), pair("DBNAME", &*file), pair("VISIBILITY_DBNAME", &*file)]
        }
    }
}

fn postgres_environment(s: &ServerSettings<'_>, postgres: &Postgres) -> Environment {
    let password = s.password.map(|p| in_quotes(p.expose())).unwrap_or_default();
    let mut env = vec![
        pair("DB", &postgres.plugin),
        pair("POSTGRES_SEEDS", url_host(&postgres.host)),
        pair("DB_PORT", postgres.port.to_string()),
        pair("POSTGRES_USER", &postgres.user),
        pair("POSTGRES_PWD", password),
        pair("DBNAME", &postgres.database),
        pair("VISIBILITY_DBNAME", &postgres.visibility_database),
        pair("SQL_TLS_ENABLED", postgres.tls.enabled.to_string()),
    ];
    if let Some(ca) = postgres_ca_file(s.config) {
        env.push(pair("SQL_CA", with_quotes(&ca)));
        env.push(pair("SQL_HOST_VERIFICATION", postgres.tls.verify_host.to_string()));
        if let Some((cert, key)) = &postgres.tls.client {
            env.push(pair("SQL_CERT", with_quotes(cert)));
            env.push(pair("SQL_CERT_KEY", with_quotes(key)));
        }
    }
    env
}

/// A host as it stands before `:port`.
pub(super) fn url_host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn file_url(path: &Path) -> String {
    format!("file://{}", utf8_percent_encode(&path.to_string_lossy(), URL_PATH))
}

/// Escaped for the inside of a double-quoted YAML scalar.
fn in_quotes(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A path as a double-quoted YAML scalar.
fn with_quotes(path: &Path) -> String {
    format!("\"{}\"", in_quotes(&path.to_string_lossy()))
}
