//! The warden's own acts are on record, with who asked for them, whether a PID 1 runs or not.

mod audit_scene;

use audit_scene::Warden;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

fn has(acts: &[[String; 4]], method: &str, peer: &str, reason: &str) -> bool {
    acts.iter().any(|[m, _, p, r]| m == method && p.starts_with(peer) && r.contains(reason))
}

#[tokio::test]
async fn start_generate_switch_restart_and_stop_are_on_record_with_who_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[]).await;
    assert!(warden.said(&["token", "generate"]).status.success());
    assert!(warden.said(&["cert", "generate"]).status.success());
    assert!(warden.said(&["status"]).status.success());
    warden.signal(Signal::SIGHUP);
    let before = warden.gateway_pid().unwrap();
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    warden.until("a new gateway", || warden.gateway_pid().is_some_and(|pid| pid != before)).await;
    warden.until("its restart on record", || has(&warden.acts(), "RestartChild", "automatic", "SIGKILL")).await;
    assert_eq!(warden.stop().await, Some(0));
    let acts = warden.acts();
    let me = format!("uid:{}", geteuid());
    for (method, peer, reason) in [
        ("Start", "automatic", "temporal-warden "),
        ("Publish", "automatic", "generation 0: made ca.crt"),
        ("GenerateTokens", "control.sock pid ", ""),
        ("Publish", "control.sock pid ", "client-token.jwt"),
        ("GenerateCertificates", "control.sock pid ", ""),
        ("Publish", "control.sock pid ", "temporal-server.crt"),
        ("Reload", "SIGHUP", ""),
        ("SwitchMaterial", "control.sock pid ", "the gateway serves generation 2"),
        ("RestartChild", "automatic", "gateway started again (start 2)"),
        ("Stop", "automatic", ""),
    ] {
        assert!(has(&acts, method, peer, reason), "{method} {reason}: {acts:#?}");
    }
    assert!(acts.iter().all(|[_, sub, peer, _]| !peer.starts_with("control") || *sub == me), "{acts:#?}");
    let count = |wanted: &str| acts.iter().filter(|[method, ..]| method == wanted).count();
    assert_eq!((count("Start"), count("Stop"), count("GenerateTokens"), acts.len()), (1, 1, 1, 11), "{acts:#?}");
    assert!(warden.verified().0, "{}", warden.verified().1);
}

#[tokio::test]
async fn a_command_without_a_running_warden_leaves_a_record_on_the_same_chain() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[]).await;
    warden.stop().await;
    let before = warden.acts().len();
    assert!(warden.said(&["cert", "generate"]).status.success());
    assert!(warden.said(&["init"]).status.success());
    let acts = warden.acts();
    assert_eq!(acts.len(), before + 1, "an init that makes nothing is no act: {acts:#?}");
    assert!(has(&acts, "GenerateCertificates", "command", "temporal-client.crt"), "{acts:#?}");
    std::fs::write(folder.path().join("certs/..data/ca.key"), "no key").unwrap();
    assert!(!warden.said(&["cert", "generate"]).status.success());
    assert!(has(&warden.acts(), "GenerateCertificates", "command", "failed: "), "{:#?}", warden.acts());
    assert!(warden.verified().0, "{}", warden.verified().1);
}

#[tokio::test]
async fn what_a_person_asked_for_and_failed_is_on_record_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let warden = Warden::start(folder.path(), &[]).await;
    std::fs::write(folder.path().join("certs/..data/ca.key"), "no key").unwrap();
    assert!(!warden.said(&["cert", "generate"]).status.success());
    for method in ["GenerateCertificates", "Publish"] {
        warden.until("the record", || has(&warden.acts(), method, "control.sock", "failed: ")).await;
    }
}

#[tokio::test]
async fn a_start_that_fails_is_on_record_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[]).await;
    warden.stop().await;
    std::fs::write(folder.path().join("certs/..data/ca.key"), "no key").unwrap();
    assert_eq!(warden.said(&["run"]).status.code(), Some(1));
    assert!(has(&warden.acts(), "Publish", "automatic", "failed: "), "{:#?}", warden.acts());
    assert!(warden.verified().0, "{}", warden.verified().1);
}
