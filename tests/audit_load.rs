//! Records = calls: at a high rate, with cancels, refusals, failed handshakes, plain HTTP, clients that vanish, and a
//! gateway killed in the middle of it.

mod audit_scene;

use std::{
    fs,
    time::{Duration, Instant},
};

use audit_scene::{
    Warden,
    gateway::client,
    load::{Load, Manner},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

/// How long calls come, before and after the kill each.
const PHASE: Duration = Duration::from_secs(3);
/// Bound of the gateway's resident memory, KiB; its queue alone would take more if it filled.
const RESIDENT: u64 = 160 << 10;

/// `times` plain `/health` requests that were answered.
async fn health(warden: &Warden, times: usize) -> usize {
    let (trust, certificate, _) = warden.certificates();
    let mut answered = 0;
    for _ in 0..times {
        let tls = client::handshake(warden.address, &trust, Some(certificate.clone()), &[b"http/1.1"]).await;
        let Ok(mut tls) = tls else { continue };
        let request =
            b"GET /health?token=eyJhbGciOi HTTP/1.1\r\nhost: x\r\nuser-agent: plain\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        if tls.write_all(request).await.is_ok() {
            let _ = tls.read_to_string(&mut answer).await;
            answered += usize::from(answer.contains("200 OK"));
        }
    }
    answered
}

/// `times` handshakes without a certificate that were refused.
async fn strangers(warden: &Warden, times: usize) -> usize {
    let (trust, ..) = warden.certificates();
    let mut refused = 0;
    for _ in 0..times {
        // TLS 1.3 tells a client without certificate only after its own part of the handshake.
        let Ok(mut tls) = client::handshake(warden.address, &trust, None, &[b"h2"]).await else { continue };
        let told = tls.read(&mut [0; 1]).await;
        refused += usize::from(told.is_err_and(|error| error.to_string().contains("CertificateRequired")));
    }
    refused
}

fn resident_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_call_that_was_answered_is_on_record_exactly_once_over_a_kill_of_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("WARDEN_AUDIT_MAX_SIZE", "2MiB"), ("WARDEN_AUDIT_KEEP", "400")];
    let mut warden = Warden::start(folder.path(), &settings).await;
    let manners = [vec![Manner::Honest; 24], vec![Manner::Fickle; 3]].concat();
    let mut load = Load::start(&warden, &manners);
    let start = Instant::now();
    let (mut plain, mut strange) = (0, 0);
    let killed = warden.gateway_pid().unwrap();
    while start.elapsed() < PHASE {
        plain += health(&warden, 2).await;
        strange += strangers(&warden, 2).await;
        sleep(Duration::from_millis(50)).await;
    }
    let rate = load.answered() as f64 / start.elapsed().as_secs_f64();
    let resident = resident_kib(killed);
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    warden.until("another gateway", || warden.gateway_pid().is_some_and(|pid| pid != killed)).await;
    sleep(PHASE).await;
    plain += health(&warden, 5).await;
    strange += strangers(&warden, 5).await;
    let answered_by_now = load.answered();
    load.stop().await;
    assert_eq!(warden.stop().await, Some(0));

    let tally = warden.tally();
    let answered = load.seen.answered.lock().unwrap().clone();
    let begun = load.seen.begun.load(std::sync::atomic::Ordering::SeqCst);
    eprintln!("{begun} calls begun, {} answered ({rate:.0}/s before the kill), peak {resident} KiB", answered.len());
    let missing: Vec<_> = answered.iter().filter(|tag| tally.get(*tag) != Some(&1)).collect();
    assert!(missing.is_empty(), "answered and not on record exactly once: {missing:?}");
    let tagged: Vec<_> = tally.iter().filter(|(tag, _)| tag.contains('/')).collect();
    assert!(tagged.iter().all(|(_, times)| **times == 1), "on record twice");
    assert!(tagged.len() <= begun, "{} records of {begun} calls", tagged.len());
    assert!(answered_by_now > 100 && tagged.len() > answered.len(), "cancelled ones are on record too");

    let records = warden.records();
    let count = |field: &str, value: &str| records.iter().filter(|record| record[field] == value).count();
    assert!(tally["plain"] >= plain && plain > 0, "{} records of {plain} HTTP requests", tally["plain"]);
    assert!(count("service", "tls") >= strange && strange > 0, "{} of {strange}", count("service", "tls"));
    assert!(count("decision", "deny") > 0 && records.iter().any(|record| record["grpc_status"] == 1));
    assert!(resident < RESIDENT, "{resident} KiB");
    let (good, said) = warden.verified();
    assert!(good, "{said}");
    let text: String = warden.series().oldest_first().unwrap().iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    assert!(!text.contains("eyJ"), "a token is in the log");
}
