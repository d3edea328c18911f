//! The running warden beside a clock that can't be believed.

#[path = "warden_scene/place.rs"]
mod place;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A warden with nothing behind it, and certificates that are due at once (they are dated back), last made long ago by
/// its book.
struct Scene {
    folder: tempfile::TempDir,
    warden: Option<Child>,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap(), warden: None };
        assert!(scene.command().arg("init").env("WARDEN_CERT_TTL", "10s").status().unwrap().success());
        let state = scene.path("certs/state.json");
        let mut document: serde_json::Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
        document["last_seen"] = "2026-01-01T00:00:00Z".into();
        fs::write(&state, document.to_string()).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = place::command(self.folder.path(), 0);
        command.env("WARDEN_ENGINE", "external").env("WARDEN_UPSTREAM", "127.0.0.1:1");
        command
    }

    fn run(&mut self) {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = self.command();
        command.arg("run").stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
        self.warden = Some(command.spawn().unwrap());
        self.until("the gateway starts", Duration::from_secs(30), |log| log.contains("started child=gateway"));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn until(&self, what: &str, limit: Duration, done: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !done(&self.log()) {
            assert!(began.elapsed() < limit, "{what}: not within {limit:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn generation(&self) -> PathBuf {
        fs::read_link(self.path("certs/..data")).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut warden) = self.warden.take() {
            let _ = kill(Pid::from_raw(warden.id().cast_signed()), Signal::SIGTERM);
            let _ = warden.wait();
        }
    }
}

#[test]
fn at_a_start_by_a_doubtful_clock_it_warns_and_renews_nothing() {
    let mut scene = Scene::new();
    scene.run();
    assert!(scene.log().contains("was it set, or was this off for so long?"), "{}", scene.log());
    thread::sleep(Duration::from_secs(8));
    assert_eq!(scene.generation(), Path::new("..g0"), "{}", scene.log());
}

#[test]
#[ignore = "takes more than a minute: the second look comes after one"]
fn after_the_second_look_it_renews_what_is_due() {
    let mut scene = Scene::new();
    scene.run();
    scene.until("the second look", Duration::from_secs(120), |log| log.contains("the second look at the clock agrees"));
    scene.until("the renewal", Duration::from_secs(30), |log| log.contains("published generation 1"));
}

#[test]
fn a_start_long_after_the_last_one_with_nothing_due_is_no_reason_to_doubt() {
    let mut scene = Scene::new();
    assert!(scene.command().args(["cert", "generate"]).status().unwrap().success());
    let state = scene.path("certs/state.json");
    let text = fs::read_to_string(&state).unwrap();
    let at = text.find("20").unwrap();
    fs::write(&state, format!("{}2020{}", &text[..at], &text[at + 4..])).unwrap();
    scene.run();
    assert!(!scene.log().contains("was it set"), "{}", scene.log());
}
