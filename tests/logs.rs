//! The log: one stream, whose line it is, what a child that floods costs, and what is never in it.

mod gateway;
mod warden_scene;

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use gateway::{LIST, backend::Backend, client};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use warden_scene::Scene;

const LIMIT: Duration = Duration::from_secs(60);
const INFO: &str = "/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo";

/// A warden whose Temporal is this shell script.
fn with_server(script: &str) -> Scene {
    let mut scene = Scene::new("127.0.0.1:1");
    fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = scene.folder.path().join("temporal-server");
    fs::write(&server, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    let server = server.to_str().unwrap().to_owned();
    for (name, value) in [
        ("WARDEN_ENGINE", "server"),
        ("WARDEN_UPSTREAM", ""),
        ("DB", "sqlite"),
        ("WARDEN_TEMPORAL_SERVER", server.as_str()),
    ] {
        scene.set(name, value);
    }
    scene
}

async fn until_said(log: &Path, what: &str) -> String {
    let wait = async {
        loop {
            let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
            if text.contains(what) {
                return text;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("no {what:?}"))
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_gateways_own_lines_are_heard_with_its_name_and_no_token_is_in_them_at_any_level() {
    let backend = Backend::start().await;
    let mut scene = Scene::new(&backend.address.to_string());
    scene.set("WARDEN_LOG_LEVEL", "trace,h2=trace,hyper=trace,rustls=trace");
    let (_warden, log) = scene.warden_as(None);
    let send = scene.connect("temporal-client.crt", "temporal-client.key").await;
    let token = scene.read("client-token.jwt");
    let authorization = client::bearer(&token);
    for path in [LIST, INFO] {
        client::call(&send, path, &[("authorization", &authorization)]).await.unwrap();
    }
    scene.meanwhile(&["token", "generate"]).await;
    let text = until_said(&log, "material switched").await;
    assert!(text.lines().any(|line| line.starts_with("[gateway] ") && line.contains("material switched")), "{text}");
    assert!(text.contains("[gateway] ") && text.contains("Landlock"), "it says what it is shut in by");
    for secret in [token.as_str(), "eyJ", "PRIVATE KEY"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn as_json_every_line_is_an_object_and_temporals_own_are_embedded() {
    let mut scene = with_server(r#"echo '{"level":"info","msg":"own"}'; echo 'plain "words"'; exec sleep 600"#);
    scene.set("WARDEN_LOG_FORMAT", "json");
    let (_warden, log) = scene.warden_as(None);
    until_said(&log, "Landlock").await;
    let text = until_said(&log, "plain").await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    // What the warden says about a child has its level outside.
    let of =
        |child: &str| lines.iter().filter(|l| l["child"] == child && l["level"].is_null()).cloned().collect::<Vec<_>>();
    assert!(lines.iter().all(|line| line["time"].is_string()));
    let temporal = of("temporal");
    assert_eq!(temporal[0]["record"]["msg"], "own", "{text}");
    assert_eq!(temporal[1]["message"], "plain \"words\"");
    assert!(of("gateway").iter().any(|line| line["record"]["level"] == "info"), "{text}");
}

#[tokio::test]
async fn a_line_without_end_is_cut_and_neither_stalls_nor_bloats_pid_1() {
    let scene = with_server("exec cat /dev/zero");
    let (warden, log) = scene.warden_as(None);
    until_said(&log, "[line cut at 8 KiB]").await;
    sleep(Duration::from_secs(2)).await;
    let asked = Instant::now();
    scene.done(&["status"]);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(resident_kib(warden.pid()) < 64 << 10, "{} KiB", resident_kib(warden.pid()));
    assert!(fs::metadata(&log).unwrap().len() < 1 << 20, "one piece of it is enough");
}

#[tokio::test]
async fn a_flood_that_nobody_reads_costs_lines_that_are_counted_and_our_own_come_through() {
    let scene = with_server("exec yes temporal floods");
    let (mut warden, mut reader) = scene.warden_into_pipe();
    let told = async {
        loop {
            let output = scene.try_meanwhile(&["status", "--json"]).await;
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if status["lost_log_lines"].as_u64().is_some_and(|lost| lost > 1000) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, told).await.expect("the loss is in status");
    assert!(resident_kib(warden.pid()) < 64 << 10, "{} KiB", resident_kib(warden.pid()));
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text);
        text
    });
    warden.stop();
    let text = read.join().unwrap();
    assert!(text.contains("log lines were lost here because nobody read them in time lost="), "counted");
    assert!(text.contains("all processes have ended"), "our own lines");
}
