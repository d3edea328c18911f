//! Raw settings → [`Config`]: pure, all errors at once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Audit, AuditFail, AuditSync, AuthMode, Certs, Config, Docker, DockerHost, EngineKind, Gateway, Log, LogFormat,
    OwnCa, SanName, Supervisor, Temporal, Tokens, Upstream, UpstreamTls, check_database, check_external,
    errors::Errors,
    parse::{Parser, is_off},
    raw::Raw,
};
use crate::secret::Secret;

/// What `load` brings beside the settings.
#[derive(Clone)]
pub(super) struct Found {
    /// `POSTGRES_PWD` or the content of `POSTGRES_PWD_FILE`.
    pub(super) password: Option<Secret<String>>,
    /// Content of `WARDEN_CA_KEY_PASSPHRASE_FILE`.
    pub(super) ca_key_passphrase: Option<Secret<String>>,
    /// Content of `WARDEN_DYNAMIC_CONFIG_FILE`.
    pub(super) dynamic_config: Option<String>,
    /// Content of `WARDEN_EXTERNAL_JWKS_FILE`.
    pub(super) external_jwks: Option<String>,
    /// Content of `WARDEN_EXTERNAL_CA_FILE`, or the authorities of the image where they are needed.
    pub(super) external_ca: Option<String>,
    /// Variables that reach Temporal unchanged.
    pub(super) passthrough: BTreeMap<String, Secret<String>>,
    /// What is to be said at each start.
    pub(super) notices: Vec<String>,
}

/// Shortest life of a certificate or token: below it renewal could not keep up.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);
/// A smaller file would be rotated by its first records.
const SMALLEST_FILE: u64 = 16 << 10;
const SECOND: Duration = Duration::from_secs(1);
/// Names of the server certificate that are always there (contract §1).
const SERVER_SANS: &str = "temporal,temporal-server,localhost,app_data_temporal_server,127.0.0.1,::1";

/// `raw` as a [`Config`], or everything that is wrong; `errors` are those found while loading.
pub(super) fn check(raw: &Raw, found: Found, errors: Vec<String>) -> Result<Config, Errors> {
    let mut p = Parser(errors);
    let engine =
        p.choice(&raw.engine, &[EngineKind::Server, EngineKind::Dev, EngineKind::External], "server, dev or external");
    let t = &raw.temporal;
    let mut config = Config {
        engine,
        tls_enabled: p.switch(&t.temporal_tls_enabled),
        auth_enabled: p.switch(&t.temporal_auth_enabled),
        runtime_dir: p.path(&raw.runtime_dir),
        certs: certs(&mut p, raw, found.ca_key_passphrase),
        tokens: tokens(&mut p, raw),
        external: check_external::external(&mut p, raw, (found.external_jwks, found.external_ca)),
        gateway: gateway(&mut p, raw),
        audit: audit(&mut p, raw),
        temporal: temporal(&mut p, raw, engine, found.password, found.dynamic_config),
        supervisor: supervisor(&mut p, raw),
        docker: docker(&mut p, raw),
        log: log(&mut p, raw),
        notices: found.notices,
    };
    config.temporal.passthrough = found.passthrough;
    relations(&mut p, raw, &config);
    config.notices.extend(loosened(&config));
    if engine != EngineKind::Server && raw.temporal.postgres_seeds.given().is_some() {
        let shown = raw.temporal.postgres_seeds.shown();
        config.notices.push(format!("{shown} has no effect here: only WARDEN_ENGINE=server uses a database of yours"));
    }
    if config.external.is_some() && !config.auth_enabled {
        config.notices.push("WARDEN_EXTERNAL_ISSUER has no effect: TEMPORAL_AUTH_ENABLED=false".to_owned());
    }
    if p.0.is_empty() { Ok(config) } else { Err(Errors(p.0)) }
}

