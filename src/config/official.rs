//! The other variables of the official images: which reach Temporal as they are, which the warden decides.

use std::collections::BTreeMap;

use crate::secret::Secret;

/// Reach the server unchanged.
const PASSTHROUGH: &[&str] = &[
    "ENABLE_ES",
    "ES_PORT",
    "ES_PWD",
    "ES_SCHEME",
    "ES_SEC_VIS_INDEX",
    "ES_SEEDS",
    "ES_USER",
    "ES_VERSION",
    "ES_VIS_INDEX",
    "GODEBUG",
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "PPROF_PORT",
    "PROMETHEUS_ENDPOINT",
    "PROMETHEUS_TIMER_TYPE",
    "SQLITE_BUSY_TIMEOUT",
    "SQLITE_CACHE",
    "SQLITE_JOURNAL_MODE",
    "SQLITE_SYNCHRONOUS",
    "SQL_MAX_CONNS",
    "SQL_MAX_CONN_TIME",
    "SQL_MAX_IDLE_CONNS",
    "SQL_VIS_MAX_CONNS",
    "SQL_VIS_MAX_CONN_TIME",
    "SQL_VIS_MAX_IDLE_CONNS",
    "STATSD_ENDPOINT",
    "TEMPORAL_AVAILABILITY_ZONE",
    "TEMPORAL_OTEL_DEBUG",
    "TZ",
];
/// As [`PASSTHROUGH`], by beginning.
const PASSTHROUGH_PREFIX: &str = "OTEL_";

/// Decided by the warden: name and what to do instead.
const OWNED: &[(&str, &str)] = &[
    ("BIND_ON_IP", LOOPBACK),
    ("CLUSTER_HTTP_ADDRESS", LOOPBACK),
    ("CLUSTER_RPC_ADDRESS", LOOPBACK),
    ("FRONTEND_GRPC_PORT", LOOPBACK),
    ("FRONTEND_HTTP_PORT", LOOPBACK),
    ("FRONTEND_MEMBERSHIP_PORT", LOOPBACK),
    ("HISTORY_GRPC_PORT", LOOPBACK),
    ("HISTORY_MEMBERSHIP_PORT", LOOPBACK),
    ("INTERNAL_FRONTEND_GRPC_PORT", LOOPBACK),
    ("INTERNAL_FRONTEND_HTTP_PORT", LOOPBACK),
    ("INTERNAL_FRONTEND_MEMBERSHIP_PORT", LOOPBACK),
    ("MATCHING_GRPC_PORT", LOOPBACK),
    ("MATCHING_MEMBERSHIP_PORT", LOOPBACK),
    ("PUBLIC_FRONTEND_ADDRESS", LOOPBACK),
    ("TEMPORAL_BROADCAST_ADDRESS", LOOPBACK),
    ("WORKER_GRPC_PORT", LOOPBACK),
    ("WORKER_MEMBERSHIP_PORT", LOOPBACK),
    ("USE_INTERNAL_FRONTEND", "the warden always runs an internal frontend"),
    ("TEMPORAL_SERVICES", SERVICES),
    ("SERVICES", SERVICES),
    ("TEMPORAL_AUTH_AUTHORIZER", AUTHORIZER),
    ("TEMPORAL_AUTH_CLAIM_MAPPER", AUTHORIZER),
    ("TEMPORAL_ALLOW_NO_AUTH", AUTHORIZER),
    ("TEMPORAL_JWT_KEY_REFRESH", KEYS),
    ("TEMPORAL_JWT_KEY_SOURCE1", KEYS),
    ("TEMPORAL_JWT_KEY_SOURCE2", KEYS),
    ("TEMPORAL_JWT_PERMISSIONS_CLAIM", KEYS),
    ("TEMPORAL_JWT_PERMISSIONS_REGEX", KEYS),
    ("TEMPORAL_TLS_CLIENT1_CA_CERT", TLS),
    ("TEMPORAL_TLS_CLIENT1_CA_CERT_DATA", TLS),
    ("TEMPORAL_TLS_CLIENT2_CA_CERT", TLS),
    ("TEMPORAL_TLS_CLIENT2_CA_CERT_DATA", TLS),
    ("TEMPORAL_TLS_EXPIRATION_CHECKS_CHECK_INTERVAL", TLS),
    ("TEMPORAL_TLS_EXPIRATION_CHECKS_ERROR_WINDOW", TLS),
    ("TEMPORAL_TLS_EXPIRATION_CHECKS_WARNING_WINDOW", TLS),
    ("TEMPORAL_TLS_FRONTEND_CERT", TLS),
    ("TEMPORAL_TLS_FRONTEND_CERT_DATA", TLS),
    ("TEMPORAL_TLS_FRONTEND_DISABLE_HOST_VERIFICATION", TLS),
    ("TEMPORAL_TLS_FRONTEND_KEY", TLS),
    ("TEMPORAL_TLS_FRONTEND_KEY_DATA", TLS),
    ("TEMPORAL_TLS_FRONTEND_SERVER_NAME", TLS),
    ("TEMPORAL_TLS_INTERNODE_DISABLE_HOST_VERIFICATION", TLS),
    ("TEMPORAL_TLS_INTERNODE_SERVER_NAME", TLS),
    ("TEMPORAL_TLS_REFRESH_INTERVAL", TLS),
    ("TEMPORAL_TLS_REQUIRE_CLIENT_AUTH", TLS),
    ("TEMPORAL_TLS_SERVER_CA_CERT", TLS),
    ("TEMPORAL_TLS_SERVER_CERT", TLS),
    ("TEMPORAL_TLS_SERVER_CERT_DATA", TLS),
    ("TEMPORAL_TLS_SERVER_KEY", TLS),
    ("TEMPORAL_TLS_SERVER_KEY_DATA", TLS),
    ("DYNAMIC_CONFIG_FILE_PATH", "set WARDEN_DYNAMIC_CONFIG_FILE"),
    ("SQL_HOST_NAME", "Temporal's PostgreSQL plugin checks the host of POSTGRES_SEEDS; use a name its certificate has"),
    ("SQLITE_MODE", SQLITE),
    ("SQLITE_SETUP", SQLITE),
    ("TEMPORAL_CONFIG_DIR", RENDERED),
    ("TEMPORAL_ENVIRONMENT", RENDERED),
    ("TEMPORAL_ROOT", RENDERED),
    ("TEMPORAL_SERVER_CONFIG_FILE_PATH", RENDERED),
    ("VISIBILITY_DB_PORT", ONE_POSTGRES),
    ("VISIBILITY_POSTGRES_PWD", ONE_POSTGRES),
    ("VISIBILITY_POSTGRES_SEEDS", ONE_POSTGRES),
    ("VISIBILITY_POSTGRES_USER", ONE_POSTGRES),
    ("CASSANDRA_SEEDS", STORES),
    ("KEYSPACE", STORES),
    ("MYSQL_SEEDS", STORES),
    ("DEFAULT_NAMESPACE", "set WARDEN_NAMESPACES"),
    ("DEFAULT_NAMESPACE_RETENTION", "set WARDEN_NAMESPACE_RETENTION"),
    ("SKIP_DB_CREATE", "set WARDEN_DATABASE_CREATE=false"),
    ("SKIP_SCHEMA_SETUP", "set WARDEN_SCHEMA_SETUP=false"),
];
const LOOPBACK: &str = "Temporal listens on loopback ports of the warden's choice; clients use WARDEN_LISTEN";
const SERVICES: &str = "the warden starts all services";
const AUTHORIZER: &str = "the warden turns Temporal's authorizer on; see TEMPORAL_AUTH_ENABLED";
const KEYS: &str = "Temporal's authorizer reads the keys in WARDEN_CERTS_DIR";
const TLS: &str = "TLS on the public port is the gateway's, with the files in WARDEN_CERTS_DIR";
const SQLITE: &str = "the warden keeps SQLite files in WARDEN_DATA_DIR";
const RENDERED: &str = "the warden gives Temporal its configuration by environment";
const ONE_POSTGRES: &str = "both stores are on the server of POSTGRES_SEEDS; VISIBILITY_DBNAME names the database";
const STORES: &str = "the stores are PostgreSQL and SQLite; set POSTGRES_SEEDS or DB=sqlite";

