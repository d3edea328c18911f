//! The engine as this boot has it: internal certificates, ports, files written, children to run.

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::Warden;
use crate::{
    config::{Config, EngineKind},
    gateway::link,
    pki::Boot,
    secret::Secret,
    supervisor::ChildSpec,
    temporal::{
        dynamic_config::FlowStyle,
        engine::{self, Child, DevPorts, Engine, Security},
        namespaces::{self, Outcome},
        schema::{self, Job},
        settings::{InternalTls, Ports, ServerSettings, internal_jwks_file},
    },
    tokens::{SigningKey, jwks},
};

/// Longest time of one schema job beyond its own wait for the database.
const SCHEMA_LIMIT: Duration = Duration::from_secs(600);
/// Longest time of one run of the CLI; it has a shorter limit of its own.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(30);

/// Why the engine could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file of this boot.
    #[error("failed to write {}: {source}; WARDEN_RUNTIME_DIR must be writable", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file of the user's.
    #[error("failed to read {}: {source}; it is named by WARDEN_UPSTREAM_TLS_*", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The dynamic configuration.
    #[error(transparent)]
    DynamicConfig(#[from] FlowStyle),
    /// No free loopback port for the embedded server.
    #[error("failed to find a free port on 127.0.0.1: {0}")]
    Port(io::Error),
    /// `external` without an address; the configuration's check refuses that first.
    #[error("WARDEN_ENGINE=external needs WARDEN_UPSTREAM=host:port")]
    NoUpstream,
}

/// What serves behind the gateway in this boot.
pub(super) struct ThisBoot {
    pub(super) engine: Engine,
    upstream: link::Upstream,
    job: Option<Job>,
    kept: Kept,
}

/// What stays the same until PID 1 ends, whatever a reload brings.
#[derive(Clone)]
struct Kept {
    tls: Rc<InternalTls>,
    key: Rc<SigningKey>,
    dev_ports: Option<DevPorts>,
}

impl ThisBoot {
    /// Settles everything and writes the files the engine reads at its start.
    pub(super) fn prepare(
        config: &Config,
        boot: Boot,
        internal_key: SigningKey,
        password: &Secret<String>,
    ) -> Result<Self, EngineError> {
        let tls = InternalTls {
            ca_pem: boot.trust_pem,
            server_cert_pem: boot.server_pem,
            server_key_pem: boot.server_key_pem,
            client_cert_pem: boot.client_pem,
            client_key_pem: boot.client_key_pem,
        };
        let dev = config.engine == EngineKind::Dev;
        let dev_ports = dev.then(free_ports).transpose().map_err(EngineError::Port)?;
        let this = Self::settle(config, Kept { tls: Rc::new(tls), key: Rc::new(internal_key), dev_ports }, password)?;
        this.write_files(config)?;
        Ok(this)
    }

    /// The same boot by another configuration; nothing is written yet.
    pub(super) fn by(&self, config: &Config, password: &Secret<String>) -> Result<Self, EngineError> {
        Self::settle(config, self.kept.clone(), password)
    }

    fn settle(config: &Config, kept: Kept, password: &Secret<String>) -> Result<Self, EngineError> {
        let engine = describe(config, &kept, password)?;
        let upstream = upstream(config, &engine, &kept.tls, &kept.key)?;
        Ok(Self { engine, upstream, job: schema::job(config, Some(password)), kept })
    }

    /// What the engine reads at its start.
    pub(super) fn write_files(&self, config: &Config) -> Result<(), EngineError> {
        write(&internal_jwks_file(&config.runtime_dir), &jwks([self.kept.key.public()]))?;
        self.engine.files.iter().try_for_each(|file| write(&file.path, &file.content))
    }

    /// Where the gateway sends calls.
    pub(super) fn upstream(&self) -> link::Upstream {
        self.upstream.clone()
    }

    /// The ports a gateway needs: that of the upstream, and of name servers where a long answer comes by TCP.
    pub(super) fn upstream_ports(&self) -> Vec<u16> {
        let Some((host, port)) = self.upstream.address.rsplit_once(':') else { return Vec::new() };
        let named = host.trim_matches(['[', ']']).parse::<IpAddr>().is_err();
        port.parse().ok().into_iter().chain(named.then_some(53)).collect()
    }
}

fn describe(config: &Config, kept: &Kept, password: &Secret<String>) -> Result<Engine, EngineError> {
    match config.engine {
        EngineKind::Server => {
            let ports = Ports::for_config(config);
            Ok(engine::server(&ServerSettings { config, ports, tls: &kept.tls, password: Some(password) })?)
        }
        EngineKind::Dev => match kept.dev_ports {
            Some(ports) => Ok(engine::dev(config, ports)),
            None => free_ports().map(|ports| engine::dev(config, ports)).map_err(EngineError::Port),
        },
        EngineKind::External => config.temporal.upstream.as_ref().map(engine::external).ok_or(EngineError::NoUpstream),
    }
}