fn certs(p: &mut Parser, raw: &Raw, ca_key_passphrase: Option<Secret<String>>) -> Certs {
    let fixed = SERVER_SANS.split(',').filter_map(|name| name.parse().ok());
    let hosts = raw.temporal.postgres_seeds.text.split(',').filter_map(|host| host.trim().parse().ok());
    Certs {
        dir: p.path(&raw.certs_dir),
        publish_dir: p.path(&raw.publish_dir),
        server_sans: unique(fixed.chain(p.list(&raw.server_sans))),
        postgres_sans: unique(hosts.chain(p.list(&raw.postgres_sans))),
        publish_gid: p.number(&raw.publish_gid, 0..=u32::MAX - 1),
        postgres_gid: p.number(&raw.postgres_gid, 0..=u32::MAX - 1),
        ca_ttl: p.duration_from(&raw.ca_ttl, SHORTEST_LIFE),
        cert_ttl: p.duration_from(&raw.cert_ttl, SHORTEST_LIFE),
        lock_timeout: p.duration_from(&raw.lock_timeout, SECOND),
        own_ca: own_ca(p, raw),
        ca_key_passphrase,
    }
}

fn unique(names: impl Iterator<Item = SanName>) -> Vec<SanName> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name)
        }
    });
    seen
}

fn own_ca(p: &mut Parser, raw: &Raw) -> Option<OwnCa> {
    let key_file = p.optional_path(&raw.ca_key_file);
    match p.optional_path(&raw.ca_cert_file) {
        Some(cert_file) => Some(OwnCa { cert_file, key_file }),
        None => {
            if key_file.is_some() {
                p.refuse(&raw.ca_key_file, "needs WARDEN_CA_CERT_FILE as well");
            }
            None
        }
    }
}

fn tokens(p: &mut Parser, raw: &Raw) -> Tokens {
    for setting in [&raw.token_issuer, &raw.token_audience] {
        if setting.text.is_empty() || setting.text.chars().any(char::is_control) {
            p.refuse(setting, "must not be empty and have no control characters");
        }
    }
    Tokens {
        issuer: raw.token_issuer.text.clone(),
        audience: raw.token_audience.text.clone(),
        ttl: p.duration_from(&raw.token_ttl, SHORTEST_LIFE),
        key_ttl: key_ttl(p, raw),
        binding: p.switch(&raw.token_binding),
    }
}

fn key_ttl(p: &mut Parser, raw: &Raw) -> Duration {
    let ttl = p.duration(&raw.signing_key_ttl);
    if !ttl.is_zero() && ttl < SHORTEST_LIFE { p.duration_from(&raw.signing_key_ttl, SHORTEST_LIFE) } else { ttl }
}

fn gateway(p: &mut Parser, raw: &Raw) -> Gateway {
    Gateway {
        listen: p.address(&raw.listen),
        plaintext_listen: raw.plaintext_listen.given().is_some().then(|| p.address(&raw.plaintext_listen)),
        metrics_listen: metrics_listen(p, raw),
        auth_mode: p.choice(&raw.auth_mode, &[AuthMode::Enforce], "enforce or report"),
        policy_file: p.optional_path(&raw.policy_file),
        threads: p.number(&raw.gateway_threads, 0..=1024),
        max_connections: p.number(&raw.max_connections, 1..=1_000_000),
        max_connections_per_address: p.number(&raw.max_connections_per_address, 1..=1_000_000),
        max_streams: p.number(&raw.max_streams, 1..=1_000_000),
        handshake_timeout: p.duration_from(&raw.handshake_timeout, Duration::from_millis(100)),
        drain_timeout: p.duration(&raw.drain_timeout),
        upstream_wait: p.duration(&raw.upstream_wait),
        uid: p.number(&raw.gateway_uid, 1..=u32::MAX - 1),
    }
}

fn metrics_listen(p: &mut Parser, raw: &Raw) -> Option<SocketAddr> {
    let on = raw.metrics_listen.given().is_some_and(|text| !is_off(text));
    on.then(|| p.address(&raw.metrics_listen))
}

