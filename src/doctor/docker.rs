//! Docker, as far as other containers are told through it: is it there, does it allow what is needed, and does telling
//! somebody cost him his restart policy.

use std::{io, os::unix::net::UnixStream};

use time::OffsetDateTime;

use super::Finding;
use crate::{
    admin::status::Status,
    config::{Action, Config, DockerHost},
    docker::{self, Client, Does, Engine, Held, Holder, Plan, Refusal, Target},
    rotation::{Change, Published},
};

const CHECK: &str = "docker";
const PAGE: &str = "docs/operations.md, \"Let the warden tell other containers\"";
/// No signal has this number: Docker refuses it with 400, a proxy that forbids signals with 403.
const NO_SIGNAL: &str = "0";

pub(super) async fn check(config: &Config, status: Option<&Status>, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = match plan(config, now).await {
        Ok((client, plan)) => targets(config, &client, &plan).await,
        Err(finding) => vec![finding],
    };
    findings.extend(status.into_iter().flat_map(held));
    findings
}

/// Everybody who would be told if all were replaced now.
async fn plan(config: &Config, now: OffsetDateTime) -> Result<(Client, Plan), Finding> {
    let mut published = Published::default();
    Change::ALL.into_iter().for_each(|change| published.note(change, now));
    let host = &config.docker.host;
    let client = Client::new(host).map_err(|refusal| unreachable(host, &refusal))?;
    if !config.docker.named.is_empty() {
        return Ok((client, docker::by_name(&config.docker.named, &published)));
    }
    let listed = client.list().await.map_err(|refusal| unreachable(host, &refusal))?;
    let fix = "start it with docker compose, in the project of the containers it is to tell";
    let plan = docker::plan(&listed, docker::own_id().as_deref(), &published);
    plan.map(|plan| (client, plan)).map_err(|why| Finding::warning(CHECK, why, fix))
}

fn unreachable(host: &DockerHost, refusal: &Refusal) -> Finding {
    let stale = "the socket's mount is older than the engine: recreate the container that mounts it";
    match (refusal, host) {
        (Refusal::Forbidden { .. }, _) => {
            let fix = "allow GET containers/json there, or name the containers in WARDEN_DEPENDENTS";
            Finding::bad(CHECK, refusal.to_string(), fix)
        }
        // What a proxy answers when it does not reach its own socket.
        (Refusal::Failed { reason, .. }, DockerHost::Tcp(_)) if reason.starts_with("50") => {
            Finding::bad(CHECK, format!("the proxy answers, but not Docker behind it: {reason}"), stale)
        }
        (_, DockerHost::Unix(path)) => match UnixStream::connect(path).err().map(|error| error.kind()) {
            Some(io::ErrorKind::NotFound) => {
                Finding::skipped(CHECK, format!("{} is not there: nobody is told of a rotation", path.display()))
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                Finding::bad(CHECK, format!("nobody listens on {} any more", path.display()), stale)
            }
            _ => Finding::bad(CHECK, refusal.to_string(), format!("see {PAGE}")),
        },
        _ => Finding::bad(CHECK, refusal.to_string(), format!("start the proxy, or see {PAGE}")),
    }
}

async fn targets(config: &Config, client: &Client, plan: &Plan) -> Vec<Finding> {
    let names: Vec<_> = plan.targets.iter().map(|target| target.name.as_str()).collect();
    let told = if names.is_empty() { "nobody is labelled to be told".to_owned() } else { names.join(", ") };
    let mut findings =
        vec![Finding::good(CHECK, format!("{} answers; told in a rotation: {told}", config.docker.host))];
    let fix = format!("see {PAGE}");
    findings.extend(plan.warnings.iter().map(|warning| Finding::warning(CHECK, warning, &fix)));
    for target in &plan.targets {
        findings.extend(allowed(client, plan, target).await);
    }
    findings
}

/// What is wrong with telling this one. A restart can't be tried without one.
async fn allowed(client: &Client, plan: &Plan, target: &Target) -> Vec<Finding> {
    let name = &target.name;
    let seen = match docker::look(client, plan, name).await {
        Ok(seen) => seen,
        Err(why) => return vec![Finding::bad(CHECK, why, format!("allow GET containers/{name}/json"))],
    };
    let mut findings = Vec::new();
    if seen.is_none() {
        let detail = format!("{name} may not be looked at: whether it is well again after it was told is not known");
        findings.push(Finding::warning(CHECK, detail, format!("allow GET containers/{name}/json")));
    }
    let trap = seen.and_then(|seen| docker::advice(target, &seen));
    let fix = "give it both in the compose file, and recreate it";
    findings.extend(trap.map(|trap| Finding::warning(CHECK, trap, fix)));
    if let Action::Signal(_) = target.wish.action
        && let Err(Refusal::Forbidden { .. }) = client.signal(name, NO_SIGNAL).await
    {
        let detail = format!("{name} may not be signalled: it will go on with its old certificate");
        findings.push(Finding::bad(CHECK, detail, format!("allow POST containers/{name}/kill")));
    }
    findings
}

/// What PID 1 knows of it.
fn held(status: &Status) -> Vec<Finding> {
    let pending = status.dependents_pending.iter();
    let fix = "mend what it says; it is tried again by itself, at once by `temporal-warden dependent restart`";
    let mut findings: Vec<_> =
        pending.map(|why| Finding::bad(CHECK, format!("not everybody was told: {why}"), fix)).collect();
    let is_behind = |h: &&Holder| h.holds == Held::Before && (h.connections > 0 || h.does == Does::Serves);
    for holder in status.holders.iter().filter(is_behind) {
        let serial = holder.serial.as_deref().unwrap_or("unknown");
        let detail = format!("{} still holds the certificate before, serial {serial}", holder.name);
        let fix = format!("restart it, or have that done: {PAGE}");
        findings.push(Finding::warning(CHECK, detail, fix));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_socket_that_is_not_there_is_a_choice_and_a_dead_one_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let host = DockerHost::Unix(path.clone());
        let refusal = Refusal::Unreachable { endpoint: host.to_string(), reason: "no".to_owned() };
        assert_eq!(unreachable(&host, &refusal).verdict, Verdict::Skipped);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let dead = unreachable(&host, &refusal);
        assert!(dead.verdict == Verdict::Bad && dead.fix.unwrap().contains("recreate"), "{}", dead.detail);
    }

    #[test]
    fn a_proxy_that_forbids_and_one_without_docker_behind_it_are_told_apart() {
        let host = DockerHost::Tcp("docker-proxy:2375".to_owned());
        let what = || "listing containers".to_owned();
        let forbids = unreachable(&host, &Refusal::Forbidden { what: what() });
        assert!(forbids.fix.unwrap().contains("WARDEN_DEPENDENTS"));
        let alone = unreachable(&host, &Refusal::Failed { what: what(), reason: "502 Bad Gateway".to_owned() });
        assert!(alone.detail.contains("not Docker behind it"), "{}", alone.detail);
    }
}
