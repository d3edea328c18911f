//! The Docker API: the only file that names bollard.

use std::{future::Future, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    exec::StartExecResults,
    models::{ContainerInspectResponse, ContainerSummary, ExecConfig, HealthStatusEnum},
    query_parameters::{KillContainerOptions, ListContainersOptions},
};
use futures_util::StreamExt as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::timeout;

use super::engine::{Engine, Health, Listed, Mount, Refusal, Seen};
use crate::config::DockerHost;

/// A list or a look.
const QUICK: Duration = Duration::from_secs(15);
/// A restart waits for the container's own stop time-out, which may be minutes; a connection dropped on the way may
/// leave it stopped on some engines (moby#46688).
const LONG: Duration = Duration::from_secs(900);

/// A connection to Docker, or to a proxy before it.
pub struct Client {
    docker: Docker,
    endpoint: String,
}

impl Client {
    /// Prepares; nothing is sent yet.
    pub fn new(host: &DockerHost) -> Result<Self, Refusal> {
        let made = match host {
            DockerHost::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), LONG.as_secs(), API_DEFAULT_VERSION)
            }
            DockerHost::Tcp(address) => Docker::connect_with_http(address, LONG.as_secs(), API_DEFAULT_VERSION),
        };
        let endpoint = host.to_string();
        let docker = made.map_err(|e| Refusal::Unreachable { endpoint: endpoint.clone(), reason: e.to_string() })?;
        Ok(Self { docker, endpoint })
    }

    async fn ask<T>(
        &self,
        what: String,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Refusal> {
        match timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::DockerResponseServerError { status_code: 403 | 405, .. })) => {
                Err(Refusal::Forbidden { what })
            }
            Ok(Err(Error::DockerResponseServerError { status_code, message })) => {
                Err(Refusal::Failed { what, reason: format!("{status_code} {message}") })
            }
            Ok(Err(e)) => Err(Refusal::Unreachable { endpoint: self.endpoint.clone(), reason: innermost(&e) }),
            Err(_) => Err(Refusal::Failed { what, reason: format!("no answer within {limit:?}") }),
        }
    }
}

/// The cause behind all wrappings: `Connection refused`, not the names of the libraries it went through.
fn innermost(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().unwrap_or(error).to_string()
}

impl Engine for Client {
    async fn list(&self) -> Result<Vec<Listed>, Refusal> {
        let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let call = self.docker.list_containers(Some(options));
        let found = self.ask("listing containers".to_owned(), QUICK, call).await?;
        Ok(found.into_iter().filter_map(listed).collect())
    }

    async fn inspect(&self, name: &str) -> Result<Seen, Refusal> {
        let call = self.docker.inspect_container(name, None);
        self.ask(format!("inspecting {name}"), QUICK, call).await.map(seen)
    }

    async fn restart(&self, name: &str) -> Result<(), Refusal> {
        // Without a time of ours the daemon uses the container's own.
        self.ask(format!("restarting {name}"), LONG, self.docker.restart_container(name, None)).await
    }

    async fn signal(&self, name: &str, signal: &str) -> Result<(), Refusal> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        self.ask(format!("sending {signal} to {name}"), QUICK, self.docker.kill_container(name, Some(options))).await
    }

    async fn exec(&self, name: &str, command: &str) -> Result<(), Refusal> {
        let what = || format!("running `{command}` in {name}");
        let words = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
        let config = ExecConfig {
            cmd: Some(words),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let made = self.ask(what(), QUICK, self.docker.create_exec(name, config)).await?;
        let run = async {
            if let StartExecResults::Attached { mut output, .. } = self.docker.start_exec(&made.id, None).await? {
                while let Some(part) = output.next().await {
                    part?;
                }
            }
            self.docker.inspect_exec(&made.id).await
        };
        match self.ask(what(), LONG, run).await?.exit_code {
            Some(0) => Ok(()),
            code => Err(Refusal::Failed { what: what(), reason: format!("exit code {}", code.unwrap_or(-1)) }),
        }
    }
}

fn listed(found: ContainerSummary) -> Option<Listed> {
    let name = found.names?.into_iter().next()?.trim_start_matches('/').to_owned();
    let state = found.state.map(|state| state.to_string()).unwrap_or_default();
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let addresses = networks.into_values().flat_map(|network| [network.ip_address, network.global_ipv6_address]);
    let mounts = found.mounts.unwrap_or_default().into_iter().filter_map(|mount| {
        let of = mount.name.filter(|name| !name.is_empty()).or(mount.source)?;
        Some(Mount { of, at: mount.destination? })
    });
    Some(Listed {
        id: found.id?,
        name,
        labels: found.labels.unwrap_or_default().into_iter().collect(),
        state,
        addresses: addresses.flatten().filter_map(|text| text.parse().ok()).collect(),
        mounts: mounts.collect(),
    })
}

fn seen(found: ContainerInspectResponse) -> Seen {
    let state = found.state.unwrap_or_default();
    let health = match state.health.and_then(|health| health.status) {
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        None | Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) => Health::Unchecked,
    };
    let policy = found.host_config.and_then(|config| config.restart_policy).and_then(|policy| policy.name);
    Seen {
        started: state.started_at.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok()),
        running: state.running.unwrap_or(false) && !state.restarting.unwrap_or(false),
        health,
        restart_policy: policy.map(|name| name.to_string()).unwrap_or_default(),
        stop_signal: found.config.and_then(|config| config.stop_signal).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_is_said_without_the_names_of_libraries() {
        let client = Client::new(&"tcp://127.0.0.1:1".parse().unwrap()).unwrap();
        let why = client.list().await.unwrap_err().to_string();
        assert_eq!(why, "Docker cannot be reached at tcp://127.0.0.1:1: Connection refused (os error 111)");
    }
}