fn audit(p: &mut Parser, raw: &Raw) -> Audit {
    Audit {
        file: p.path(&raw.audit_file),
        stdout: p.switch(&raw.audit_stdout),
        sync: p.choice(&raw.audit_sync, &[AuditSync::Batch], "batch or always"),
        fail: p.choice(&raw.audit_fail, &[AuditFail::Closed], "closed or open"),
        max_size: p.size(&raw.audit_max_size, SMALLEST_FILE),
        keep: p.number(&raw.audit_keep, 1..=500),
    }
}

fn temporal(
    p: &mut Parser,
    raw: &Raw,
    engine: EngineKind,
    password: Option<Secret<String>>,
    dynamic_config: Option<String>,
) -> Temporal {
    Temporal {
        server_program: p.path(&raw.temporal_server),
        sql_tool_program: p.path(&raw.temporal_sql_tool),
        cli_program: p.path(&raw.temporal_cli),
        uid: p.number(&raw.temporal_uid, 1..=u32::MAX - 1),
        data_dir: p.path(&raw.data_dir),
        namespaces: namespaces(p, raw),
        namespace_retention: p.duration_from(&raw.namespace_retention, Duration::from_secs(3600)),
        database: check_database::database(p, raw, engine, password),
        history_shards: p.number(&raw.temporal.num_history_shards, 1..=16384),
        log_level: check_database::log_level(p, raw),
        upstream: upstream(p, raw, engine),
        passthrough: BTreeMap::new(),
        start_timeout: p.duration_from(&raw.engine_start_timeout, SECOND),
        dynamic_config,
        schema_setup: p.switch(&raw.schema_setup),
    }
}

fn namespaces(p: &mut Parser, raw: &Raw) -> Vec<String> {
    let names: Vec<String> =
        raw.namespaces.text.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    let good = |n: &String| {
        n.len() >= 2
            && n.starts_with(|c: char| c.is_ascii_alphanumeric())
            && n.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && n != "temporal-system"
    };
    for name in names.iter().filter(|n| !good(n)) {
        p.refuse(&raw.namespaces, format_args!("{name:?} is no namespace name; two or more of letters, digits, -_."));
    }
    names
}

fn upstream(p: &mut Parser, raw: &Raw, engine: EngineKind) -> Option<Upstream> {
    if engine != EngineKind::External {
        if raw.upstream.given().is_some() {
            p.refuse(&raw.upstream, "is read with WARDEN_ENGINE=external only; set that or remove this");
        }
        return None;
    }
    let parts = raw.upstream.text.rsplit_once(':');
    if !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|n| n > 0)) {
        p.refuse(&raw.upstream, "WARDEN_ENGINE=external needs the frontend as host:port");
    }
    Some(Upstream { address: raw.upstream.text.clone(), tls: upstream_tls(p, raw) })
}

fn upstream_tls(p: &mut Parser, raw: &Raw) -> Option<UpstreamTls> {
    let client = p.pair(&raw.upstream_tls_cert, &raw.upstream_tls_key);
    let server_name = raw.upstream_tls_server_name.given().map(str::to_owned);
    let Some(ca_file) = p.optional_path(&raw.upstream_tls_ca) else {
        for setting in [&raw.upstream_tls_cert, &raw.upstream_tls_server_name] {
            if setting.given().is_some() {
                p.refuse(setting, "needs WARDEN_UPSTREAM_TLS_CA as well");
            }
        }
        return None;
    };
    Some(UpstreamTls { ca_file, client, server_name })
}

fn supervisor(p: &mut Parser, raw: &Raw) -> Supervisor {
    Supervisor {
        start_limit: p.number(&raw.start_limit, 1..=1000),
        start_window: p.duration_from(&raw.start_window, SECOND),
        stop_timeout: p.duration_from(&raw.stop_timeout, SECOND),
        backoff_base: p.duration_from(&raw.backoff_base, Duration::from_millis(1)),
        backoff_cap: p.duration_from(&raw.backoff_cap, Duration::from_millis(1)),
        probe_limit: p.number(&raw.probe_limit, 0..=1000),
    }
}

