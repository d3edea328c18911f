//! The engine to start, as data: program, arguments, environment, files, and where the gateway finds it.

use std::path::PathBuf;

use super::{
    dynamic_config::{self, FlowStyle},
    environment::{self, Environment},
    settings::{INTERNAL_SERVER_NAME, ServerSettings, dev_sqlite_file, dynamic_config_file},
};
use crate::config::{self, Config};

/// A child for the supervisor.
#[derive(Debug, Clone)]
pub struct Child {
    /// Program, by absolute path.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Environment,
}

/// A file that must exist before the start, readable by the engine's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFile {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub content: String,
}

/// How the gateway speaks to the engine.
#[derive(Debug, Clone)]
pub enum Security {
    /// h2c.
    Plain,
    /// mTLS with the per-boot client certificate.
    Internal {
        /// Name to check.
        server_name: &'static str,
    },
    /// The user's files.
    Files {
        /// CA, client certificate and key.
        tls: config::UpstreamTls,
        /// Name to check.
        server_name: String,
    },
}

/// How the engine is known to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// A call through the upstream that reads the database succeeds; gRPC health alone says SERVING without one.
    DatabaseCall,
}

/// What serves behind the gateway.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The child to run; `None` for `external`.
    pub child: Option<Child>,
    /// What to write first.
    pub files: Vec<RuntimeFile>,
    /// `host:port` for the gateway.
    pub upstream: String,
    /// How to speak to it.
    pub security: Security,
    /// `host:port` where every caller is admin, for [`super::namespaces`]; `None` where the engine needs no such step.
    pub admin: Option<String>,
    /// When it is ready.
    pub ready: Ready,
}

/// Loopback ports of engine `dev`, free ones chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevPorts {
    /// gRPC.
    pub grpc: u16,
    /// HTTP API.
    pub http: u16,
    /// Metrics.
    pub metrics: u16,
}

/// Engine `server`.
pub fn server(settings: &ServerSettings<'_>) -> Result<Engine, FlowStyle> {
    let temporal = &settings.config.temporal;
    let content = dynamic_config::render(temporal.dynamic_config.as_deref())?;
    Ok(Engine {
        child: Some(Child {
            program: temporal.server_program.clone(),
            args: environment::arguments(),
            env: environment::server(settings),
        }),
        files: vec![RuntimeFile { path: dynamic_config_file(&settings.config.runtime_dir), content }],
        upstream: format!("127.0.0.1:{}", settings.ports.frontend),
        security: Security::Internal { server_name: INTERNAL_SERVER_NAME },
        admin: Some(format!("127.0.0.1:{}", settings.ports.internal_frontend)),
        ready: Ready::DatabaseCall,
    })
}

/// Engine `dev`: the CLI's embedded server. It registers the namespaces itself.
pub fn dev(config: &Config, ports: DevPorts) -> Engine {
    let temporal = &config.temporal;
    let mut args: Vec<String> = ["server", "start-dev", "--headless", "--ip", "127.0.0.1"].map(str::to_owned).into();
    let database = dev_sqlite_file(&temporal.data_dir).to_string_lossy().into_owned();
    let numbers = [("--port", ports.grpc), ("--http-port", ports.http), ("--metrics-port", ports.metrics)];
    args.extend(numbers.into_iter().flat_map(|(flag, port)| [flag.to_owned(), port.to_string()]));
    args.extend(["--db-filename".to_owned(), database, "--log-format".to_owned(), "json".to_owned()]);
    args.extend(["--log-level".to_owned(), cli_log_level(&temporal.log_level).to_owned()]);
    args.extend(["--disable-config-file", "--disable-config-env"].map(str::to_owned));
    args.extend(temporal.namespaces.iter().flat_map(|name| ["--namespace".to_owned(), name.clone()]));
    let propagate = "frontend.enablePrincipalPropagation=true".to_owned();
    args.extend(["--dynamic-config-value".to_owned(), propagate]);
    let mut env = environment::base(&temporal.data_dir);
    env.extend(temporal.passthrough.iter().filter(|(k, _)| *k == "TZ").map(|(k, v)| (k.clone(), v.clone())));
    Engine {
        child: Some(Child { program: temporal.cli_program.clone(), args, env }),
        files: Vec::new(),
        upstream: format!("127.0.0.1:{}", ports.grpc),
        security: Security::Plain,
        admin: None,
        ready: Ready::DatabaseCall,
    }
}

/// Engine `external`: nothing to start.
pub fn external(upstream: &config::Upstream) -> Engine {
    let host = upstream.address.rsplit_once(':').map_or(&*upstream.address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let security = upstream.tls.as_ref().map_or(Security::Plain, |tls| Security::Files {
        server_name: tls.server_name.clone().unwrap_or_else(|| host.to_owned()),
        tls: tls.clone(),
    });
    Engine {
        child: None,
        files: Vec::new(),
        upstream: upstream.address.clone(),
        security,
        admin: None,
        ready: Ready::DatabaseCall,
    }
}

/// The CLI knows fewer levels than the server.
fn cli_log_level(level: &str) -> &str {
    match level {
        "debug" | "info" | "warn" | "error" => level,
        _ => "error",
    }
}
