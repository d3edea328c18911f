//! A configuration that changes under a running warden: what comes into force, what is refused, what is put back.

mod gateway;
mod warden_scene;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use gateway::backend::Backend;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use warden_scene::{Scene, Warden};

const LIMIT: Duration = Duration::from_secs(60);

/// A running warden whose configuration file may be written.
struct Running {
    scene: Scene,
    file: PathBuf,
    log: PathBuf,
    warden: Warden,
}

impl Running {
    async fn start(mut scene: Scene, text: &str) -> Self {
        let file = scene.folder.path().join("warden.toml");
        fs::write(&file, text).unwrap();
        scene.set("WARDEN_CONFIG_FILE", file.to_str().unwrap());
        let (warden, log) = scene.warden_as(None);
        let running = Self { scene, file, log, warden };
        running.until("the gateway is ready", |status| child(status, "gateway")["state"] == "ready").await;
        running
    }

    async fn status(&self) -> Value {
        let text = self.scene.meanwhile(&["status", "--json"]).await;
        serde_json::from_str(&text).unwrap()
    }

    async fn until(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let output = self.scene.try_meanwhile(&["status", "--json"]).await;
                if let Ok(status) = serde_json::from_slice(&output.stdout)
                    && good(&status)
                {
                    return status;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("not {what}\n{}", self.said()))
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }
}

fn child<'a>(status: &'a Value, name: &str) -> &'a Value {
    let children = status["children"].as_array().unwrap();
    children.iter().find(|child| child["name"] == name).unwrap_or(&Value::Null)
}