/// What of `environment` reaches Temporal unchanged.
pub(super) fn passthrough(environment: &BTreeMap<String, String>) -> BTreeMap<String, Secret<String>> {
    let wanted = |name: &str| PASSTHROUGH.contains(&name) || name.starts_with(PASSTHROUGH_PREFIX);
    environment.iter().filter(|(k, _)| wanted(k)).map(|(k, v)| (k.clone(), Secret::new(v.clone()))).collect()
}

/// What the user set and the warden decides, one line each.
pub(super) fn notices(environment: &BTreeMap<String, String>) -> Vec<String> {
    let set = OWNED.iter().filter(|(name, _)| environment.contains_key(*name));
    set.map(|(name, instead)| format!("{name} has no effect here: {instead}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_variable_the_warden_owns_is_kept_from_temporal_and_named() {
        let environment = environment(&[("BIND_ON_IP", "0.0.0.0"), ("PROMETHEUS_ENDPOINT", "127.0.0.1:9090")]);
        let passed: Vec<_> = passthrough(&environment).into_keys().collect();
        assert_eq!(passed, ["PROMETHEUS_ENDPOINT"]);
        assert!(notices(&environment)[0].starts_with("BIND_ON_IP has no effect here: "));
    }

    #[test]
    fn the_cli_presets_of_the_image_raise_no_notice() {
        let preset = environment(&[("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/x"), ("TEMPORAL_ADDRESS", "temporal:7233")]);
        assert!(notices(&preset).is_empty());
        assert!(passthrough(&preset).is_empty());
    }

    #[test]
    fn no_variable_is_both_passed_and_owned() {
        assert!(OWNED.iter().all(|(name, _)| !PASSTHROUGH.contains(name) && !name.starts_with(PASSTHROUGH_PREFIX)));
    }
}
