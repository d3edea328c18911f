//! scripts/release.sh, in so far as it can be tried without building a release.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn good(command: &mut Command) -> String {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

fn script(argument: &str, dist: &Path) -> Command {
    let mut command = Command::new("scripts/release.sh");
    command.arg(argument).env("RELEASE_DIR", dist);
    command
}

#[test]
fn a_dry_run_names_what_would_be_made_of_which_commit_and_makes_nothing() {
    let dist = tempfile::tempdir().unwrap().path().join("dist");
    let output = run(script("--dry-run", &dist).arg("--no-image"));
    let names = String::from_utf8(output.stdout).unwrap();
    let stem = format!("temporal-warden-{VERSION}-{}-unknown-linux-musl", std::env::consts::ARCH);
    assert_eq!(names, format!("{stem}.tar.gz\n{stem}.cdx.json\nSHA256SUMS\n"));
    let said = String::from_utf8(output.stderr).unwrap();
    let head = good(Command::new("git").args(["rev-parse", "--short", "HEAD"]));
    assert!(said.contains(&format!("temporal-warden {VERSION} at {}", head.trim())), "{said}");
    assert!(output.status.success() || said.contains("missing: "), "{said}");
    assert!(!dist.exists());
    let usage = run(script("--unknown", &dist).arg("--dry-run"));
    assert!(usage.status.code() == Some(2) && String::from_utf8_lossy(&usage.stdout).contains("--check"));
}

#[test]
fn the_checksums_find_an_altered_file_and_bear_a_signature_that_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let (dist, key) = (folder.path().join("dist"), folder.path().join("key"));
    fs::create_dir(&dist).unwrap();
    fs::write(dist.join("b.tar"), "b").unwrap();
    fs::write(dist.join("a.json"), "a").unwrap();
    good(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    good(script("--sums", &dist).arg("--sign").arg(&key));
    let sums = fs::read_to_string(dist.join("SHA256SUMS")).unwrap();
    let names: Vec<_> = sums.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names, ["a.json", "b.tar"]);
    let signers = folder.path().join("signers");
    fs::write(&signers, format!("me {}", fs::read_to_string(key.with_extension("pub")).unwrap())).unwrap();
    let verify = "ssh-keygen -Y verify -f \"$0\" -I me -n temporal-warden -s SHA256SUMS.sig < SHA256SUMS";
    good(Command::new("sh").args(["-c", verify]).arg(&signers).current_dir(&dist));
    let check = || run(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&dist)).status.success();
    assert!(check());
    fs::write(dist.join("b.tar"), "c").unwrap();
    assert!(!check());
}

/// Instead of the real ones, which take ten minutes: `build` brings the program of this test run, and `taint` what it adds to it.
const CARGO: &str = r#"#!/bin/sh
set -e
if [ "$1" = cyclonedx ]; then
  while [ "$1" != --manifest-path ]; do shift; done
  echo '{"serialNumber": "random", "metadata": {"timestamp": "now"}, "components": []}' > "$(dirname "$2")/sbom.json"
else
  while [ "$1" != --target ]; do shift; done
  mkdir -p "$CARGO_TARGET_DIR/$2/release"
  cp "$PROGRAM" "$CARGO_TARGET_DIR/$2/release/temporal-warden"
  [ -z "$TAINT" ] || echo "$PWD" >> "$CARGO_TARGET_DIR/$2/release/temporal-warden"
fi
"#;

