//! Refusals that take a machine in a bad state: each is brought about once, and says what to do.

#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use temporal_warden::{
    admin::{Reply, Server, bind},
    temporal::schema::{Job, PostgresJob, Store, TlsJob},
};
use warden_scene::Scene;

const NOWHERE: &str = "127.0.0.1:1";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn a_start_names_what_is_in_its_way_and_the_setting_for_it() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    for (name, value, why) in [
        ("WARDEN_LISTEN", busy.as_str(), "; set WARDEN_LISTEN to a free address"),
        ("WARDEN_RUNTIME_DIR", "/dev/null/run", "failed to make the folder /dev/null/run: "),
        ("WARDEN_AUDIT_FILE", "/proc/audit.jsonl", "; mount a writable volume there or set WARDEN_AUDIT_FILE"),
        ("WARDEN_UPSTREAM_TLS_CA", "/nowhere/ca.crt", "; it is named by WARDEN_UPSTREAM_TLS_*"),
    ] {
        let mut scene = Scene::new(NOWHERE);
        scene.set(name, value);
        let output = scene.run(&["run"]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        assert!(said(&output).contains(why), "{name}: {}", said(&output));
    }
}

#[test]
fn a_start_without_descriptors_says_that_the_kernel_refused() {
    let scene = Scene::new(NOWHERE);
    let warden = scene.command(&["run"]);
    let mut starved = Command::new("prlimit");
    starved.args(["--nofile=5:5"]).arg(warden.get_program()).args(warden.get_args()).env_clear();
    starved.envs(warden.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = starved.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("failed to set up PID 1: "), "{}", said(&output));
}

