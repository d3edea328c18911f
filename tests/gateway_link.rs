//! What the gateway says when the link to PID 1 is not as it should be, or when it was started by hand.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
};

use gateway::{Gateway, Options};
use temporal_warden::gateway::link::{Phase, ToGateway, send};

/// Starts one with its three descriptors; `first` is all that PID 1 says on the link. What the gateway says to that.
fn told(first: &[u8]) -> String {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(first).unwrap();
    drop(ours);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new("sh")
        .args(["-c", r#"exec 3<&0 4<&1 5>/dev/null </dev/null >/dev/null; exec "$0" gateway"#])
        .arg(env!("CARGO_BIN_EXE_temporal-warden"))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(listener)))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    said
}

/// A message as it stands on the link.
async fn framed(message: &ToGateway) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, message).await.unwrap();
    bytes
}

#[test]
fn started_by_hand_it_says_who_starts_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_temporal-warden")).arg("gateway").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("gateway: descriptor 3 is not open: the gateway is started by `temporal-warden run`"),
        "{said}"
    );
}

#[tokio::test]
async fn a_link_without_a_hello_is_refused() {
    assert_eq!(told(b"").trim_end(), "gateway: PID 1 closed the link before it said Hello");
    let phase = framed(&ToGateway::Phase(Phase::Ready)).await;
    assert_eq!(told(&phase).trim_end(), "gateway: expected Hello on the link");
    let cut = told(&phase[..phase.len() - 1]);
    assert!(cut.starts_with("gateway: reading Hello: "), "{cut}");
}

#[tokio::test]
async fn it_ends_when_pid_1_is_gone_or_says_what_it_may_not() {
    let mut orphan = Gateway::start().await;
    orphan.hang_up();
    assert_eq!(orphan.exit().await, 1);
    assert!(orphan.log().contains("gateway: PID 1 is gone"), "{}", orphan.log());
    let mut twice = Gateway::start().await;
    twice.say(ToGateway::Hello(Options::default().hello)).await;
    assert_eq!(twice.exit().await, 1);
    let said = twice.log();
    assert!(said.contains("gateway: expected Material, Phase, Snapshot or Drain on the link"), "{said}");
    assert!(fs::metadata(&twice.audit_file).is_ok(), "its records are kept");
}