fn checked(folder: &Path, taint: &str) -> Output {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["cargo", "cargo-cyclonedx"] {
        fs::write(bin.join(name), CARGO).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Small, for it is packed four times.
    let program = folder.join("program");
    fs::write(&program, format!("#!/bin/sh\nexec {} \"$@\"\nexit\n", env!("CARGO_BIN_EXE_temporal-warden"))).unwrap();
    let mut command = script("--check", &folder.join("dist"));
    command.arg("--no-image").env("PROGRAM", &program).env("TAINT", taint);
    // No tools of this machine's own beside the stand-ins.
    command.env("XDG_CACHE_HOME", folder);
    // Two builds that differ are left there to be looked at.
    command.env("TMPDIR", folder);
    let path = std::env::var("PATH").unwrap();
    run(command.env("PATH", format!("{}:{path}", bin.display())))
}

#[test]
fn a_release_has_program_manual_and_completions_and_one_that_differs_from_its_second_build_fails() {
    let folder = tempfile::tempdir().unwrap();
    let output = checked(folder.path(), "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("program: both builds are the same, sha256"), "{said}");
    let stem = format!("temporal-warden-{VERSION}-{}-unknown-linux-musl", std::env::consts::ARCH);
    let archive = folder.path().join("dist").join(format!("{stem}.tar.gz"));
    let files = good(Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(&archive));
    for name in ["temporal-warden", "LICENSE", "man1/temporal-warden-token-mint.1", "completions/bash"] {
        assert!(files.contains(&format!("temporal-warden-{VERSION}/{name}\n")), "{name}: {files}");
    }
    assert!(files.lines().all(|line| line.contains(" 0/0 ")), "{files}");
    let parts = fs::read_to_string(folder.path().join("dist").join(format!("{stem}.cdx.json"))).unwrap();
    assert!(!parts.contains("random") && !parts.contains("now"), "{parts}");
    let output = checked(folder.path(), "yes");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("program: the two builds DIFFER"), "{said}");
}

/// What `docker save` gives of the same files at another time, in another order and in other layers.
const SAVE: &str = r#"
import io, json, sys, tarfile
second = sys.argv[1] == "second"
now = 2_000_000_000 if second else 1_600_000_000
def layer(entries):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.mtime, info.type, info.uname = now + 0.5 * second, kind, "builder%d" % second
            if kind == tarfile.LNKTYPE:
                info.linkname = content
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            if name == "usr/bin/ping":
                info.pax_headers = {"SCHILY.xattr.security.capability": "cap"}
            tar.addfile(info, io.BytesIO(content.encode()) if info.size else None)
    return data.getvalue()
F, D, L = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE
below = [("usr/bin/perl", F, "perl"), ("usr/bin/perl5", L, "usr/bin/perl"), ("etc/old", F, "old"), ("var/cache/x/y", F, "y"),
         ("usr/bin/ping", F, "ping"), ("var/log/dpkg.log", F, str(now)), ("etc/passwd", F, "root")]
above = [("etc/.wh.old", F, ""), ("var/cache/x/.wh..wh..opq", F, ""), ("etc/passwd", F, "root,temporal"), ("tmp", D, "")]
if second:
    below = [("usr/bin/perl5", F, "perl"), ("usr/bin/perl", L, "usr/bin/perl5")] + below[2:][::-1]
layers = [layer(below), layer(above[:2]), layer(above[2:])] if second else [layer(below), layer(above)]
config = {"architecture": "amd64", "os": "linux", "created": str(now), "history": [{"created": str(now)}],
          "config": {"Env": ["A=b"], "Entrypoint": ["/x"], "Image": "sha256:%d" % now, "Hostname": "h%d" % now}}
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
    def add(name, data):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    for n, data in enumerate(layers):
        add("%d/layer.tar" % n, data)
    add("c.json", json.dumps(config).encode())
    add("manifest.json", json.dumps([{"Config": "c.json", "Layers": ["%d/layer.tar" % n for n in range(len(layers))]}]).encode())
"#;

#[test]
fn an_image_of_the_same_files_is_the_same_archive_whenever_and_in_whatever_layers_it_was_built() {
    let folder = tempfile::tempdir().unwrap();
    let flatten = |which: &str| {
        let out = folder.path().join(which);
        let pipe = "python3 -c \"$1\" \"$2\" | python3 scripts/release/image.py flatten 1700000000 warden:1 \"$3\"";
        good(Command::new("bash").args(["-o", "pipefail", "-c", pipe, "-", SAVE, which]).arg(&out));
        out
    };
    let (first, second) = (flatten("first"), flatten("second"));
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "two archives of the same files differ");
    let files = good(Command::new("python3").args(["scripts/release/image.py", "files"]).arg(&first));
    let names: Vec<_> = files.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["etc/passwd", "tmp", "usr/bin/perl", "usr/bin/perl5", "usr/bin/ping"]);
    assert!(files.lines().all(|line| line.split_whitespace().nth(4) == Some("1700000000")), "{files}");
    assert!(files.contains("usr/bin/perl5 0o644 0 0 1700000000 usr/bin/perl\n"), "{files}");
}

#[test]
fn the_profile_is_of_the_compiler_that_builds_the_image() {
    let dockerfile = fs::read_to_string("Dockerfile").unwrap();
    let image = dockerfile.lines().find_map(|line| line.strip_prefix("ARG RUST_IMAGE=rust:")).unwrap();
    let (version, _) = image.split_once('-').unwrap();
    let profiled = fs::read_to_string("scripts/pgo/x86_64.rustc").unwrap();
    assert!(
        profiled.starts_with(&format!("rustc {version} (")),
        "{profiled} is not that of rust:{image}: scripts/pgo/train.sh"
    );
}

#[test]
fn a_compiler_or_machine_that_the_profile_is_not_of_builds_without_it_and_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = folder.path().join("rustc");
    let flags = |says: &str, target: &str| {
        fs::write(&compiler, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let output = run(Command::new("scripts/pgo/flags.sh").arg(target).env("PATH", path));
        assert!(output.status.success());
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    let own = fs::read_to_string("scripts/pgo/x86_64.rustc").unwrap();
    let [used, silent] = flags(own.trim(), "x86_64-unknown-linux-musl");
    let profile = used.split_whitespace().find_map(|flag| flag.strip_prefix("-Cprofile-use=")).unwrap();
    assert!(Path::new(profile).is_absolute() && Path::new(profile).exists() && silent.is_empty(), "{used}{silent}");
    for (compiler, target, why) in [
        ("rustc 1.0.0", "x86_64-unknown-linux-musl", "this is rustc 1.0.0: built without a profile"),
        (
            own.trim(),
            "aarch64-unknown-linux-musl",
            "there is none for aarch64-unknown-linux-musl: built without a profile",
        ),
    ] {
        let [none, said] = flags(compiler, target);
        assert!(none.is_empty() && said.contains(why), "{none}{said}");
    }
}
