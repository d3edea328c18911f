//! What a user may write in the environment and in `warden.toml`, and what is said when it is wrong.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use temporal_warden::config::{Config, Database, EngineKind, Errors, ExternalKeys, load};

/// Loads from these variables and files, nothing else.
fn config(environment: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Config, Errors> {
    let files: BTreeMap<_, _> = files.iter().copied().collect();
    let read = |path: &Path| {
        let text = path.to_str().and_then(|p| files.get(p));
        text.map(|t| (*t).to_owned()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    load::from(environment, read).map(|(config, _)| config)
}

fn errors(environment: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<String> {
    config(environment, files).expect_err("must be refused").lines().to_vec()
}

const SQLITE: (&str, &str) = ("DB", "sqlite");
const FILE: &str = "/etc/temporal/warden.toml";

#[test]
fn the_defaults_are_those_of_the_contract() {
    let c = config(&[SQLITE], &[]).expect("defaults are valid");
    assert_eq!(c.engine, EngineKind::Server);
    assert!(c.tls_enabled && c.auth_enabled && c.notices.is_empty(), "{:?}", c.notices);
    assert_eq!(c.gateway.listen.to_string(), "0.0.0.0:7233");
    assert_eq!(c.certs.cert_ttl, Duration::from_secs(90 * 86400));
    assert_eq!(c.temporal.namespaces, ["default"]);
    let sans: Vec<_> = c.certs.server_sans.iter().map(ToString::to_string).collect();
    let names = ["temporal", "temporal-server", "localhost", "app_data_temporal_server", "127.0.0.1", "::1"];
    assert_eq!(sans, names);
}

#[test]
fn all_errors_come_at_once_and_name_variable_value_source_and_remedy() {
    let seen = errors(
        &[SQLITE, ("WARDEN_CERT_TTL", "90 dayz"), ("WARDEN_LISTEN", "7233"), ("WARDEN_START_LIMIT", "0")],
        &[(FILE, "audit_sync = \"never\"\n")],
    );
    assert_eq!(seen.len(), 4, "{seen:#?}");
    assert!(seen.iter().any(|e| e.starts_with("WARDEN_CERT_TTL=\"90 dayz\" (environment): is no duration")));
    assert!(
        seen.iter().any(|e| e == "WARDEN_AUDIT_SYNC=\"never\" (/etc/temporal/warden.toml): must be batch or always")
    );
}

#[test]
fn an_unknown_name_is_an_error_that_names_the_nearest_known_one() {
    let seen = errors(&[SQLITE, ("WARDEN_CERTS_TTL", "1d")], &[(FILE, "lisen = \"x\"\n[temporal]\nDB_PROT = 1\n")]);
    assert_eq!(seen.len(), 3, "{seen:#?}");
    assert!(
        seen.iter().any(|e| e.ends_with("WARDEN_CERTS_TTL (environment): unknown name; did you mean WARDEN_CERT_TTL?"))
    );
    assert!(seen.iter().any(|e| e.contains("unknown key lisen; did you mean listen?")));
    assert!(seen.iter().any(|e| e.contains("unknown key temporal.DB_PROT; did you mean temporal.DB_PORT?")));
}

#[test]
fn environment_wins_over_file_and_file_over_default() {
    let file = [(FILE, "max_connections = 7\nstart_limit = 8\nserver_sans = [\"a.example\", \"10.0.0.1\"]\n")];
    let c = config(&[SQLITE, ("WARDEN_START_LIMIT", "9")], &file).expect("valid");
    assert_eq!((c.gateway.max_connections, c.supervisor.start_limit), (7, 9));
    assert_eq!(c.certs.server_sans.len(), 8);
}

#[test]
fn a_size_is_written_with_or_without_a_unit_and_0_is_no_limit() {
    let size = |text| config(&[SQLITE, ("WARDEN_AUDIT_MAX_SIZE", text)], &[]).map(|c| c.audit.max_size);
    for (text, bytes) in [("100MiB", 100 << 20), ("1 gb", 1 << 30), ("64k", 64 << 10), ("20000", 20_000)] {
        assert_eq!(size(text).unwrap(), Some(bytes), "{text}");
    }
    assert_eq!(size("0").unwrap(), None);
    for (text, why) in [("10", "is too small; at least 16KiB"), ("much", "is no size"), ("99999999999g", "is no size")]
    {
        assert!(size(text).unwrap_err().lines()[0].contains(why), "{text}");
    }
}

#[test]
fn an_empty_variable_is_as_one_that_is_not_set() {
    let c = config(&[SQLITE, ("WARDEN_CERT_TTL", ""), ("WARDEN_FREE", "")], &[]);
    assert!(c.is_ok(), "{:?}", c.err());
}

#[test]
fn postgres_is_chosen_by_its_host_with_verified_tls() {
    let c = config(&[("POSTGRES_SEEDS", "postgres"), ("WARDEN_POSTGRES_SANS", "db.example")], &[]).expect("valid");
    let Database::Postgres(postgres) = &c.temporal.database else { panic!("not PostgreSQL") };
    assert_eq!((postgres.plugin.as_str(), postgres.port, postgres.user.as_str()), ("postgres12", 5432, "temporal"));
    assert!(postgres.tls.enabled && postgres.tls.verify_host && postgres.tls.ca_file.is_none());
    assert!(postgres.password.is_none());
    assert_eq!(c.certs.postgres_sans.iter().map(ToString::to_string).collect::<Vec<_>>(), ["postgres", "db.example"]);
}

#[test]
fn no_database_or_one_that_is_not_supported_says_what_to_set() {
    assert!(errors(&[], &[])[0].contains("set POSTGRES_SEEDS (and POSTGRES_USER), or DB=sqlite"));
    assert!(errors(&[("DB", "cassandra")], &[])[0].contains("use postgres12, postgres12_pgx or sqlite"));
    assert!(errors(&[("POSTGRES_SEEDS", "db:5433")], &[])[0].contains("DB_PORT"));
    assert!(config(&[("WARDEN_ENGINE", "dev")], &[]).is_ok());
}

#[test]
fn the_password_comes_from_its_file_without_the_line_end_and_is_never_shown() {
    let base = [("POSTGRES_SEEDS", "pg"), ("POSTGRES_PWD_FILE", "/run/secrets/pg")];
    let c = config(&base, &[("/run/secrets/pg", "s3cret\"\\\r\n")]).expect("valid");
    let Database::Postgres(postgres) = &c.temporal.database else { panic!("not PostgreSQL") };
    assert_eq!(postgres.password.as_ref().map(|p| p.expose().as_str()), Some("s3cret\"\\"));
    assert!(!format!("{c:?}").contains("s3cret"));
    let both = errors(&[base[0], base[1], ("POSTGRES_PWD", "hunter2")], &[("/run/secrets/pg", "x")]);
    let expected =
        "POSTGRES_PWD and POSTGRES_PWD_FILE=\"/run/secrets/pg\" (environment) are both set; keep one of them";
    assert!(both[0].contains(expected) && !both[0].contains("hunter2"), "{both:?}");
    assert!(errors(&base, &[])[0].contains("cannot be read"));
    let blank = errors(&base, &[("/run/secrets/pg", "two words")]);
    assert!(blank[0].contains("blanks") && !blank[0].contains("words\""), "{blank:?}");
}

#[test]
fn shown_rows_hide_secrets_and_say_where_each_value_came_from() {
    let environment =
        [("POSTGRES_SEEDS", "pg"), ("POSTGRES_PWD", "hunter2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let none = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let (_, rows) = load::from(environment, none).expect("valid");
    let row = |name: &str| rows.iter().find(|r| r.name == name).map(|r| (r.value.as_str(), r.source.as_str()));
    assert_eq!(row("POSTGRES_PWD"), Some(("[redacted]", "environment")));
    assert_eq!(row("WARDEN_CERT_TTL"), Some(("90d", "default")));
}

#[test]
fn what_is_less_safe_than_the_defaults_is_said() {
    let c = config(
        &[SQLITE, ("TEMPORAL_TLS_ENABLED", "no"), ("TEMPORAL_AUTH_ENABLED", "0"), ("WARDEN_AUTH_MODE", "report")],
        &[],
    );
    let notices = c.expect("valid").notices;
    assert_eq!(notices.len(), 3, "{notices:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let one = |k: &'static str, v: &'static str| errors(&[SQLITE, (k, v)], &[]).join("\n");
    assert!(one("WARDEN_CERT_TTL", "11y").contains("shorter than WARDEN_CA_TTL"));
    assert!(one("WARDEN_DRAIN_TIMEOUT", "25s").contains("shorter than WARDEN_STOP_TIMEOUT"));
    let bound = [SQLITE, ("WARDEN_TOKEN_BINDING", "true"), ("TEMPORAL_TLS_ENABLED", "false")];
    assert!(errors(&bound, &[])[0].contains("WARDEN_TOKEN_BINDING"));
    assert!(one("WARDEN_GATEWAY_UID", "1000").contains("must differ"));
    assert!(one("WARDEN_METRICS_LISTEN", "0.0.0.0:7233").contains("port of WARDEN_LISTEN"));
    assert!(one("WARDEN_PUBLISH_DIR", "/etc/temporal/certs/published").contains("must lie outside"));
    assert!(one("WARDEN_UPSTREAM", "host:7233").contains("WARDEN_ENGINE=external only"));
    assert!(one("WARDEN_CA_KEY_FILE", "/ca.key").contains("needs WARDEN_CA_CERT_FILE"));
    assert!(errors(&[("WARDEN_ENGINE", "external")], &[])[0].contains("host:port"));
}

#[test]
fn what_cannot_be_read_is_compared_with_nothing_and_what_is_compared_is_named() {
    for (name, value) in [("WARDEN_STOP_TIMEOUT", "1x"), ("WARDEN_CA_TTL", "long"), ("WARDEN_BACKOFF_CAP", "-1")] {
        let seen = errors(&[SQLITE, (name, value)], &[]);
        assert!(seen.len() == 1 && seen[0].starts_with(name), "{seen:#?}");
    }
    let seen = errors(&[SQLITE, ("WARDEN_STOP_TIMEOUT", "5s")], &[]);
    let words = "WARDEN_DRAIN_TIMEOUT=\"10s\" (default): must be shorter than WARDEN_STOP_TIMEOUT=\"5s\" (environment)";
    assert_eq!(seen, [words]);
}

#[test]
fn a_named_file_that_is_missing_is_an_error_the_default_one_is_not() {
    assert!(errors(&[SQLITE, ("WARDEN_CONFIG_FILE", "/nowhere.toml")], &[])[0].contains("/nowhere.toml"));
}

#[test]
fn a_database_that_the_engine_does_not_use_is_named() {
    let c = config(&[("WARDEN_ENGINE", "dev"), ("POSTGRES_SEEDS", "pg")], &[]).expect("valid");
    assert!(
        c.notices.iter().any(|n| n.starts_with("POSTGRES_SEEDS=\"pg\" (environment) has no effect")),
        "{:?}",
        c.notices
    );
}

#[test]
fn a_variable_of_the_official_image_that_the_warden_owns_is_named() {
    let c = config(&[SQLITE, ("BIND_ON_IP", "0.0.0.0"), ("SQL_MAX_CONNS", "5")], &[]).expect("valid");
    assert!(c.notices[0].starts_with("BIND_ON_IP has no effect"), "{:?}", c.notices);
    assert_eq!(c.temporal.passthrough.keys().collect::<Vec<_>>(), ["SQL_MAX_CONNS"]);
}

#[test]
fn the_front_finds_its_two_settings_however_wrong_the_others_are() {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(
        file.path(),
        "temporal_cli = \"/opt/temporal\"\nbogus = 1\n[temporal]\nTEMPORAL_TLS_ENABLED = false\n",
    )
    .expect("written");
    let path = file.path().to_string_lossy().into_owned();
    let environment = [("WARDEN_CONFIG_FILE".to_owned(), path), ("WARDEN_NONSENSE".to_owned(), "1".to_owned())];
    let front = load::front(environment);
    assert_eq!((front.cli_program.to_str(), front.tls_enabled), (Some("/opt/temporal"), false));
    let default = load::front([]);
    assert_eq!(default.cli_program.to_str(), Some("/usr/local/lib/temporal-warden/temporal"));
    assert!(default.tls_enabled);
}

#[test]
fn each_kind_of_bad_value_is_said_with_what_would_be_right() {
    let external = ("WARDEN_ENGINE", "external");
    let upstream = ("WARDEN_UPSTREAM", "temporal:7233");
    let postgres = ("POSTGRES_SEEDS", "db");
    let rows: [(&[(&str, &str)], &str); 27] = [
        (&[SQLITE, ("WARDEN_TOKEN_ISSUER", "a\u{1}b")], "must not be empty and have no control characters"),
        (&[SQLITE, ("WARDEN_NAMESPACES", "x")], "\"x\" is no namespace name; two or more of letters, digits, -_."),
        (&[external], "WARDEN_ENGINE=external needs the frontend as host:port"),
        (&[SQLITE, upstream], "is read with WARDEN_ENGINE=external only; set that or remove this"),
        (&[external, upstream, ("WARDEN_UPSTREAM_TLS_CERT", "/c")], "needs WARDEN_UPSTREAM_TLS_KEY as well"),
        (&[external, upstream, ("WARDEN_UPSTREAM_TLS_KEY", "/k")], "needs WARDEN_UPSTREAM_TLS_CERT as well"),
        (&[external, upstream, ("WARDEN_UPSTREAM_TLS_SERVER_NAME", "x")], "needs WARDEN_UPSTREAM_TLS_CA as well"),
        (&[SQLITE, ("WARDEN_CA_KEY_FILE", "/k")], "needs WARDEN_CA_CERT_FILE as well"),
        (&[SQLITE, ("WARDEN_LOG_LEVEL", "h2=loud")], "is no level or filter ("),
        (&[SQLITE, ("WARDEN_LOG_LEVEL", "verbose")], "is no level or filter (\"verbose\" is no level)"),
        (&[SQLITE, ("LOG_LEVEL", "loud")], "is no level of Temporal; use one of debug, info"),
        (&[SQLITE, ("WARDEN_AUDIT_STDOUT", "maybe")], "is no switch; write true or false"),
        (&[SQLITE, ("WARDEN_CERT_TTL", "1s")], "is too short; at least 10s"),
        (&[SQLITE, ("WARDEN_AUTH_MODE", "lax")], "must be enforce or report"),
        (&[postgres, ("POSTGRES_USER", "a b")], "must be made of letters, digits and _.-"),
        (&[SQLITE, ("WARDEN_SERVER_SANS", "-bad-")], "\"-bad-\" is neither a DNS name nor an IP address"),
        (&[SQLITE, ("DOCKER_HOST", "ftp://x")], "must be unix:///PATH or tcp://HOST:PORT"),
        (&[SQLITE, ("WARDEN_START_LIMIT", "0")], "must be a whole number from 1 to 1000"),
        (&[SQLITE, ("WARDEN_LISTEN", "7233")], "is no address and port; write for example 0.0.0.0:7233 or [::]:7233"),
        (&[SQLITE, ("WARDEN_CERTS_DIR", "certs")], "is no absolute path; write one that begins with /"),
        (&[SQLITE, ("WARDEN_AUDIT_MAX_SIZE", "much")], "is no size; write for example 500KiB, 100MiB or 1GiB"),
        (
            &[("POSTGRES_SEEDS", "db:5433")],
            "is no host name or address; write one without port, the port goes into DB_PORT",
        ),
        (
            &[postgres, ("POSTGRES_PWD", "two words")],
            "the password has blanks or control characters, with which Temporal cannot",
        ),
        (
            &[SQLITE, ("WARDEN_DEPENDENTS", "a=reboot")],
            "\"a=reboot\": there are restart, signal:SIGNAL, exec:COMMAND and none",
        ),
        (&[SQLITE, ("WARDEN_DEPENDENTS", "a/b")], "\"a/b\" is no container name"),
        (&[SQLITE, ("WARDEN_DEPENDENTS", "a=exec:x")], "exec is for labels only; there are restart and signal:SIGNAL"),
        (&[SQLITE, ("WARDEN_DEPENDENTS", "a=signal:NOTHING")], "\"a=signal:NOTHING\": no such signal"),
    ];
    for (file, why) in [
        ("a = [", "; correct the file"),
        ("lisen = 1\n", "/etc/temporal/warden.toml: unknown key lisen; did you mean listen?"),
        ("cert_ttl = { days = 1 }\n", "must be text, a number, true or false, or a list of text"),
    ] {
        let seen = errors(&[SQLITE], &[(FILE, file)]);
        assert!(seen.iter().any(|line| line.contains(why)), "{why}: {seen:#?}");
    }
    for (environment, why) in rows {
        let seen = errors(environment, &[]);
        assert!(seen.iter().any(|line| line.contains(why)), "{why}: {seen:#?}");
    }
}

const ISSUER: (&str, &str) = ("WARDEN_EXTERNAL_ISSUER", "https://id.example.com/realms/main");
const AUDIENCE: (&str, &str) = ("WARDEN_EXTERNAL_AUDIENCE", "temporal");
const SCOPES: (&str, &str) = ("WARDEN_EXTERNAL_SCOPES", "ops=temporal-client, cn=seers=temporal-client:read");
const AUTHORITIES: (&str, &str) = ("/etc/ssl/certs/ca-certificates.crt", "PEM of the image");

#[test]
fn an_external_issuer_needs_an_audience_and_a_scope_and_no_more() {
    let external = config(&[SQLITE, ISSUER, AUDIENCE, SCOPES], &[AUTHORITIES]).unwrap().external.unwrap();
    let ExternalKeys::Fetched(keys) = external.keys else { panic!("fetched") };
    assert_eq!((keys.url.as_str(), keys.discovery, keys.port), (ISSUER.1, true, 443));
    assert_eq!(keys.trust_pem.as_deref(), Some(AUTHORITIES.1));
    let mapped: Vec<_> = external.rules.scopes.iter().map(|m| (m.value.as_str(), m.means.as_str())).collect();
    assert_eq!(mapped, [("ops", "temporal-client"), ("cn=seers", "temporal-client:read")]);
    assert!(config(&[SQLITE], &[]).unwrap().external.is_none());
}

#[test]
fn what_is_wrong_with_an_external_issuer_is_said_all_at_once() {
    let set = |name, value| (name, value);
    let seen = errors(
        &[
            SQLITE,
            set("WARDEN_EXTERNAL_ISSUER", "temporal-warden"),
            set("WARDEN_EXTERNAL_SCOPES", "ops=admin,seers"),
            set("WARDEN_EXTERNAL_JWKS_URL", "http://id.example.com/keys"),
            set("WARDEN_EXTERNAL_ALGORITHMS", "ES256,HS256,none"),
            set("WARDEN_EXTERNAL_LEEWAY", "1h"),
            set("WARDEN_EXTERNAL_NAMESPACES", "a=temporal-system"),
            set("WARDEN_EXTERNAL_STALE", "1m"),
            set("WARDEN_EXTERNAL_CA_FILE", "/none.crt"),
        ],
        &[],
    )
    .join("\n");
    for words in [
        "is the warden's own issuer",
        "ops: \"admin\" is no scope",
        "\"seers\" is no VALUE=MEANING",
        "plain http, by which anybody in between could give keys",
        "\"HS256\" is none of",
        "\"none\" is none of",
        "is too long; at most 5m",
        "is no namespace that may be given",
        "must not be shorter than WARDEN_EXTERNAL_REFRESH",
        "must name at least one audience",
        "WARDEN_EXTERNAL_CA_FILE=\"/none.crt\" (environment): cannot be read",
        "needs WARDEN_EXTERNAL_NAMESPACES_CLAIM",
    ] {
        assert!(seen.contains(words), "{words}\n---\n{seen}");
    }
    for (name, value, why) in [
        ("WARDEN_EXTERNAL_ALGORITHMS", "HS256", "\"HS256\" is none of RS256, PS256, ES256, ES384, EdDSA"),
        ("WARDEN_EXTERNAL_ALGORITHMS", " , ", "must name at least one of RS256, PS256, ES256, ES384, EdDSA"),
        ("WARDEN_EXTERNAL_SUBJECT_CLAIM", " ", "must name a claim"),
        ("WARDEN_EXTERNAL_RETRY", "1h", "must not be longer than WARDEN_EXTERNAL_REFRESH"),
        ("WARDEN_EXTERNAL_JWKS_URL", "https://a b", "is no URL ("),
        ("WARDEN_EXTERNAL_JWKS_URL", "/keys", "is no URL with a host"),
        ("WARDEN_EXTERNAL_JWKS_URL", "ftp://id.example.com/keys", "must begin with https://"),
    ] {
        let seen = errors(&[SQLITE, ISSUER, AUDIENCE, SCOPES, (name, value)], &[AUTHORITIES]).join("\n");
        assert!(seen.contains(why), "{why}: {seen}");
    }
    let alone = errors(&[SQLITE, AUDIENCE], &[]).join("\n");
    assert!(alone.contains("needs WARDEN_EXTERNAL_ISSUER"), "{alone}");
    let unknown = errors(&[SQLITE, ISSUER, AUDIENCE, SCOPES], &[]).join("\n");
    assert!(unknown.contains("there are no authorities"), "{unknown}");
    let file = [ISSUER, AUDIENCE, SCOPES, SQLITE, set("WARDEN_EXTERNAL_JWKS_FILE", "/keys.json")];
    let empty = errors(&file, &[("/keys.json", "{\"keys\":[]}")]).join("\n");
    assert!(empty.contains("holds no key that can be used"), "{empty}");
}
