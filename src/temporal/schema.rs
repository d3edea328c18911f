//! The database's schema as data: the job of the child that brings it up to date, and its steps.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{environment::pair, settings};
use crate::{
    config::{Config, Database},
    secret::Secret,
};

/// What the child `temporal-warden schema` is told on its standard input, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Wait for PostgreSQL, create what is missing, bring the schema up to date.
    Postgres(Box<PostgresJob>),
    /// Before an engine with SQLite starts.
    SqliteBefore {
        /// The file.
        database: PathBuf,
    },
    /// After that engine was healthy.
    SqliteAfter {
        /// The file.
        database: PathBuf,
    },
}

/// How PostgreSQL is reached, and what is to be there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostgresJob {
    /// `temporal-sql-tool`.
    pub tool: PathBuf,
    /// The server's plugin.
    pub plugin: String,
    /// Host, also the name checked in its certificate.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: Option<Secret<String>>,
    /// TLS; `None` only where the user turned it off.
    pub tls: Option<TlsJob>,
    /// The stores.
    pub stores: Vec<Store>,
    /// Whether missing databases may be created.
    pub create: bool,
    /// Whether the schema is set up and updated.
    pub setup: bool,
    /// Longest wait for the database, and for another container's set-up; zero = for ever.
    pub wait: Duration,
}

/// TLS towards PostgreSQL.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TlsJob {
    /// Roots.
    pub ca_file: PathBuf,
    /// Whether the host's name must be in the certificate.
    pub verify_host: bool,
    /// Client certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A database and the schema it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// The database.
    pub database: String,
    /// The tool's name of the embedded schema.
    pub schema: String,
}

/// One call of the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its database.
    pub database: String,
    /// In words.
    pub doing: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// The job for `config` before the engine starts; `None` for engines without a database of ours.
pub fn job(config: &Config, password: Option<&Secret<String>>) -> Option<Job> {
    use crate::config::EngineKind::{Dev, External, Server};
    let data_dir = &config.temporal.data_dir;
    match (config.engine, &config.temporal.database) {
        (External, _) => None,
        (Dev, _) => Some(Job::SqliteBefore { database: settings::dev_sqlite_file(data_dir) }),
        (Server, Database::Sqlite) => Some(Job::SqliteBefore { database: settings::sqlite_file(data_dir) }),
        (Server, Database::Postgres(postgres)) => Some(Job::Postgres(Box::new(PostgresJob {
            tool: config.temporal.sql_tool_program.clone(),
            plugin: postgres.plugin.clone(),
            host: postgres.host.clone(),
            port: postgres.port,
            user: postgres.user.clone(),
            password: password.cloned(),
            tls: settings::postgres_ca_file(config).map(|ca_file| TlsJob {
                ca_file,
                verify_host: postgres.tls.verify_host,
                client: postgres.tls.client.clone(),
            }),
            stores: stores(&postgres.database, &postgres.visibility_database),
            create: postgres.create,
            setup: config.temporal.schema_setup,
            wait: postgres.wait,
        }))),
    }
}

/// The job once the engine was healthy, if there is one.
pub fn job_after(before: &Job) -> Option<Job> {
    match before {
        Job::SqliteBefore { database } => Some(Job::SqliteAfter { database: database.clone() }),
        _ => None,
    }
}

fn stores(main: &str, visibility: &str) -> Vec<Store> {
    let store =
        |database: &str, name: &str| Store { database: database.to_owned(), schema: format!("postgresql/v12/{name}") };
    vec![store(main, "temporal"), store(visibility, "visibility")]
}

/// The tool's calls, in order. Each may be repeated: one that was done before changes nothing.
pub fn steps(job: &PostgresJob) -> Vec<Step> {
    let of = |store: &Store| {
        let step = |doing: &str, args: &[&str]| Step {
            database: store.database.clone(),
            doing: format!("{}: {doing}", store.database),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
        };
        [
            step("version tables", &["setup-schema", "-v", "0.0"]),
            step(&format!("up to date with {}", store.schema), &["update-schema", "--schema-name", &store.schema]),
        ]
    };
    job.stores.iter().flat_map(of).collect()
}

/// The tool's environment for one database; its names are not the server's.
pub fn tool_environment(job: &PostgresJob, database: &str) -> super::environment::Environment {
    let mut env = vec![
        pair("SQL_PLUGIN", &job.plugin),
        pair("SQL_HOST", super::environment::url_host(&job.host)),
        pair("SQL_PORT", job.port.to_string()),
        pair("SQL_USER", &job.user),
        pair("SQL_DATABASE", database),
    ];
    if let Some(password) = &job.password {
        env.push(("SQL_PASSWORD".to_owned(), password.clone()));
    }
    if let Some(tls) = &job.tls {
        env.push(pair("SQL_TLS", "true"));
        env.push(pair("SQL_TLS_CA_FILE", tls.ca_file.to_string_lossy()));
        env.push(pair("SQL_TLS_DISABLE_HOST_VERIFICATION", (!tls.verify_host).to_string()));
        if let Some((cert, key)) = &tls.client {
            env.push(pair("SQL_TLS_CERT_FILE", cert.to_string_lossy()));
            env.push(pair("SQL_TLS_KEY_FILE", key.to_string_lossy()));
        }
    }
    env
}

/// What an administrator runs when the role may not create databases.
pub fn creation_sql(user: &str, databases: &[&str]) -> String {
    let one = |database: &&str| format!("CREATE DATABASE \"{database}\" OWNER \"{user}\";");
    databases.iter().map(one).collect::<Vec<_>>().join(" ")
}