fn gateway_pid(status: &Value) -> u64 {
    child(status, "gateway")["pid"].as_u64().unwrap()
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_says_what_is_wrong() {
    let backend = Backend::start().await;
    let running = Running::start(Scene::new(&backend.address.to_string()), "max_streams = 100\n").await;
    let before = gateway_pid(&running.status().await);
    for (bad, named) in [
        ("max_streams = \"many\"\n", "WARDEN_MAX_STREAMS=\"many\""),
        ("max_streems = 5\n", "did you mean max_streams?"),
        ("max_streams = \n", "warden.toml"),
        ("log_level = \"=\"\n", "WARDEN_LOG_LEVEL"),
        ("policy_file = \"/nowhere\"\n", "/nowhere"),
    ] {
        running.write(bad);
        let output = running.scene.try_meanwhile(&["reload"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{bad}{said}");
        assert!(said.contains(named) && said.contains("the configuration before stays in force"), "{bad}{said}");
    }
    assert_eq!(gateway_pid(&running.status().await), before);
}

#[tokio::test]
async fn diff_tells_what_a_reload_would_do_and_the_reload_restarts_only_who_must() {
    let backend = Backend::start().await;
    let running = Running::start(Scene::new(&backend.address.to_string()), "").await;
    let before = gateway_pid(&running.status().await);
    assert_eq!(running.scene.meanwhile(&["config", "diff"]).await, "what is in force is what is configured\n");

    let only_now = "auth_mode = \"report\"\n";
    running.write(only_now);
    let changed = "WARDEN_AUTH_MODE: \"enforce\" -> \"report\" (in force at a reload)\n";
    assert_eq!(running.scene.meanwhile(&["config", "diff"]).await, changed);
    assert_eq!(running.scene.meanwhile(&["reload"]).await, changed);
    let after = running.status().await;
    assert_eq!(gateway_pid(&after), before, "nothing had to restart");
    assert!(after["warnings"].to_string().contains("WARDEN_AUTH_MODE"), "{}", after["warnings"]);

    running.write(&format!("{only_now}max_streams = 77\nstart_limit = 9\n"));
    let container = "WARDEN_START_LIMIT: \"5\" -> \"9\" (needs a restart of the container)\n";
    let gateway = "WARDEN_MAX_STREAMS: \"4000\" -> \"77\" (a reload restarts the gateway)\n";
    let diff = running.scene.meanwhile(&["config", "diff"]).await;
    assert!(diff.contains(container) && diff.contains(gateway), "{diff}");
    running.warden.signal(Signal::SIGHUP);
    let other = |status: &Value| child(status, "gateway")["state"] == "ready" && gateway_pid(status) != before;
    running.until("another gateway", other).await;
    assert_eq!(running.scene.meanwhile(&["config", "diff"]).await, container, "the rest waits");
}

#[tokio::test]
async fn a_storm_of_sighup_costs_a_few_reloads_and_the_last_state_is_in_force() {
    let backend = Backend::start().await;
    let running = Running::start(Scene::new(&backend.address.to_string()), "").await;
    for _ in 0..50 {
        running.warden.signal(Signal::SIGHUP);
        sleep(Duration::from_millis(1)).await;
    }
    running.write("max_streams = 77\n");
    running.warden.signal(Signal::SIGHUP);
    let said = || running.said();
    running.until("what came last", |_| said().contains("WARDEN_MAX_STREAMS: \"4000\" -> \"77\"")).await;
    let reloads = said().lines().filter(|line| line.contains("reload: ")).count();
    assert!((2..30).contains(&reloads), "{reloads} reloads");
}

#[tokio::test]
async fn what_the_gateway_refuses_is_put_back_loudly_and_it_goes_on_serving() {
    let backend = Backend::start().await;
    let running = Running::start(Scene::new(&backend.address.to_string()), "").await;
    running.until("serving", |status| status["serving"] == true).await;
    let garbage = running.scene.folder.path().join("garbage.pem");
    fs::write(&garbage, "no certificate").unwrap();
    running.write(&format!("upstream_tls_ca = {garbage:?}\n"));
    let output = running.scene.try_meanwhile(&["reload"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ROLLED BACK") && said.contains("WARDEN_UPSTREAM_TLS_CA"), "{said}");
    let status = running.until("serving again", |status| status["serving"] == true).await;
    assert!(status["warnings"].to_string().contains("ROLLED BACK"), "{}", status["warnings"]);
    assert!(running.scene.acts("Reload").iter().any(|reason| reason.contains("ROLLED BACK")));

    running.write("");
    running.scene.meanwhile(&["reload"]).await;
    // A correct file is the end of it.
    running.write("token_ttl = \"80d\"\n");
    running.scene.meanwhile(&["reload"]).await;
    assert!(!running.status().await["warnings"].to_string().contains("ROLLED BACK"));
}

#[tokio::test]
async fn a_temporal_that_cannot_start_any_more_is_put_back_before_the_start_limit_ends_everything() {
    let mut scene = Scene::new("127.0.0.1:1");
    fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = scene.folder.path().join("temporal-server");
    fs::write(&server, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, value) in [("WARDEN_ENGINE", "server"), ("WARDEN_UPSTREAM", ""), ("DB", "sqlite")] {
        scene.set(name, value);
    }
    let right = format!("temporal_server = {server:?}\n");
    let running = Running::start(scene, &right).await;
    running.until("Temporal runs", |status| child(status, "temporal")["pid"].is_u64()).await;
    running.write("temporal_server = \"/no/such/program\"\n");
    let said = running.scene.meanwhile(&["reload"]).await;
    assert!(said.contains("a reload restarts Temporal"), "{said}");
    let back = |status: &Value| status["warnings"].to_string().contains("ROLLED BACK");
    running.until("put back", back).await;
    running.until("Temporal runs again", |status| child(status, "temporal")["pid"].is_u64()).await;
    assert!(running.said().contains("ERROR ROLLED BACK: the new configuration (WARDEN_TEMPORAL_SERVER)"));
    assert!(Path::new(&server).exists());
}

/// As in a container with a limit of processes (`pids_limit`). Not as a user that is no other than the test's: its own would count.
#[tokio::test]
async fn a_gateway_that_ends_at_each_start_by_the_new_configuration_gets_the_one_before_back_and_serves() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let backend = Backend::start().await;
    let running = Running::start(Scene::new(&backend.address.to_string()), "").await;
    running.until("serving", |status| status["serving"] == true).await;
    // Of every gateway on this machine together: far more than there are, far less than are asked for.
    let limited = std::process::Command::new("prlimit")
        .args(["--nproc=700:700", "--pid", &running.warden.pid().to_string()])
        .status()
        .unwrap();
    assert!(limited.success());
    running.write("gateway_threads = 1024\n");
    let said = running.scene.meanwhile(&["reload"]).await;
    assert!(said.contains("a reload restarts the gateway"), "{said}");
    let why = "(WARDEN_GATEWAY_THREADS) is not in force: gateway was started 3 times and never healthy (last exit: exit code 1";
    running.until("put back", |status| status["warnings"].to_string().contains(why)).await;
    running.until("serving again", |status| status["serving"] == true).await;
    assert!(running.scene.acts("Reload").iter().any(|reason| reason.contains(why)));
}
