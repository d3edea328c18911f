//! A start that takes long, and a command that waits, say what for: in the log, in `status`, and live on a terminal only.

mod engine_support;
mod gateway;
mod warden_scene;

use std::{
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use engine_support::{PASSWORD, Pki, Postgres};
use serde_json::Value;
use temporal_warden::admin::{self, Reply, Request, Server};
use tokio::time::{sleep, timeout};
use warden_scene::Scene;

const LIMIT: Duration = Duration::from_secs(60);

/// A warden whose PostgreSQL is at a port where nobody listens.
fn without_database() -> Scene {
    let mut scene = Scene::new("127.0.0.1:1");
    fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, value) in [
        ("WARDEN_ENGINE", "server"),
        ("WARDEN_UPSTREAM", ""),
        ("DB", "postgres12"),
        ("POSTGRES_SEEDS", "127.0.0.1"),
        ("DB_PORT", "1"),
        ("POSTGRES_USER", "temporal"),
        ("WARDEN_TEMPORAL_SERVER", "/bin/true"),
    ] {
        scene.set(name, value);
    }
    scene
}

async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("no {what}"))
}

fn log_of(scene: &Scene) -> String {
    fs::read_to_string(scene.log()).unwrap_or_default()
}

#[tokio::test]
async fn a_start_without_its_frontend_says_where_it_should_be_and_why_it_does_not_answer() {
    let scene = Scene::new("127.0.0.1:1");
    let _warden = scene.warden();
    let logged = |word| log_of(&scene).lines().find(|line| line.contains(word)).map(str::to_owned);
    let line = until("warning", || logged("still waiting")).await;
    assert!(line.contains("UPSTREAM=127.0.0.1:1: no answer within 6s ("), "{line}");
    let reason = "UPSTREAM=127.0.0.1:1: the Temporal frontend cannot be reached: Connection refused";
    until("reason", || scene.done(&["status"]).contains(reason).then_some(())).await;
    assert!(!scene.done(&["status"]).contains("not probed yet"));
}

#[tokio::test]
async fn a_start_without_its_database_says_what_it_waits_for_and_how_long() {
    let scene = without_database();
    let _warden = scene.warden();
    let line = until("line", || {
        let log = log_of(&scene);
        log.lines().find(|line| line.contains("still starting")).map(str::to_owned)
    });
    let line = line.await;
    assert!(line.contains("still starting: waiting for PostgreSQL at 127.0.0.1:1: "), "{line}");
    assert!(line.contains("refused") && line.contains(" seconds="), "{line}");
    let shown = scene.done(&["status"]);
    assert!(shown.contains("NOT_SERVING: starting: waiting for PostgreSQL at 127.0.0.1:1: "), "{shown}");
    let status: Value = serde_json::from_str(&scene.done(&["status", "--json"])).unwrap();
    assert!(status["starting"]["seconds"].as_u64().is_some_and(|seconds| seconds >= 5), "{status}");
    assert!(status["starting"]["step"].is_null() && status["serving"] == false, "{status}");
    let log = log_of(&scene);
    assert!(!log.contains('\r') && !log.contains('\x1b'), "no live line in a file: {log}");
    let waits = log.matches("still starting").count();
    assert!(waits <= 4, "ever more rarely: {log}");
}

#[tokio::test]
async fn as_json_the_wait_is_an_object_with_its_seconds() {
    let mut scene = without_database();
    scene.set("WARDEN_LOG_FORMAT", "json");
    let _warden = scene.warden();
    let line = until("line", || {
        let lines = log_of(&scene);
        let all = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut all =
            all.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("still starting: ")));
        all.next()
    });
    assert!(line.await["seconds"].as_u64().is_some_and(|seconds| seconds >= 5));
}

#[tokio::test]
#[ignore = "runs a real PostgreSQL, which scripts/test.sh brings"]
async fn the_step_of_the_schema_is_in_the_status_while_it_is_made() {
    let mut postgres = Postgres::new(&Pki::new()).expect("prepared");
    postgres.start();
    let mut scene = without_database();
    let tool = scene.folder.path().join("slow-tool");
    fs::write(&tool, "#!/bin/sh\nsleep 2\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let port = postgres.port.to_string();
    for (name, value) in [
        ("POSTGRES_SEEDS", "localhost"),
        ("DB_PORT", &port),
        ("POSTGRES_USER", "admin"),
        ("POSTGRES_PWD", PASSWORD),
        ("SQL_CA", postgres.ca_file.to_str().unwrap()),
        ("WARDEN_TEMPORAL_SQL_TOOL", tool.to_str().unwrap()),
    ] {
        scene.set(name, value);
    }
    let _warden = scene.warden();
    let status = until("second of four steps", || {
        let output = scene.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["starting"]["step"] == 2 && status["starting"]["of"] == 4).then_some(status)
    });
    let doing = status.await["starting"]["doing"].as_str().unwrap().to_owned();
    assert!(doing.starts_with("schema 2/4 temporal: "), "{doing}");
}

