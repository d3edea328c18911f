//! The database settings: raw → [`Database`].

use super::{Database, EngineKind, Postgres, PostgresTls, SanName, parse::Parser, raw::Raw};
use crate::secret::Secret;

const LOG_LEVELS: [&str; 7] = ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"];

/// Where `engine` keeps its data. Only engine `server` has a choice.
pub(super) fn database(p: &mut Parser, raw: &Raw, engine: EngineKind, password: Option<Secret<String>>) -> Database {
    let t = &raw.temporal;
    if engine != EngineKind::Server {
        return Database::Sqlite;
    }
    match (t.db.text.to_ascii_lowercase().as_str(), t.postgres_seeds.given()) {
        ("sqlite", _) => Database::Sqlite,
        ("", Some(_)) => Database::Postgres(Box::new(postgres(p, raw, "postgres12", password))),
        (plugin @ ("postgres12" | "postgres12_pgx"), Some(_)) => {
            Database::Postgres(Box::new(postgres(p, raw, plugin, password)))
        }
        ("", None) => {
            p.0.push("no database: set POSTGRES_SEEDS (and POSTGRES_USER), or DB=sqlite for one node".to_owned());
            Database::Sqlite
        }
        ("postgres12" | "postgres12_pgx", None) => {
            p.refuse(&t.db, "needs POSTGRES_SEEDS, the host of PostgreSQL");
            Database::Sqlite
        }
        _ => {
            p.refuse(&t.db, "is not supported; use postgres12, postgres12_pgx or sqlite");
            Database::Sqlite
        }
    }
}

fn postgres(p: &mut Parser, raw: &Raw, plugin: &str, password: Option<Secret<String>>) -> Postgres {
    let t = &raw.temporal;
    // Temporal writes a blank as `+` into the URL it logs in with, and PostgreSQL then sees a plus.
    if password.as_ref().is_some_and(|p| p.expose().contains(|c: char| c.is_whitespace() || c.is_control())) {
        let setting = if t.postgres_pwd.given().is_some() { &t.postgres_pwd } else { &t.postgres_pwd_file };
        p.refuse(
            setting,
            "the password has blanks or control characters, with which Temporal cannot log in; change it",
        );
    }
    Postgres {
        plugin: plugin.to_owned(),
        host: host(p, raw),
        port: p.number(&t.db_port, 1..=u16::MAX),
        // Temporal puts the role into a URL without escaping it.
        user: p.name(&t.postgres_user, "_.-"),
        password,
        database: p.name(&t.dbname, "_-"),
        visibility_database: p.name(&t.visibility_dbname, "_-"),
        tls: PostgresTls {
            enabled: p.switch(&t.sql_tls_enabled),
            verify_host: p.switch(&t.sql_host_verification),
            ca_file: p.optional_path(&t.sql_ca),
            client: p.pair(&t.sql_cert, &t.sql_cert_key),
        },
        wait: p.duration(&raw.database_wait),
        create: p.switch(&raw.database_create),
    }
}

fn host(p: &mut Parser, raw: &Raw) -> String {
    let seeds = &raw.temporal.postgres_seeds;
    let bare = seeds.text.trim_start_matches('[').trim_end_matches(']');
    if bare.contains(',') {
        p.refuse(seeds, "names several hosts, Temporal connects to one; name one, others go into WARDEN_POSTGRES_SANS");
    } else if bare.parse::<SanName>().is_err() {
        p.refuse(seeds, "is no host name or address; write one without port, the port goes into DB_PORT");
    }
    bare.to_owned()
}

/// `LOG_LEVEL`, as Temporal knows it.
pub(super) fn log_level(p: &mut Parser, raw: &Raw) -> String {
    let level = raw.temporal.log_level.text.to_ascii_lowercase();
    if !LOG_LEVELS.contains(&level.as_str()) {
        p.refuse(
            &raw.temporal.log_level,
            format_args!("is no level of Temporal; use one of {}", LOG_LEVELS.join(", ")),
        );
    }
    level
}
