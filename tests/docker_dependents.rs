//! Dependents on the real Docker engine: small containers of a project of their own, one of them "us".

use std::{process::Command, time::Duration};

use temporal_warden::{
    clock,
    docker::{self, Acted, Client, Engine, Health, Terms},
    rotation::{Change, Published},
};

const IMAGE: &str = "debian:bookworm-slim";

/// Of this run: another on the same machine has its own.
fn project() -> String {
    format!("warden-dependents-test-{}", std::process::id())
}

/// Containers that are removed in any case.
struct Project;

impl Project {
    fn start() -> Self {
        let this = Self;
        this.remove();
        for (name, more) in [
            ("us", vec![]),
            ("app", vec!["temporal-warden.on-rotation=restart"]),
            ("db", vec!["temporal-warden.on-rotation=signal:SIGHUP", "temporal-warden.order=10"]),
            ("exec", vec!["temporal-warden.on-rotation=exec:touch /tmp/told", "temporal-warden.order=90"]),
            ("plain", vec![]),
        ] {
            let mut command = Command::new("docker");
            command.args(["run", "-d", "--restart", "always", "--stop-signal", "SIGINT", "--stop-timeout", "1"]);
            command.args([
                "--name",
                &Self::name(name),
                "--label",
                &format!("com.docker.compose.project={}", project()),
            ]);
            command.args(["--health-cmd", "true", "--health-interval", "1s"]);
            for label in more {
                command.args(["--label", label]);
            }
            command.args([IMAGE, "bash", "-c", "trap 'touch /tmp/hup' HUP; while :; do sleep 0.2; done"]);
            assert!(command.output().unwrap().status.success(), "{name}");
        }
        this
    }

    fn name(of: &str) -> String {
        format!("{}-{of}", project())
    }

    fn remove(&self) {
        let all = ["us", "app", "db", "exec", "plain"].map(Self::name);
        let _ = Command::new("docker").args(["rm", "-f"]).args(all).output();
    }

    fn sh(of: &str, script: &str) -> bool {
        let name = Self::name(of);
        Command::new("docker").args(["exec", &name, "sh", "-c", script]).output().unwrap().status.success()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.remove();
    }
}

#[tokio::test]
#[ignore = "starts containers on the real Docker engine"]
async fn on_the_real_engine_each_is_told_its_way_and_nobody_else_is_touched() {
    let _project = Project::start();
    let client = Client::new(&"unix:///var/run/docker.sock".parse().unwrap()).unwrap();
    let listed = client.list().await.unwrap();
    let us = listed.iter().find(|c| c.name == Project::name("us")).unwrap();
    let mut published = Published::default();
    published.note(Change::Certs, clock::now());
    let plan = docker::plan(&listed, Some(&us.id), &published).unwrap();
    let names: Vec<_> = plan.targets.iter().map(|t| t.name.clone()).collect();
    assert_eq!(names, ["db", "app", "exec"].map(Project::name));
    let before = client.inspect(&Project::name("app")).await.unwrap();
    let plain = client.inspect(&Project::name("plain")).await.unwrap();
    assert_eq!(docker::advice(&plan.targets[0], &client.inspect(&names[0]).await.unwrap()), None);

    let (mut acted, mut said) = (Acted::new(), Vec::new());
    let terms = Terms { limit: Duration::from_secs(60), now: &clock::now, held: &|_| Box::pin(async { None }) };
    docker::roll(&client, &plan, &mut acted, &terms, &mut |line, _| said.push(line)).await.unwrap();
    assert_eq!(said.len(), 3, "{said:?}");
    let after = client.inspect(&Project::name("app")).await.unwrap();
    assert!(after.started > before.started && after.running && after.health == Health::Healthy, "{after:?}");
    assert!(Project::sh("db", "test -e /tmp/hup") && Project::sh("exec", "test -e /tmp/told"));
    assert_eq!(client.inspect(&Project::name("plain")).await.unwrap().started, plain.started);

    said.clear();
    docker::roll(&client, &plan, &mut acted, &terms, &mut |line, _| said.push(line)).await.unwrap();
    assert!(said.is_empty(), "nobody is told twice: {said:?}");
    let missing = client.restart("no-such-container").await.unwrap_err().to_string();
    assert!(missing.contains("404"), "{missing}");
    let nobody = Client::new(&"tcp://127.0.0.1:1".parse().unwrap()).unwrap().list().await.unwrap_err().to_string();
    assert!(nobody.starts_with("Docker cannot be reached at tcp://127.0.0.1:1"), "{nobody}");
}
