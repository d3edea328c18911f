//! The body of the child `temporal-warden schema`: it talks to PostgreSQL so that PID 1 need not.
//!
//! Its job comes on standard input; it prints a line per step, which the parent shows, and exits 0 or 1.

use std::{
    io::{self, Read, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tokio_postgres::{Client, error::SqlState};

use super::{
    postgres::{Failure, connect, words},
    schema::{Job, PostgresJob, Step, creation_sql, steps, tool_environment},
    sqlite,
};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Database every PostgreSQL has, from which others are created.
const MAINTENANCE: &str = "postgres";
/// Key of the advisory lock: "warden" in ASCII.
const LOCK: i64 = 0x7761_7264_656e;

/// Why the schema is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard input is no job.
    #[error("the job on standard input cannot be read: {0}")]
    Job(io::Error),
    /// The runtime.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// Waiting would not help.
    #[error("PostgreSQL at {server}: {why}")]
    Refused {
        /// `host:port`.
        server: String,
        /// Why, and what to do.
        why: String,
    },
    /// The wait was over.
    #[error(
        "PostgreSQL at {server} was not ready after {waited}, the last reason was: {why}; \
         see its log, or raise WARDEN_DATABASE_WAIT"
    )]
    Late {
        /// `host:port`.
        server: String,
        /// How long.
        waited: String,
        /// The last reason.
        why: String,
    },
    /// A database is missing and may not be made.
    #[error("PostgreSQL at {server} has no database {missing} and {why}; run as an administrator: {sql}")]
    Missing {
        /// `host:port`.
        server: String,
        /// Which.
        missing: String,
        /// Why it was not created.
        why: String,
        /// What to run.
        sql: String,
    },
    /// A statement failed.
    #[error("PostgreSQL at {server}: {doing}: {why}")]
    Query {
        /// `host:port`.
        server: String,
        /// What was asked.
        doing: &'static str,
        /// The database's words.
        why: String,
    },
    /// The tool could not be run.
    #[error("cannot run {tool}: {source}; set WARDEN_TEMPORAL_SQL_TOOL")]
    Tool {
        /// Its path.
        tool: String,
        /// Why.
        source: io::Error,
    },
    /// The tool failed.
    #[error("schema step \"{doing}\" failed: {said}")]
    Step {
        /// The step.
        doing: String,
        /// The tool's last words.
        said: String,
    },
    /// The SQLite file.
    #[error(transparent)]
    Sqlite(#[from] sqlite::Error),
}

/// Runs the job on standard input; the process's exit code.
pub fn main() -> i32 {
    let mut say = |line: &str| {
        let mut out = io::stdout().lock();
        // A parent that no longer listens is no reason to stop half-way.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    match read_job().and_then(|job| run(&job, &mut say)) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("schema: {e}");
            1
        }
    }
}

fn read_job() -> Result<Job, Error> {
    let mut text = zeroize::Zeroizing::new(Vec::new());
    io::stdin().lock().read_to_end(&mut text).map_err(Error::Job)?;
    serde_json::from_slice(&text).map_err(|e| Error::Job(e.into()))
}

/// Runs `job`, telling `say` each step.
pub fn run(job: &Job, say: &mut impl FnMut(&str)) -> Result<(), Error> {
    match job {
        Job::SqliteBefore { database } => {
            if sqlite::before(database)? == sqlite::Plan::Rebuild {
                say(&format!("{}: its first set-up was interrupted, made again", database.display()));
            }
            Ok(())
        }
        Job::SqliteAfter { database } => Ok(sqlite::after(database)?),
        Job::Postgres(job) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(Error::Runtime)?.block_on(Run { job, say, started: Instant::now() }.all())
        }
    }
}

/// One run against PostgreSQL.
struct Run<'a, S> {
    job: &'a PostgresJob,
    say: &'a mut S,
    started: Instant,
}

