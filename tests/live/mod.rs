//! The whole warden with the real Temporal on SQLite, without Docker.
#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../warden_scene/place.rs"]
mod place;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub const LIMIT: Duration = Duration::from_secs(60);

/// A folder with everything, and the warden that runs in it.
pub struct Stack {
    pub folder: tempfile::TempDir,
    pub port: u16,
    pub warden: Option<Child>,
    data: tempfile::TempDir,
    extra: Vec<(String, String)>,
    _alone: MutexGuard<'static, ()>,
}

/// Temporal's own ports are fixed: one of it at a time.
static ONE: Mutex<()> = Mutex::new(());

impl Stack {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With further settings.
    pub fn with(extra: &[(&str, &str)]) -> Self {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (variable, name) in
            [("TEMPORAL_SERVER_BIN", "server"), ("TEMPORAL_CLI_BIN", "cli"), ("TEMPORAL_SQL_TOOL_BIN", "sql")]
        {
            let program = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable}: scripts/test.sh sets it"));
            // Temporal runs as its own user, which can't reach into a home folder of root's.
            let to = folder.path().join(name);
            fs::hard_link(&program, &to).or_else(|_| fs::copy(&program, &to).map(drop)).unwrap();
        }
        let data = data();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut stack = Self { extra, folder, port, data, warden: None, _alone: alone };
        stack.run();
        stack
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("certs").join(name)).unwrap()
    }

    pub fn command(&self) -> Command {
        let mut command = place::command(self.folder.path(), self.port);
        command
            .env("DB", "sqlite")
            .env("LOG_LEVEL", "error")
            .env("WARDEN_DATA_DIR", self.data.path())
            .env("WARDEN_TEMPORAL_SERVER", self.path("server"))
            .env("WARDEN_TEMPORAL_CLI", self.path("cli"))
            .env("WARDEN_TEMPORAL_SQL_TOOL", self.path("sql"))
            .envs(self.extra.iter().cloned());
        command
    }

    pub fn run(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.arg("run").stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
        self.warden = Some(command.spawn().unwrap());
        self.until("it serves", || self.warden(&["healthcheck"]).status.success());
    }

    pub fn warden(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    pub fn must(&self, args: &[&str]) -> String {
        let output = self.warden(args);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{args:?}: {said}\n{}", self.log());
        said
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Where Temporal keeps its database: in memory where that can be, for it gives calls up when a disk stalls for seconds.
fn data() -> tempfile::TempDir {
    let data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(data.path(), Some(1000), Some(1000)).unwrap();
    }
    data
}

impl Drop for Stack {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("what it logged:\n{}", self.log());
        }
        if let Some(mut warden) = self.warden.take() {
            let _ = kill(Pid::from_raw(warden.id().cast_signed()), Signal::SIGTERM);
            let _ = warden.wait();
        }
    }
}
