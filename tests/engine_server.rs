//! The real server, PostgreSQL and SQLite, and the CLI's embedded server, with the environments made here.

mod engine_support;

use std::{fs, path::Path, time::Duration};

use aws_lc_rs::signature::KeyPair as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use engine_support::{
    PASSWORD, Pki, Postgres, Running, command, config, finished, free_port, free_ports, listening, program, schema,
    start, until,
};
use temporal_warden::{
    clock,
    config::Config,
    secret::Secret,
    temporal::{
        engine::{self, Child, DevPorts, Engine},
        namespaces::{self, Outcome},
        schema::{job, job_after},
        settings::{InternalTls, ServerSettings, internal_jwks_file, jwks_file},
    },
};

/// A boot of engine `server`: files written, schema made, server running and answering.
struct Boot {
    config: Config,
    tls: InternalTls,
    engine: Engine,
    running: Running,
    log: std::path::PathBuf,
}

const START: Duration = Duration::from_secs(60);

fn boot(dir: &Path, extra: &[(&str, &str)], password: Option<&Secret<String>>) -> Option<Boot> {
    let (server, cli) = (program("TEMPORAL_SERVER_BIN")?, program("TEMPORAL_CLI_BIN")?);
    let tool = program("TEMPORAL_SQL_TOOL_BIN")?;
    let [runtime, certs, data] = ["run", "certs", "data"].map(|n| dir.join(n));
    fs::create_dir_all(&runtime).expect("runtime dir");
    fs::create_dir_all(&certs).expect("certs dir");
    let mut environment = vec![
        ("WARDEN_RUNTIME_DIR", runtime.to_str()?),
        ("WARDEN_CERTS_DIR", certs.to_str()?),
        ("WARDEN_DATA_DIR", data.to_str()?),
        ("WARDEN_TEMPORAL_SERVER", server.to_str()?),
        ("WARDEN_TEMPORAL_CLI", cli.to_str()?),
        ("WARDEN_TEMPORAL_SQL_TOOL", tool.to_str()?),
        ("WARDEN_NAMESPACES", "default,orders"),
    ];
    environment.extend(extra);
    let config = config(&environment);
    let (ok, said) = finished(schema(&job(&config, password).expect("a job")));
    assert!(ok, "{said}");
    if !jwks_file(&config).exists() {
        fs::write(jwks_file(&config), "{\"keys\":[]}").expect("jwks");
    }
    fs::write(internal_jwks_file(&config.runtime_dir), "{\"keys\":[]}").expect("jwks");
    let tls = Pki::new().internal();
    let settings = ServerSettings { config: &config, ports: free_ports(), tls: &tls, password };
    let engine = engine::server(&settings).expect("dynamic configuration");
    for file in &engine.files {
        fs::write(&file.path, &file.content).expect("runtime file");
    }
    let log = dir.join("server.log");
    let running = start(engine.child.as_ref().expect("a child"), &log);
    let mut boot = Boot { config, tls, engine, running, log };
    let admin = boot.engine.admin.clone().expect("an internal frontend");
    let took = until(START, "the server", || {
        let ended = boot.running.0.try_wait().expect("a child");
        assert!(ended.is_none(), "{ended:?}\n{}", boot.log());
        boot.cli(&admin, &["operator", "cluster", "health"], None).0
    });
    eprintln!("server answers after {took:?}");
    Some(boot)
}

