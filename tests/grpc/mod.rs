//! The grpc-go program of this folder, as backend and as client.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use crate::gateway::{Gateway, certs};

/// The program, built once; `None` where there is no Go.
static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: no Go on this machine, which builds the grpc-go backend and client of tests/grpc");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (program, built_as) = (folder.join("warden-grpc"), folder.join(format!("warden-grpc-{}", std::process::id())));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc");
    let built = Command::new("go").args(["build", "-o"]).arg(&built_as).arg(".").current_dir(source).output().unwrap();
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    // Another test program may run the one that is there.
    fs::rename(built_as, &program).unwrap();
    Some(program)
});

/// A child that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A grpc-go backend and the file of the ids it was asked for.
pub struct GoBackend {
    pub address: String,
    pub ids: PathBuf,
    flags: Vec<String>,
    running: Option<Running>,
    folder: tempfile::TempDir,
}

impl GoBackend {
    pub fn start(flags: &[&str]) -> Option<Self> {
        PROGRAM.as_ref()?;
        let folder = tempfile::tempdir().unwrap();
        let ids = folder.path().join("ids");
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut backend = Self { address: "127.0.0.1:0".to_owned(), ids, flags, running: None, folder };
        backend.again();
        Some(backend)
    }

    /// Starts it at the address it has, or had before it was killed.
    pub fn again(&mut self) {
        let mut command = Command::new(PROGRAM.as_ref().unwrap());
        command.args(["backend", "-listen", &self.address, "-ids"]).arg(&self.ids).args(&self.flags);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.address = line.trim().to_owned();
        self.running = Some(Running(child));
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.running = None;
    }
}

/// What the program needs to know as a client: the gateway, the way around it, and a caller's papers.
pub struct Ends {
    flags: Vec<String>,
    folder: tempfile::TempDir,
}

impl Ends {
    pub fn new(gateway: &Gateway, backend: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = gateway.token("temporal-system");
        let mut flags = vec![format!("-gateway={}", gateway.address), format!("-backend={backend}")];
        fs::write(folder.path().join("ca"), gateway.ca.pem()).unwrap();
        fs::write(folder.path().join("token"), token).unwrap();
        flags.extend(
            ["ca", "cert", "key", "token"].map(|name| format!("-{name}={}", folder.path().join(name).display())),
        );
        let ends = Self { flags, folder };
        ends.certify(gateway, certs::Client::default());
        ends
    }

    /// Gives the client another certificate, for its handshakes from now on.
    pub fn certify(&self, gateway: &Gateway, client: certs::Client) {
        let (cert, key) = gateway.ca.client(client);
        fs::write(self.folder.path().join("cert"), cert).unwrap();
        fs::write(self.folder.path().join("key"), key).unwrap();
    }

    /// Runs a sub-command to its end: what it said, as an error when it failed.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let (command, rest) = arguments.split_first().unwrap();
        let mut program = Command::new(PROGRAM.as_ref().unwrap());
        program.arg(command).args(&self.flags).args(rest);
        let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// Runs a load that is compared with the ids `backend` was asked for.
    pub async fn load(&self, ids: &Path, arguments: &[&str]) -> serde_json::Value {
        let ids = format!("-ids={}", ids.display());
        let said = self.run(&[&["load", &ids], arguments].concat()).await.unwrap_or_else(|said| panic!("{said}"));
        eprintln!("{said}");
        serde_json::from_str(&said).unwrap()
    }
}

/// Takes plaintext and speaks to the gateway with a client certificate.
pub struct Shim {
    pub port: String,
    _running: Running,
    /// It reads the papers at each handshake.
    _ends: Ends,
}

impl Shim {
    pub fn start(ends: Ends) -> Option<Self> {
        let mut command = Command::new(PROGRAM.as_ref()?);
        let mut child = command.arg("shim").args(&ends.flags).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().unwrap().to_owned();
        Some(Self { port, _running: Running(child), _ends: ends })
    }
}
