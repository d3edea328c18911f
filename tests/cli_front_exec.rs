//! The `temporal` front as users run it: through a symbolic link, before a stand-in and before the real CLI.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A folder with the link `temporal` and a stand-in CLI that shows what it was given.
struct Front {
    dir: tempfile::TempDir,
}

impl Front {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        symlink(env!("CARGO_BIN_EXE_temporal-warden"), dir.path().join("temporal")).expect("link");
        let script = "#!/bin/sh\nprintf '<%s>' \"$@\"; echo\nenv | grep ^TEMPORAL_ | sort\nexit 7\n";
        let cli = dir.path().join("real");
        fs::write(&cli, script).expect("stand-in");
        fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).expect("mode");
        Self { dir }
    }

    fn token(&self, content: &str) -> String {
        let path = self.dir.path().join("token.jwt");
        fs::write(&path, content).expect("token");
        path.to_string_lossy().into_owned()
    }

    fn run(&self, cli: &Path, env: &[(&str, &str)], args: &[&str]) -> Output {
        let mut command = Command::new(self.dir.path().join("temporal"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.dir.path()).env("WARDEN_TEMPORAL_CLI", cli);
        command.envs(env.iter().copied()).args(args).output().expect("the front runs")
    }

    /// Exit code, standard output, standard error, before the stand-in.
    fn shown(&self, env: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String, String) {
        let output = self.run(&self.dir.path().join("real"), env, args);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn the_token_reaches_the_cli_by_environment_and_the_exit_code_comes_back() {
    let front = Front::new();
    let token = front.token("a.b.c\n");
    let preset =
        [("TEMPORAL_API_KEY", "old"), ("TEMPORAL_GRPC_META_AUTHORIZATION", "old"), ("TEMPORAL_ADDRESS", "t:1")];
    let args = ["workflow", "list", "--auth-plugin", "jwt", "--auth-token-file", &token, "-o", "json"];
    let (code, out, _) = front.shown(&preset, &args);
    assert_eq!(code, Some(7));
    assert_eq!(out, "<workflow><list><-o><json>\nTEMPORAL_ADDRESS=t:1\nTEMPORAL_API_KEY=a.b.c\n");
}

#[test]
fn with_the_environment_disabled_the_token_is_an_argument() {
    let front = Front::new();
    let token = front.token("a.b.c");
    let (_, out, _) = front.shown(&[], &["workflow", "list", "--disable-config-env", "--auth-token-file", &token]);
    assert!(out.starts_with("<--api-key=a.b.c><workflow><list><--disable-config-env>\n"), "{out}");
}

#[test]
fn a_bad_token_file_is_an_error_that_names_it() {
    let front = Front::new();
    let token = front.token("");
    let (code, out, err) = front.shown(&[], &["workflow", "list", "--auth-token-file", &token]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("Error: ") && err.contains(&token) && err.contains("is empty"), "{err}");
}

#[test]
fn with_tls_off_the_presets_of_the_image_do_not_reach_the_cli() {
    let front = Front::new();
    let env = [
        ("TEMPORAL_TLS_ENABLED", "false"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/c"),
        ("TEMPORAL_TLS_CLIENT_KEY_PATH", "/k"),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/ca"),
    ];
    let (_, out, _) = front.shown(&env, &["workflow", "list"]);
    assert_eq!(out, "<workflow><list>\nTEMPORAL_TLS=false\nTEMPORAL_TLS_ENABLED=false\n");
}

#[test]
fn a_missing_cli_is_an_error_that_names_it() {
    let front = Front::new();
    let output = front.run(Path::new("/nowhere/temporal"), &[], &["workflow", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/temporal"));
}

fn real_cli() -> PathBuf {
    let named = std::env::var_os("TEMPORAL_CLI_BIN").map(PathBuf::from).filter(|p| p.exists());
    named.expect("TEMPORAL_CLI_BIN names the real CLI")
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn everything_the_real_cli_says_is_said_unchanged() {
    let cli = real_cli();
    let front = Front::new();
    let token = front.token("a.b.c");
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "workflow", "list"],
        &["completion", "bash"],
        &["__complete", "workflow", "li"],
        &["workflow", "list", "--bogus"],
        &["nonsense"],
        &["namespace", "list"],
        &["workflow", "list", "--address", "127.0.0.1:1"],
    ] {
        let mut real = Command::new(&cli);
        real.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", front.dir.path()).args(args);
        let (real, ours) = (real.output().expect("the CLI runs"), front.run(&cli, &[], args));
        assert_eq!(ours.status, real.status, "{args:?}");
        assert_eq!(ours.stdout, real.stdout, "{args:?}");
        assert_eq!(ours.stderr, real.stderr, "{args:?}");
    }
    // The guide's own line is understood up to the connection.
    let guide = ["namespace", "create", "my-namespace", "--address", "127.0.0.1:1", "--auth-plugin", "jwt"];
    let guide = [&guide[..], &["--auth-token-file", &token, "--tls-ca-path", "/nowhere.crt"]].concat();
    let output = front.run(&cli, &[], &guide);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/nowhere.crt") && !said.contains("unknown"), "{said}");
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn extension_programs_keep_working_and_get_the_token() {
    let cli = real_cli();
    let front = Front::new();
    let token = front.token("a.b.c");
    let extension = front.dir.path().join("temporal-hello");
    fs::write(&extension, "#!/bin/sh\necho \"hello $* $TEMPORAL_API_KEY\"\n").expect("extension");
    fs::set_permissions(&extension, fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:/usr/bin:/bin", front.dir.path().display());
    let output = front.run(&cli, &[("PATH", &path)], &["hello", "world", "--auth-token-file", &token]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello world a.b.c\n", "{output:?}");
}
