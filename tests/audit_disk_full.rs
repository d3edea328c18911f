//! A full disk: closed refuses calls and recovers by itself without a loss, open serves and counts; PID 1 lives on.

mod audit_scene;

use std::{fs, io::Write, path::Path, process::Command};

use audit_scene::{
    Warden,
    gateway::{LIST, client},
};
use bytes::Bytes;
use h2::client::SendRequest;
use nix::mount::{MsFlags, mount};

const FOLDER: &str = "AUDIT_FOLDER";

/// Runs a test below in a mount namespace of its own, where its disk is a small tmpfs.
fn in_own_mounts(name: &str) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount").arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(FOLDER, folder.path());
    assert!(command.status().unwrap().success());
    assert!(folder.path().join("done").exists(), "the child ran nothing");
}

/// The disk of the audit log, 256 KiB, and what fills it.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(folder: &Path) -> Self {
        let disk = folder.join("log");
        fs::create_dir_all(&disk).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("none"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
        Self(disk.join("ballast"))
    }

    /// Leaves the last page of the log, so that a line is cut in its middle.
    fn fill(&self) {
        let mut ballast = fs::File::options().append(true).create(true).open(&self.0).unwrap();
        while ballast.write_all(&[b'x'; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(&self.0).unwrap();
    }
}

async fn call(send: &SendRequest<Bytes>, token: &str, tag: &str) -> (u32, String) {
    let reply = client::call(send, LIST, &[("authorization", token), ("user-agent", tag)]).await.unwrap();
    (reply.status(), reply.message())
}

async fn health(warden: &Warden) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (trust, certificate, _) = warden.certificates();
    let tls = client::handshake(warden.address, &trust, Some(certificate), &[b"http/1.1"]).await;
    let mut tls = tls.unwrap();
    tls.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = tls.read_to_string(&mut answer).await;
    answer
}

async fn until_health(warden: &Warden, good: impl Fn(&str) -> bool) -> String {
    let start = std::time::Instant::now();
    loop {
        let answer = health(warden).await;
        if good(&answer) {
            return answer;
        }
        assert!(start.elapsed() < audit_scene::LIMIT, "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn closed_refuses_calls_says_so_and_recovers_by_itself_without_a_loss() {
    in_own_mounts("child_closed");
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn child_closed() {
    let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).expect("only run as a child"));
    let disk = Disk::mount(&folder);
    let mut warden = Warden::start(&folder, &[]).await;
    let (send, token) = warden.connect().await;
    let mut served = Vec::new();
    for round in 0..3 {
        disk.fill();
        // The call that meets the full disk waits for its record; all after it are refused at once.
        let waiting: Vec<_> = (0..8)
            .map(|n| {
                let (send, token, tag) = (send.clone(), token.clone(), format!("waits/{round}/{n}"));
                tokio::spawn(async move { (call(&send, &token, &tag).await, tag) })
            })
            .collect();
        let answer = until_health(&warden, |answer| answer.contains("503")).await;
        assert!(answer.contains("NOT_SERVING") && answer.contains("No space left on device"), "{answer}");
        let before = warden.backend.count();
        let (status, message) = call(&send, &token, "refused").await;
        assert!(status == 14 && message.contains("the audit log cannot be written"), "{status} {message}");
        assert_eq!(warden.backend.count(), before, "a call that cannot be recorded is not forwarded");
        assert!(warden.said(&["token", "generate"]).status.success(), "PID 1 works on");
        disk.free();
        until_health(&warden, |answer| answer.contains("200 OK")).await;
        for task in waiting {
            let ((status, message), tag) = task.await.unwrap();
            match status {
                0 => served.push(tag),
                _ => assert!(message.contains("the audit log cannot be written"), "{status} {message}"),
            }
        }
        let tag = format!("after/{round}");
        assert_eq!(call(&send, &token, &tag).await.0, 0);
        served.push(tag);
    }
    let acts = || warden.acts().iter().filter(|[method, ..]| method == "GenerateTokens").count();
    warden.until("the warden's acts are on record", || acts() == 3).await;
    assert_eq!(warden.stop().await, Some(0));
    let tally = warden.tally();
    assert!(served.len() > 3, "{served:?}");
    assert!(served.iter().all(|tag| tally.get(tag) == Some(&1)), "{served:?} {tally:?}");
    let (good, said) = warden.verified();
    assert!(good, "{said}");
    eprintln!("{} calls waited or came after, {said}", served.len());
    fs::write(folder.join("done"), "").unwrap();
}

#[test]
fn open_serves_and_counts_and_the_gap_is_seen() {
    in_own_mounts("child_open");
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn child_open() {
    let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).expect("only run as a child"));
    let disk = Disk::mount(&folder);
    let mut warden = Warden::start(&folder, &[("WARDEN_AUDIT_FAIL", "open")]).await;
    let (send, token) = warden.connect().await;
    assert_eq!(call(&send, &token, "before").await.0, 0);
    disk.fill();
    for n in 0..40 {
        assert_eq!(call(&send, &token, &format!("meanwhile/{n}")).await.0, 0);
    }
    let answer = until_health(&warden, |answer| answer.contains(r#","ok":false},"auth""#)).await;
    assert!(answer.contains("200 OK") && !answer.contains(r#""lost":0"#), "{answer}");
    disk.free();
    assert_eq!(call(&send, &token, "after").await.0, 0);
    until_health(&warden, |answer| answer.contains(r#","ok":true},"auth""#)).await;
    assert_eq!(warden.stop().await, Some(0));
    let tally = warden.tally();
    assert_eq!((tally.get("before"), tally.get("after")), (Some(&1), Some(&1)), "{tally:?}");
    let (good, said) = warden.verified();
    assert!(!good && said.contains("is missing, this line has"), "{said}");
    // A stop does not wait for room either.
    warden.run().await;
    disk.fill();
    assert_eq!(warden.stop().await, Some(0));
    fs::write(folder.join("done"), "").unwrap();
}