/// Three free loopback ports; all are held until all are known, so that no two are equal.
fn free_ports() -> io::Result<DevPorts> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (grpc, http, metrics) = (bind()?, bind()?, bind()?);
    let port = |l: &TcpListener| l.local_addr().map(|a| a.port());
    Ok(DevPorts { grpc: port(&grpc)?, http: port(&http)?, metrics: port(&metrics)? })
}

fn upstream(
    config: &Config,
    engine: &Engine,
    tls: &InternalTls,
    key: &SigningKey,
) -> Result<link::Upstream, EngineError> {
    let tls = match &engine.security {
        Security::Plain => None,
        Security::Internal { server_name } => Some(link::UpstreamTls {
            trust_pem: tls.ca_pem.clone(),
            client: Some((tls.client_cert_pem.clone(), tls.client_key_pem.clone())),
            server_name: (*server_name).to_owned(),
        }),
        Security::Files { tls, server_name } => Some(link::UpstreamTls {
            trust_pem: read(&tls.ca_file)?,
            client: match &tls.client {
                Some((cert, key)) => Some((read(cert)?, read(key)?.into())),
                None => None,
            },
            server_name: server_name.clone(),
        }),
    };
    let checks_tokens = config.engine == EngineKind::Server && config.auth_enabled;
    let internal_key_pem = checks_tokens.then(|| key.to_pem());
    Ok(link::Upstream { address: engine.upstream.clone(), tls, internal_key_pem })
}

fn read(path: &Path) -> Result<String, EngineError> {
    fs::read_to_string(path).map_err(|source| EngineError::Read { path: path.to_owned(), source })
}

/// Written beside and renamed, for Temporal may read it at any time; no secrets are in these files.
fn write(path: &Path, content: &str) -> Result<(), EngineError> {
    let fail = |source| EngineError::Write { path: path.to_owned(), source };
    let staged = path.with_extension("new");
    fs::write(&staged, content).map_err(fail)?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o644)).map_err(fail)?;
    fs::rename(&staged, path).map_err(fail)
}

impl Warden {
    /// Runs the schema job, if the engine has one; its words on failure.
    pub(super) async fn schema_before(&self) -> Result<(), String> {
        match &self.boot().job {
            Some(job) => self.run_job(job).await,
            None => Ok(()),
        }
    }

    /// What is to be done once the engine has been seen healthy.
    pub(super) async fn schema_after(&self) -> Result<(), String> {
        match self.boot().job.as_ref().and_then(schema::job_after) {
            Some(job) => self.run_job(&job).await,
            None => Ok(()),
        }
    }

    async fn run_job(&self, job: &Job) -> Result<(), String> {
        let child = Child { program: self.own_program.clone(), args: vec!["schema".into()], env: Vec::new() };
        let mut spec = self.child_spec("schema", &child);
        spec.stdin = Some(Arc::new(job_pipe(job).map_err(|e| format!("the job could not be handed over: {e}"))?));
        let (said, heard) = watch::channel(String::new());
        spec.said = Some(said);
        let wait = match &self.config().temporal.database {
            crate::config::Database::Postgres(p) if p.wait.is_zero() => Duration::from_secs(86_400 * 365),
            crate::config::Database::Postgres(p) => p.wait,
            crate::config::Database::Sqlite => Duration::ZERO,
        };
        let done = tokio::select! {
            done = self.supervisor.run(spec, wait + SCHEMA_LIMIT) => done.map_err(|e| e.to_string())?,
            never = self.show_progress(heard) => match never {},
        };
        match done.exit.success() {
            true => Ok(()),
            false => Err(done.tail.last().cloned().unwrap_or_else(|| done.exit.to_string())),
        }
    }

    /// Registers one namespace by the real CLI; engines that do it themselves have no admin door.
    pub(super) async fn register(&self, namespace: &str) -> Outcome {
        let boot = self.boot();
        let Some(admin) = &boot.engine.admin else { return Outcome::Existed };
        let child = namespaces::create(&self.config().temporal, admin, &boot.kept.tls, namespace);
        match self.supervisor.run(self.child_spec("temporal-cli", &child), NAMESPACE_LIMIT).await {
            Ok(done) => namespaces::outcome(done.exit.code(), &done.tail.join("\n")),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// A process of the engine's, as its user.
    pub(super) fn child_spec(&self, name: &'static str, child: &Child) -> ChildSpec {
        ChildSpec {
            name,
            program: child.program.clone(),
            args: child.args.iter().map(Into::into).collect(),
            env: child.env.iter().map(|(k, v)| (k.into(), v.expose().into())).collect(),
            user: Self::user(self.config().temporal.uid),
            fds: Vec::new(),
            stdin: None,
            cwd: "/".into(),
            nofile: None,
            said: None,
        }
    }
}

/// The job as the child's standard input: a secret belongs neither into arguments nor into the environment.
fn job_pipe(job: &Job) -> io::Result<std::os::fd::OwnedFd> {
    let text = zeroize::Zeroizing::new(serde_json::to_vec(job)?);
    let (reader, mut writer) = io::pipe()?;
    // A job is some kilobytes, a pipe holds 64: this never waits for the reader.
    writer.write_all(&text)?;
    Ok(reader.into())
}