impl Boot {
    /// The real CLI at `address` with the per-boot client certificate.
    fn cli(&self, address: &str, args: &[&str], token: Option<&str>) -> (bool, String) {
        let mut child = namespaces::create(&self.config.temporal, address, &self.tls, "unused");
        child.args = args.iter().map(|a| (*a).to_owned()).collect();
        let mut command = command(&child);
        command.args(["--command-timeout", "5s"]).envs(token.map(|t| ("TEMPORAL_API_KEY", t)));
        let output = command.output().expect("the CLI runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn register(&self, name: &str) -> Outcome {
        let admin = self.engine.admin.clone().expect("an internal frontend");
        for attempt in 1.. {
            let child: Child = namespaces::create(&self.config.temporal, &admin, &self.tls, name);
            let output = command(&child).output().expect("the CLI runs");
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            let outcome = namespaces::outcome(output.status.code().unwrap_or(-1), &text);
            match namespaces::next(name, attempt, &outcome) {
                namespaces::Next::Done => return outcome,
                namespaces::Next::Again(pause) => std::thread::sleep(pause),
                namespaces::Next::GiveUp(why) => panic!("{why}"),
            }
        }
        unreachable!("attempts end")
    }

    fn listens_on_loopback_alone(&self) {
        let addresses = listening(self.running.pid());
        assert!(addresses.len() >= 12, "{addresses:?}");
        assert!(addresses.iter().all(|a| a.starts_with("127.0.0.1:") && !a.ends_with(":7233")), "{addresses:?}");
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("log")
    }
}

/// A signing key with its JWKS, and tokens of it.
struct Signer {
    pem: String,
    jwks: String,
}

impl Signer {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("key");
        let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            key.serialized_der(),
        );
        let point = pair.expect("P-256").public_key().as_ref().to_vec();
        let [x, y] = [&point[1..33], &point[33..65]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let key_json = serde_json::json!({"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"k","x":x,"y":y});
        Self { pem: key.serialize_pem(), jwks: serde_json::json!({ "keys": [key_json] }).to_string() }
    }

    fn token(&self, permission: &str) -> String {
        let now = clock::now().unix_timestamp();
        let claims = serde_json::json!({"sub": "tester", "iat": now - 60, "nbf": now - 60, "exp": now + 600,
            "permissions": [permission]});
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some("k".to_owned());
        let key = jsonwebtoken::EncodingKey::from_ec_pem(self.pem.as_bytes()).expect("key");
        jsonwebtoken::encode(&header, &claims, &key).expect("token")
    }
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn on_postgres_the_server_serves_authorised_callers_on_loopback_alone() {
    let mut postgres = Postgres::new(&Pki::new()).expect("prepared");
    postgres.start();
    let dir = tempfile::tempdir().expect("tempdir");
    let certs = dir.path().join("certs");
    fs::create_dir_all(&certs).expect("certs dir");
    // The warden's own CA file, the default of SQL_CA; a blank in no path, a token key in the first source.
    fs::copy(&postgres.ca_file, certs.join("ca.crt")).expect("ca");
    let signer = Signer::new();
    fs::write(certs.join("temporal-jwks.json"), &signer.jwks).expect("jwks");
    let port = postgres.port.to_string();
    let environment = [("POSTGRES_SEEDS", "localhost"), ("DB_PORT", &*port), ("POSTGRES_USER", "admin")];
    let password = Secret::new(PASSWORD.to_owned());
    let boot = boot(dir.path(), &environment, Some(&password)).expect("prepared");

    assert_eq!(boot.register("orders"), Outcome::Created);
    assert_eq!(boot.register("orders"), Outcome::Existed);
    boot.listens_on_loopback_alone();

    let upstream = boot.engine.upstream.clone();
    let describe = ["operator", "namespace", "describe", "-n", "orders"];
    let (ok, said) = boot.cli(&upstream, &describe, None);
    assert!(!ok && said.contains("Request unauthorized"), "{said}");
    let (ok, said) = boot.cli(&upstream, &describe, Some(&signer.token("temporal-system:read")));
    assert!(ok && said.contains("orders"), "{said}");
    let delete = ["operator", "namespace", "update", "-n", "orders", "--email", "a@b.c"];
    let (ok, said) = boot.cli(&upstream, &delete, Some(&signer.token("temporal-system:write")));
    assert!(!ok && said.contains("Request unauthorized"), "{said}");

    // Every event names the token's subject.
    let writer = signer.token("orders:write");
    let started = ["workflow", "start", "-n", "orders", "--type", "T", "-t", "q", "-w", "wf"];
    let mut said = (false, String::new());
    until(START, "the namespace in the caches", || {
        said = boot.cli(&upstream, &started, Some(&writer));
        said.0
    });
    let (_, history) =
        boot.cli(&upstream, &["workflow", "show", "-n", "orders", "-w", "wf", "-o", "json"], Some(&writer));
    assert!(history.contains("tester"), "{history}");
    assert!(!boot.log().contains(PASSWORD));
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn on_sqlite_the_server_survives_a_kill_and_keeps_its_namespaces() {
    let dir = tempfile::tempdir().expect("tempdir");
    let environment = [("DB", "sqlite"), ("TEMPORAL_AUTH_ENABLED", "false")];
    let first = boot(dir.path(), &environment, None).expect("prepared");
    assert_eq!(first.register("default"), Outcome::Created);
    first.listens_on_loopback_alone();
    // Authorization off: the frontend asks for the certificate only.
    let upstream = first.engine.upstream.clone();
    let (ok, said) = first.cli(&upstream, &["operator", "namespace", "describe", "-n", "default"], None);
    assert!(ok, "{said}\n{}", first.log());
    let before = job(&first.config, None).expect("a job");
    assert!(finished(schema(&job_after(&before).expect("a job"))).0);
    nix::sys::signal::kill(first.running.pid(), nix::sys::signal::Signal::SIGKILL).expect("killed");
    drop(first);
    let second = boot(dir.path(), &environment, None).expect("prepared");
    assert_eq!(second.register("default"), Outcome::Existed);
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn a_first_start_on_sqlite_that_is_killed_at_any_moment_is_made_again() {
    let mut rebuilt = 0;
    for delay in [40, 80, 120, 160, 220, 300] {
        let dir = tempfile::tempdir().expect("tempdir");
        let settings = sqlite_settings(dir.path()).expect("prepared");
        let tls = Pki::new().internal();
        let ports = free_ports();
        let engine = engine::server(&ServerSettings { config: &settings, ports, tls: &tls, password: None });
        let engine = engine.expect("dynamic configuration");
        assert!(finished(schema(&job(&settings, None).expect("a job"))).0);
        for file in &engine.files {
            fs::write(&file.path, &file.content).expect("runtime file");
        }
        let running = start(engine.child.as_ref().expect("a child"), &dir.path().join("first.log"));
        std::thread::sleep(Duration::from_millis(delay));
        nix::sys::signal::kill(running.pid(), nix::sys::signal::Signal::SIGKILL).expect("killed");
        drop(running);
        let (_, said) = finished(schema(&job(&settings, None).expect("a job")));
        rebuilt += usize::from(said.contains("made again"));
        let second = boot(dir.path(), &[("DB", "sqlite")], None).expect("prepared");
        assert_eq!(second.register("default"), Outcome::Created);
    }
    assert!(rebuilt > 0, "no kill came after the file was made: choose other delays");
}

fn sqlite_settings(dir: &Path) -> Option<Config> {
    let server = program("TEMPORAL_SERVER_BIN")?;
    let [runtime, certs, data] = ["run", "certs", "data"].map(|n| dir.join(n));
    fs::create_dir_all(&runtime).expect("runtime dir");
    Some(config(&[
        ("DB", "sqlite"),
        ("WARDEN_RUNTIME_DIR", runtime.to_str()?),
        ("WARDEN_CERTS_DIR", certs.to_str()?),
        ("WARDEN_DATA_DIR", data.to_str()?),
        ("WARDEN_TEMPORAL_SERVER", server.to_str()?),
    ]))
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn the_embedded_server_has_the_namespaces_and_listens_on_loopback_alone() {
    let cli = program("TEMPORAL_CLI_BIN").expect("prepared");
    let dir = tempfile::tempdir().expect("tempdir");
    let environment = [
        ("WARDEN_ENGINE", "dev"),
        ("WARDEN_DATA_DIR", dir.path().to_str().expect("utf-8")),
        ("WARDEN_TEMPORAL_CLI", cli.to_str().expect("utf-8")),
        ("WARDEN_NAMESPACES", "default,orders"),
    ];
    let config = config(&environment);
    assert!(finished(schema(&job(&config, None).expect("a job"))).0);
    let engine = engine::dev(&config, DevPorts { grpc: free_port(), http: free_port(), metrics: free_port() });
    let log = dir.path().join("dev.log");
    let running = start(engine.child.as_ref().expect("a child"), &log);
    let ask = || {
        let mut command = std::process::Command::new(&cli);
        command.args(["operator", "namespace", "describe", "-n", "orders", "--address", &engine.upstream]);
        command.env_clear().output().expect("the CLI runs").status.success()
    };
    let took = until(START, "the embedded server", ask);
    eprintln!("dev answers after {took:?}");
    let addresses = listening(running.pid());
    let loopback = |a: &String| a.starts_with("127.0.0.1:") || a.starts_with("[::ffff:127.0.0.1]:");
    assert!(!addresses.is_empty() && addresses.iter().all(loopback), "{addresses:?}");
}
