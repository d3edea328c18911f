//! `--profile`: a token, or a whole client, as a profile that the stock Temporal CLI connects with.

mod gateway;
mod warden_scene;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use gateway::backend::Backend;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use warden_scene::Scene;

const MINE: &str = "# mine\n[profile.default]  # local\naddress = 'localhost:1'\n";

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

fn mint<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["token", "mint", "--scope", "temporal-client", "--subject", "alice", "--profile", "alice"], more].concat()
}

#[test]
fn a_file_that_cannot_take_a_profile_is_refused_before_a_token_is_made() {
    let scene = Scene::new("127.0.0.1:1");
    let file = scene.folder.path().join("temporal.toml");
    fs::write(&file, "[profile").unwrap();
    let said = scene.refused(&mint(&["--profile-file", path(&file)]));
    assert!(
        said.contains("temporal.toml: is no TOML")
            && said.contains("; correct it, or name another with --profile-file"),
        "{said}"
    );
    let said = scene.refused(&mint(&["--profile-file", "-", "--certs", "/nowhere"]));
    assert!(
        said.contains("/nowhere/ca.crt can't be read") && said.contains("; name the folder with --certs"),
        "{said}"
    );
    let folder = scene.folder.path();
    let said = scene.refused(&mint(&["--profile-file", path(folder)]));
    let expected = " can't be read: Is a directory (os error 21); name another with --profile-file";
    assert!(said.contains(expected), "{said}");
    let said = scene.refused(&mint(&[]));
    assert!(said.contains("there is no HOME; name the file of profiles with --profile-file"), "{said}");
    let said = scene.refused(&mint(&["--profile-file", "/proc/nowhere/temporal.toml"]));
    assert!(said.contains("can't be written: ") && said.contains(", or - to print it"), "{said}");
    let issue =
        ["cert", "issue", "--name", "bob", "--profile", "bob", "--profile-file", path(&file), "--out", "/nowhere/bob"];
    assert!(scene.refused(&issue).contains("is no TOML"));
    assert!(!scene.folder.path().join("audit/audit.jsonl").exists() || scene.acts("MintToken").is_empty());
    assert_eq!(fs::read_to_string(&file).unwrap(), "[profile");
    let output = scene.run(&["token", "mint", "--scope", "temporal-client", "--address", "h:1"]);
    assert_eq!(output.status.code(), Some(2), "--address is about a profile");
}

#[test]
fn a_profile_is_added_to_the_clis_own_file_for_its_owner_alone_and_the_rest_stays() {
    let mut scene = Scene::new("127.0.0.1:1");
    let home = scene.folder.path().join("home");
    scene.set("HOME", path(&home));
    scene.set("XDG_CONFIG_HOME", "");
    let file = home.join(".config/temporalio/temporal.toml");
    let said = scene.done(&mint(&[]));
    assert!(said.contains(&format!("wrote profile alice to {}", file.display())), "{said}");
    assert!(said.contains("temporal --profile alice workflow list") && said.contains("sub alice"), "{said}");
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let first = fs::read_to_string(&file).unwrap();
    assert!(!said.contains("eyJ") && first.contains("api_key = \"eyJ"), "the token is in the file alone: {said}");
    // A file that a person keeps elsewhere, linked here, readable by all so far.
    let kept = scene.folder.path().join("dotfiles.toml");
    fs::write(&kept, MINE).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&kept, &file).unwrap();
    for address in ["temporal.example.com:7233", "10.0.0.1:7233"] {
        scene.done(&mint(&["--address", address, "--namespace", "orders", "--certs", "certs/../certs"]));
        let text = fs::read_to_string(&kept).unwrap();
        assert!(text.starts_with(MINE), "{text}");
        assert!(text.contains(&format!("address = \"{address}\"\nnamespace = \"orders\"")), "{text}");
        assert_eq!(text.matches("[profile.alice]").count(), 1, "{text}");
    }
    assert_eq!(mode(&kept), 0o600);
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert_eq!(
        fs::read_dir(scene.folder.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("toml."))
            .count(),
        0
    );
}