fn docker(p: &mut Parser, raw: &Raw) -> Docker {
    let setting = &raw.temporal.docker_host;
    let host = setting.text.parse().unwrap_or_else(|why: String| {
        p.refuse(setting, why);
        DockerHost::Unix(PathBuf::new())
    });
    Docker { host, named: p.list(&raw.dependents), timeout: p.duration_from(&raw.dependent_timeout, SECOND) }
}

fn log(p: &mut Parser, raw: &Raw) -> Log {
    if let Err(e) = crate::telemetry::parse_filter(&raw.log_level.text) {
        p.refuse(&raw.log_level, format_args!("is no level or filter ({e}); write for example info"));
    }
    Log { format: p.choice(&raw.log_format, &[LogFormat::Text], "text or json"), level: raw.log_level.text.clone() }
}

/// Settings that are good alone and bad together.
fn relations(p: &mut Parser, raw: &Raw, config: &Config) {
    let (certs, gateway, supervisor) = (&config.certs, &config.gateway, &config.supervisor);
    if certs.cert_ttl >= certs.ca_ttl && p.are_good(&[&raw.cert_ttl, &raw.ca_ttl]) {
        p.refuse(&raw.cert_ttl, format_args!("must be shorter than {}", raw.ca_ttl.shown()));
    }
    if config.tokens.binding && !config.tls_enabled {
        p.refuse(
            &raw.token_binding,
            "needs TEMPORAL_TLS_ENABLED=true: without client certificates no token could pass",
        );
    }
    let stops = [&raw.drain_timeout, &raw.stop_timeout];
    if gateway.drain_timeout >= supervisor.stop_timeout && p.are_good(&stops) {
        p.refuse(&raw.drain_timeout, format_args!("must be shorter than {}", raw.stop_timeout.shown()));
    }
    let pauses = [&raw.backoff_base, &raw.backoff_cap];
    if supervisor.backoff_base > supervisor.backoff_cap && p.are_good(&pauses) {
        p.refuse(&raw.backoff_base, format_args!("must not be longer than {}", raw.backoff_cap.shown()));
    }
    if gateway.uid == config.temporal.uid {
        p.refuse(&raw.gateway_uid, "must differ from WARDEN_TEMPORAL_UID: neither may read the other's memory");
    }
    if nested(&certs.dir, &certs.publish_dir) {
        p.refuse(&raw.publish_dir, "must lie outside WARDEN_CERTS_DIR, and the other way round");
    }
    let doors = [(&raw.plaintext_listen, gateway.plaintext_listen), (&raw.metrics_listen, gateway.metrics_listen)];
    for (setting, address) in doors {
        if address.is_some_and(|a| a.port() != 0 && a.port() == gateway.listen.port()) {
            p.refuse(setting, "uses the port of WARDEN_LISTEN; choose another");
        }
    }
}

fn nested(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// What makes the whole less safe than its defaults: said at each start.
fn loosened(config: &Config) -> Vec<String> {
    let plain = config
        .gateway
        .plaintext_listen
        .map(|a| format!("WARDEN_PLAINTEXT_LISTEN={a}: a second door without TLS is open"));
    let states = [
        (
            !config.tls_enabled,
            "TEMPORAL_TLS_ENABLED=false: the gateway's port is not encrypted and asks for no certificate",
        ),
        (!config.auth_enabled, "TEMPORAL_AUTH_ENABLED=false: nobody checks tokens"),
        (config.gateway.auth_mode == AuthMode::Report, "WARDEN_AUTH_MODE=report: nothing is refused, only recorded"),
        (
            config.engine == EngineKind::Dev,
            "WARDEN_ENGINE=dev: Temporal itself has no TLS and no authorizer; only the gateway enforces",
        ),
        (!config.postgres_is_encrypted(), "SQL_TLS_ENABLED=false: the password and all data go to PostgreSQL in clear"),
    ];
    states.into_iter().filter(|(on, _)| *on).map(|(_, text)| text.to_owned()).chain(plain).collect()
}