#[test]
fn a_start_without_threads_ends_before_anything_is_served() {
    let scene = Scene::empty(NOWHERE);
    fs::set_permissions(scene.folder.path(), Permissions::from_mode(0o777)).unwrap();
    // Root has no limit of processes, and another user may not look into the folder of the build.
    let warden = scene.folder.path().join("warden");
    fs::copy(env!("CARGO_BIN_EXE_temporal-warden"), &warden).unwrap();
    let mut starved = Command::new("setpriv");
    starved
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", "--nproc=1:1"])
        .arg(&warden)
        .arg("run");
    starved.envs(scene.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = starved.output().unwrap();
    let why = "temporal-warden: failed to start logging: cannot start the log writer: ";
    assert!(output.status.code() == Some(1) && said(&output).contains(why), "{}", said(&output));
}

#[test]
fn the_schema_step_names_the_server_and_the_file_it_cannot_use() {
    let tls = Some(TlsJob { ca_file: "/nowhere/ca.crt".into(), verify_host: true, client: None });
    let store = Store { database: "temporal".to_owned(), schema: "postgresql/v12/temporal".to_owned() };
    let job = Job::Postgres(Box::new(PostgresJob {
        tool: "/bin/false".into(),
        plugin: "postgres12".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 1,
        user: "temporal".to_owned(),
        password: None,
        tls,
        stores: vec![store],
        create: true,
        setup: true,
        wait: Duration::from_secs(1),
    }));
    let job = serde_json::to_string(&job).unwrap();
    let schema = |limit: &str| {
        let script = format!("printf %s \"$1\" | prlimit --nofile={limit} \"$0\" schema");
        said(&Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_temporal-warden"), &job]).output().unwrap())
    };
    assert!(
        schema("99:99").contains("schema: PostgreSQL at 127.0.0.1:1: /nowhere/ca.crt cannot be read"),
        "{}",
        schema("99:99")
    );
    assert!(schema("4:4").contains("schema: cannot start: "), "{}", schema("4:4"));
    let nothing =
        said(&Command::new(env!("CARGO_BIN_EXE_temporal-warden")).arg("schema").stdin(Stdio::null()).output().unwrap());
    assert!(nothing.contains("schema: the job on standard input cannot be read: "), "{nothing}");
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_named_by_the_command() {
    let mut scene = Scene::new(NOWHERE);
    let token = scene.path("client-token.jwt");
    let token = token.to_str().unwrap();
    assert!(scene.refused(&["token", "inspect", "/nowhere"]).contains("/nowhere: cannot be read: "));
    let issue = scene.refused(&["cert", "issue", "--name", "x", "--out", "/dev/null/x"]);
    assert!(
        issue.contains("/dev/null/x can't be written: ") && issue.contains("; name another folder with --out"),
        "{issue}"
    );
    let theirs = scene.folder.path().join("theirs.jwt");
    fs::write(&theirs, "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovLzEyNy4wLjAuMSJ9.AA").unwrap();
    let external = [
        ("WARDEN_EXTERNAL_ISSUER", "https://127.0.0.1"),
        ("WARDEN_EXTERNAL_AUDIENCE", "temporal"),
        ("WARDEN_EXTERNAL_SCOPES", "ops=temporal-client"),
        ("WARDEN_EXTERNAL_CA_FILE", scene.path("ca.crt").to_str().unwrap()),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let mut command = scene.command(&["token", "inspect", theirs.to_str().unwrap(), "--can", "ListNamespaces"]);
    let inspected = command.envs(external).output().unwrap();
    assert!(said(&inspected).contains("the issuer's keys are with the running warden: "), "{}", said(&inspected));
    scene.set("WARDEN_POLICY_FILE", "/nowhere");
    let inspected = scene.run(&["token", "inspect", token, "--can", "ListNamespaces"]);
    assert!(said(&inspected).contains("REFUSED: /nowhere cannot be read: "), "{}", said(&inspected));
}

#[test]
fn a_value_on_the_command_line_that_cannot_be_is_said_with_what_can() {
    let scene = Scene::new(NOWHERE);
    for (command, code, why) in [
        (&["audit", "tail", "--since", "20000y"][..], 2, "is too long ago"),
        (
            &["audit", "report", "--since", "soon"],
            2,
            "write a duration such as 90m or 2d, or a time such as 2026-11-25T14:00:00Z",
        ),
        (&["token", "mint", "--scope", "admin"], 2, "\"admin\" is no scope; there are temporal-system"),
        (&["token", "revoke", "x.e30.y"], 1, "the token has no jti; revoke its subject with --subject"),
        (&["token", "inspect", "/dev/null"], 1, "/dev/null: token is not three parts separated by dots"),
    ] {
        let output = scene.run(command);
        assert!(output.status.code() == Some(code) && said(&output).contains(why), "{command:?}: {}", said(&output));
    }
    fs::write(scene.path("revocations.json"), "[").unwrap();
    let mint = scene.refused(&["token", "mint", "--scope", "temporal-client"]);
    assert!(mint.contains("revocations.json is not the JSON it should be; restore it"), "{mint}");
    let mut scene = Scene::new(NOWHERE);
    // What was done without a record is told, not undone.
    let folder = scene.folder.path().join("no-file");
    fs::create_dir(&folder).unwrap();
    scene.set("WARDEN_AUDIT_FILE", folder.to_str().unwrap());
    let generated = scene.run(&["token", "generate"]);
    let why = format!("temporal-warden: no record in the audit log {}: ", folder.display());
    assert!(generated.status.success() && said(&generated).contains(&why), "{}", said(&generated));
}

#[test]
fn an_intermediate_is_not_trusted_as_a_root() {
    let scene = Scene::new(NOWHERE);
    let here = scene.folder.path();
    let script = "set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=root -keyout root.key -out root.crt
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=middle -keyout /dev/null -out middle.csr
        printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' > ext
        openssl x509 -req -in middle.csr -CA root.crt -CAkey root.key -CAcreateserial -days 9 -extfile ext -out middle.crt";
    assert!(Command::new("sh").args(["-c", script]).current_dir(here).output().unwrap().status.success());
    let refused = scene.refused(&["cert", "install", "--trust", here.join("middle.crt").to_str().unwrap()]);
    assert!(refused.contains("is signed by CN=root, so it is no root: CN=middle"), "{refused}");
    let early = Scene::empty(NOWHERE).refused(&["cert", "install", "--trust", here.join("root.crt").to_str().unwrap()]);
    assert!(early.contains("can't be trusted beside a CA that is not there yet; make one first"), "{early}");
    let empty = Scene::empty(NOWHERE);
    let request = here.join("requests");
    empty.done(&["cert", "csr", "client", "--out", request.to_str().unwrap()]);
    let sign = "openssl x509 -req -in requests/client.csr -CA root.crt -CAkey root.key -CAcreateserial -days 9 -out signed.crt";
    assert!(Command::new("sh").args(["-c", sign]).current_dir(here).output().unwrap().status.success());
    let early = empty.refused(&["cert", "install", here.join("signed.crt").to_str().unwrap()]);
    assert!(early.contains("can't be checked: there is no CA yet; set WARDEN_CA_CERT_FILE"), "{early}");
    let mut old = rcgen::CertificateParams::default();
    old.distinguished_name.push(rcgen::DnType::CommonName, "old");
    old.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    old.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    (old.not_before, old.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    let old = old.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    fs::write(here.join("old.crt"), old.pem()).unwrap();
    let refused = scene.refused(&["cert", "install", "--trust", here.join("old.crt").to_str().unwrap()]);
    assert!(refused.contains("is valid from 2020-01-01 00:00:00 UTC to 2021-01-01 00:00:00 UTC: CN=old"), "{refused}");
}

#[tokio::test]
async fn the_control_socket_is_closed_to_others_and_an_answer_to_another_question_is_told() {
    let scene = Scene::new(NOWHERE);
    fs::set_permissions(scene.folder.path(), Permissions::from_mode(0o755)).unwrap();
    let folder = runtime_dir(&scene);
    fs::create_dir_all(&folder).unwrap();
    let listener = bind(folder.as_ref()).unwrap();
    let nobody = scene.command(&["status"]).uid(65_534).gid(65_534).output().unwrap();
    assert!(
        said(&nobody).contains("the control socket ")
            && said(&nobody).contains(" is for root only: Permission denied (os error 13); run this as root"),
        "{}",
        said(&nobody)
    );
    let asked = ["status", "healthcheck", "doctor"];
    let asking = thread::spawn(move || asked.map(|command| said(&scene.run(&[command]))));
    for _ in asked {
        let (mut server, _) = Server::accept(listener.accept().await.unwrap().0).await.unwrap();
        server.reply(&Reply::Done).await;
    }
    for answer in tokio::task::spawn_blocking(|| asking.join().unwrap()).await.unwrap() {
        assert!(answer.contains("the running warden answered Done; is it of another version?"), "{answer}");
    }
}

#[test]
fn the_doctor_names_the_token_it_would_try() {
    let scene = Scene::new(NOWHERE);
    let _warden = scene.warden();
    let address = format!("127.0.0.1:{}", scene.port());
    let began = Instant::now();
    loop {
        // The start puts it back.
        let _ = fs::remove_file(scene.path("client-token.jwt"));
        let found = said(&scene.run(&["doctor", "--address", &address]));
        if found.contains("client-token.jwt cannot be read") {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{found}");
    }
}

#[test]
fn a_profile_that_cannot_be_kept_is_refused_with_the_flag_for_it() {
    let scene = Scene::new(NOWHERE);
    let folder = scene.folder.path().to_str().unwrap().to_owned();
    let garbage = scene.folder.path().join("garbage.toml");
    fs::write(&garbage, "a = [").unwrap();
    for (more, why) in [
        (&[][..], "there is no HOME; name the file of profiles with --profile-file"),
        (
            &["--profile-file", folder.as_str()],
            " can't be read: Is a directory (os error 21); name another with --profile-file",
        ),
        (&["--profile-file", "/proc/x.toml"], "; name another with --profile-file, or - to print it"),
        (&["--profile-file", "-", "--certs", "/nowhere"], "; name the folder with --certs"),
        (&["--profile-file", garbage.to_str().unwrap()], "; correct it, or name another with --profile-file"),
    ] {
        let words = [&["token", "mint", "--scope", "temporal-client", "--profile", "alice"], more].concat();
        let output = scene.command(&words).env_remove("HOME").output().unwrap();
        assert!(output.status.code() == Some(1) && said(&output).contains(why), "{words:?}: {}", said(&output));
    }
    let bundle = scene.folder.path().join("bundle");
    let words =
        ["cert", "issue", "--name", "x", "--out", bundle.to_str().unwrap(), "--profile", "x", "--profile-file", "-"];
    let output = scene.run(&words);
    assert!(said(&output).contains("temporal-warden: wrote "), "{}", said(&output));
}

fn runtime_dir(scene: &Scene) -> String {
    let command = scene.command(&[]);
    let mut variables = command.get_envs();
    let (_, folder) = variables.find(|(name, _)| *name == "WARDEN_RUNTIME_DIR").unwrap();
    folder.unwrap().to_str().unwrap().to_owned()
}