impl<S: FnMut(&str)> Run<'_, S> {
    async fn all(mut self) -> Result<(), Error> {
        let main = match self.job.stores.first() {
            Some(store) => store.database.clone(),
            None => return Ok(()),
        };
        let client = match self.reach(&main).await? {
            Some(client) => client,
            None => {
                self.create_missing().await?;
                self.reach(&main).await?.ok_or_else(|| self.missing(&[&main], "it vanished again"))?
            }
        };
        if !self.absent(&client).await?.is_empty() {
            self.create_missing().await?;
        }
        if !self.job.setup {
            return Ok(());
        }
        self.lock(&client).await?;
        self.steps().await?;
        let line = format!("schema ready after {} ms", self.started.elapsed().as_millis());
        (self.say)(&line);
        Ok(())
    }

    fn server(&self) -> String {
        format!("{}:{}", self.job.host, self.job.port)
    }

    fn missing(&self, databases: &[&str], why: &str) -> Error {
        let sql = creation_sql(&self.job.user, databases);
        Error::Missing { server: self.server(), missing: databases.join(", "), why: why.to_owned(), sql }
    }

    fn is_late(&self) -> bool {
        !self.job.wait.is_zero() && self.started.elapsed() >= self.job.wait
    }

    fn late(&self, why: &str) -> Error {
        let waited = humantime::format_duration(Duration::from_secs(self.started.elapsed().as_secs())).to_string();
        Error::Late { server: self.server(), waited, why: why.to_owned() }
    }

    /// Connects, waiting; `None` when the database does not exist.
    async fn reach(&mut self, database: &str) -> Result<Option<Client>, Error> {
        let mut told = String::new();
        loop {
            match connect(self.job, database).await {
                Ok(client) => return Ok(Some(client)),
                Err(Failure::Missing) => return Ok(None),
                Err(Failure::Fatal(why)) => return Err(Error::Refused { server: self.server(), why }),
                Err(Failure::Retry(why)) if self.is_late() => return Err(self.late(&why)),
                Err(Failure::Retry(why)) => {
                    if why != told {
                        let line = format!("waiting for PostgreSQL at {}: {why}", self.server());
                        (self.say)(&line);
                        told = why;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// The stores that have no database yet.
    async fn absent(&self, client: &Client) -> Result<Vec<String>, Error> {
        let query = "SELECT datname::text FROM pg_catalog.pg_database";
        let rows = client.query(query, &[]).await.map_err(|e| self.query("list databases", &e))?;
        let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let stores = self.job.stores.iter().map(|s| s.database.clone());
        Ok(stores.filter(|name| !there.contains(name)).collect())
    }

    fn query(&self, doing: &'static str, error: &tokio_postgres::Error) -> Error {
        Error::Query { server: self.server(), doing, why: words(error) }
    }

    async fn create_missing(&mut self) -> Result<(), Error> {
        let all: Vec<&str> = self.job.stores.iter().map(|s| s.database.as_str()).collect();
        let client = match connect(self.job, MAINTENANCE).await {
            Ok(client) => client,
            Err(Failure::Missing) => {
                return Err(self.missing(&all, "there is no database \"postgres\" to create it from"));
            }
            Err(Failure::Fatal(why) | Failure::Retry(why)) => return Err(self.missing(&all, &why)),
        };
        self.lock(&client).await?;
        let absent = self.absent(&client).await?;
        let names: Vec<&str> = absent.iter().map(String::as_str).collect();
        if !self.job.create && !names.is_empty() {
            return Err(self.missing(&names, "WARDEN_DATABASE_CREATE is false"));
        }
        for name in &names {
            (self.say)(&format!("schema: creating database {name}"));
            match client.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await {
                Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    return Err(self.missing(&names, &format!("the role {} may not create it", self.job.user)));
                }
                Err(e) if e.code() != Some(&SqlState::DUPLICATE_DATABASE) => {
                    return Err(self.query("create a database", &e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the session lock that keeps two containers apart; it goes with the connection.
    async fn lock(&mut self, client: &Client) -> Result<(), Error> {
        let mut told = false;
        loop {
            let row = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await;
            if row.map_err(|e| self.query("take the schema lock", &e))?.get(0) {
                return Ok(());
            }
            let why = "another container is setting up the schema";
            if self.is_late() {
                return Err(self.late(why));
            }
            if !std::mem::replace(&mut told, true) {
                let line = format!("waiting for PostgreSQL at {}: {why}", self.server());
                (self.say)(&line);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn steps(&mut self) -> Result<(), Error> {
        let steps = steps(self.job);
        let count = steps.len();
        for (n, step) in steps.into_iter().enumerate() {
            (self.say)(&format!("schema {}/{count} {}", n + 1, step.doing));
            let command = self.command(&step);
            // No limit: an update of a large database may take long, and half of one is worse.
            let done = tokio::task::spawn_blocking(move || run_tool(command, &step));
            done.await.map_err(|e| Error::Runtime(io::Error::other(e)))??;
        }
        Ok(())
    }

    fn command(&self, step: &Step) -> Command {
        let mut command = Command::new(&self.job.tool);
        let env = tool_environment(self.job, &step.database);
        command.args(&step.args).env_clear().envs(env.iter().map(|(k, v)| (k, v.expose()))).stdin(Stdio::null());
        command
    }
}

fn run_tool(mut command: Command, step: &Step) -> Result<(), Error> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::Tool { tool, source })?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(5)..].join(" | ");
    Err(Error::Step { doing: step.doing.clone(), said: format!("{} ({last})", output.status) })
}