#[test]
fn a_printed_profile_holds_everything_and_the_folder_is_written_only_when_asked_for() {
    let scene = Scene::new("127.0.0.1:1");
    let out = scene.folder.path().join("bob");
    let issue = ["cert", "issue", "--name", "bob", "--profile", "bob", "--profile-file", "-", "--out", path(&out)];
    let output = scene.run(&issue);
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(
        said.contains("temporal-warden: wrote /") && said.contains("profile bob: the certificate of bob"),
        "{said}"
    );
    assert!(text.starts_with("[profile.bob]\n") && text.contains("PRIVATE KEY") && !text.contains("_path"), "{text}");
    assert!(out.join("temporal-client.key").exists());
}

#[test]
fn a_file_of_another_user_goes_on_being_theirs() {
    let scene = Scene::new("127.0.0.1:1");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let file = scene.folder.path().join("theirs.toml");
    fs::write(&file, MINE).unwrap();
    std::os::unix::fs::chown(&file, Some(1234), Some(1235)).unwrap();
    scene.done(&mint(&["--profile-file", path(&file)]));
    let owner = fs::metadata(&file).unwrap();
    assert_eq!((owner.uid(), owner.gid(), mode(&file)), (1234, 1235, 0o600));
}

async fn until_open(scene: &Scene) {
    let open = async {
        while TcpStream::connect(("127.0.0.1", scene.port())).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), open).await.expect("the gateway's port opens");
}

/// The stock CLI, with nothing but a profile.
async fn cli(home: &Path, args: &[&str]) -> Output {
    let program = std::env::var_os("TEMPORAL_CLI_BIN")
        .map(PathBuf::from)
        .expect("TEMPORAL_CLI_BIN names no program; scripts/test.sh sets it");
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).args(args).args(["workflow", "count", "--command-timeout", "20s"]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test]
#[ignore = "needs the real CLI (scripts/test.sh)"]
async fn the_stock_cli_connects_with_each_kind_of_profile_and_not_with_a_revoked_token() {
    let backend = Backend::start().await;
    let mut scene = Scene::new(&backend.address.to_string());
    let home = scene.folder.path().join("home");
    scene.set("HOME", path(&home));
    let _warden = scene.warden();
    until_open(&scene).await;
    // Paths, in the CLI's own file.
    scene.meanwhile(&mint(&[])).await;
    // Everything in it, as `docker exec … > bob.toml` leaves it.
    let issue =
        ["cert", "issue", "--name", "bob", "--scope", "temporal-client", "--profile", "bob", "--profile-file", "-"];
    let bob = home.join("bob.toml");
    fs::write(&bob, scene.meanwhile(&issue).await).unwrap();
    // A folder, and a profile with its paths.
    let (folder, carol) = (home.join("carol"), home.join("carol.toml"));
    let issue = [
        "cert",
        "issue",
        "--name",
        "carol",
        "--scope",
        "temporal-client",
        "--out",
        path(&folder),
        "--profile",
        "carol",
        "--profile-file",
        path(&carol),
    ];
    scene.meanwhile(&issue).await;
    let kinds: [&[&str]; 3] = [
        &["--profile", "alice"],
        &["--profile", "bob", "--config-file", path(&bob)],
        &["--profile", "carol", "--config-file", path(&carol)],
    ];
    for profile in kinds {
        let output = cli(&home, profile).await;
        assert!(output.status.success(), "{profile:?}: {}", told(&output));
    }
    scene.meanwhile(&["token", "revoke", "--subject", "bob"]).await;
    let output = cli(&home, kinds[1]).await;
    assert!(!output.status.success() && told(&output).contains("Unauthorized"), "{}", told(&output));
    let output = cli(&home, &["--profile", "nobody"]).await;
    assert!(!output.status.success(), "{}", told(&output));
}

#[tokio::test]
#[ignore = "needs the real CLI (scripts/test.sh)"]
async fn without_tls_a_profile_says_so_and_the_cli_connects_in_plain_text() {
    let backend = Backend::start().await;
    let mut scene = Scene::new(&backend.address.to_string());
    let home = scene.folder.path().join("home");
    scene.set("HOME", path(&home));
    scene.set("TEMPORAL_TLS_ENABLED", "false");
    let _warden = scene.warden();
    until_open(&scene).await;
    scene.meanwhile(&mint(&[])).await;
    let output = cli(&home, &["--profile", "alice"]).await;
    assert!(output.status.success(), "{}", told(&output));
}