/// A command on a pseudo-terminal, by `script` of util-linux, with the scene's environment.
struct Terminal(Child, Arc<Mutex<String>>);

impl Terminal {
    fn run(scene: &Scene, args: &str) -> Self {
        let of = scene.command(&[]);
        let mut script = Command::new("script");
        script.args(["-qec", &format!("{} {args}", env!("CARGO_BIN_EXE_temporal-warden")), "/dev/null"]);
        script.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        for (name, value) in of.get_envs() {
            if let Some(value) = value {
                script.env(name, value);
            }
        }
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of util-linux");
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut out, kept) = (child.stdout.take().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut chunk) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        Self(child, seen)
    }

    fn seen(&self) -> String {
        self.1.lock().unwrap().clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let end = Instant::now() + Duration::from_secs(10);
        while self.0.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn on_a_terminal_the_start_has_a_live_line_below_the_log() {
    let scene = without_database();
    let mut terminal = Terminal::run(&scene, "run");
    until("live line that was drawn again", || {
        let seen = terminal.seen();
        let live = seen
            .split("\r\x1b[Kstarting, ")
            .skip(1)
            .filter(|line| line.contains(" s: waiting for PostgreSQL at 127.0.0.1:1"));
        (live.count() >= 2).then_some(())
    })
    .await;
    // Ctrl-C, as a person would.
    std::io::Write::write_all(terminal.0.stdin.as_mut().unwrap(), b"\x03").unwrap();
    let seen = until("end", || Some(terminal.seen()).filter(|seen| seen.contains("all processes have ended"))).await;
    let (_, last) = seen.rsplit_once(" s: waiting for").unwrap();
    assert!(last.contains("\r\x1b[K"), "the live line is taken away: {last:?}");
}

/// A warden that takes this long before it answers `dependent restart`.
async fn slow_warden(scene: &Scene, slow: Duration) {
    fs::create_dir_all(scene.folder.path().join("run")).unwrap();
    let runtime =
        scene.command(&[]).get_envs().find(|(name, _)| *name == "WARDEN_RUNTIME_DIR").unwrap().1.unwrap().to_owned();
    fs::create_dir_all(&runtime).unwrap();
    let listener = admin::bind(runtime.as_ref()).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (mut server, request) = Server::accept(stream).await.unwrap();
    assert!(matches!(request, Request::TellDependents));
    sleep(slow).await;
    server.reply(&Reply::Line { text: "done; waiting for the rest".to_owned() }).await;
    sleep(slow).await;
    server.reply(&Reply::Done).await;
}

#[tokio::test]
async fn a_command_that_waits_says_what_for_on_a_terminal_and_to_nobody_else() {
    let scene = Scene::empty("127.0.0.1:1");
    let slow = slow_warden(&scene, Duration::from_secs(3));
    let looked = async {
        sleep(Duration::from_millis(300)).await;
        let terminal = Terminal::run(&scene, "dependent restart");
        until("line of what is waited for", || {
            terminal.seen().contains("… telling dependents, one after the other, ").then_some(())
        })
        .await;
        until("line of what was said last", || {
            terminal.seen().contains("\r\x1b[K… done; waiting for the rest, ").then_some(())
        })
        .await;
        assert!(terminal.seen().contains("\r\x1b[Kdone; waiting"), "{:?}", terminal.seen());
    };
    timeout(LIMIT, async { tokio::join!(slow, looked) }).await.unwrap();
    let slow = slow_warden(&scene, Duration::from_secs(2));
    let piped = async {
        sleep(Duration::from_millis(300)).await;
        scene.try_meanwhile(&["dependent", "restart"]).await
    };
    let ((), output) = timeout(LIMIT, async { tokio::join!(slow, piped) }).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done; waiting for the rest\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
