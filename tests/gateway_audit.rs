//! One record per operation, whatever becomes of it; nothing served that can't be recorded.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{
    io::{BufRead, BufReader, Read, Write},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::future::join_all;
use gateway::{Gateway, LIST, Options, client};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use temporal_warden::{
    config::{AuditFail, AuditSync},
    gateway::link::Hello,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::sleep,
};

#[tokio::test]
async fn there_is_one_record_per_call_allowed_denied_cancelled_or_plain_http() {
    let mut gateway = Gateway::start().await;
    let mut send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("authorization", token.as_str()), ("traceparent", traceparent), ("user-agent", "test/1")];
    let replies = join_all((0..50).map(|_| client::call(&send, LIST, &headers))).await;
    assert!(replies.into_iter().all(|reply| reply.unwrap().status() == 0));
    assert_eq!(gateway.records().len(), 50, "a record is written before the trailers leave");
    for _ in 0..7 {
        assert_eq!(client::call(&send, LIST, &[]).await.unwrap().status(), 16);
    }
    for _ in 0..3 {
        let hang = client::request(LIST, &[("authorization", &token), ("x-test", "hang")]);
        let (response, mut stream) = send.send_request(hang, true).unwrap();
        sleep(Duration::from_millis(50)).await;
        drop(response);
        stream.send_reset(h2::Reason::CANCEL);
    }
    gateway.http1("GET /health").await;
    drop(send);
    assert_eq!(gateway.drain().await, 0);
    let records = gateway.records();
    let count = |field: &str, value: serde_json::Value| records.iter().filter(|record| record[field] == value).count();
    assert_eq!(records.len(), 50 + 7 + 3 + 1);
    assert_eq!((count("decision", "deny".into()), count("grpc_status", 16.into())), (7, 7));
    assert_eq!((count("grpc_status", 1.into()), count("service", "http".into())), (3, 1));
    let first = &records[0];
    assert_eq!(first["principal"]["sub"], "tester");
    assert_eq!(first["principal"]["scope"], "temporal-client");
    assert_eq!(first["principal"]["cert_serial"], "4d");
    assert_eq!(first["principal"]["cert_subject"], "CN=temporal-client");
    assert_eq!(first["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((&first["request_bytes"], &first["response_bytes"]), (&10.into(), &10.into()));
    assert_eq!((&first["method"], &first["user_agent"]), (&"ListWorkflowExecutions".into(), &"test/1".into()));
}

#[tokio::test]
async fn failed_handshakes_without_end_are_counted_in_sums_and_another_address_keeps_its_records() {
    const KNOCKS: u64 = 1300;
    let mut gateway = Gateway::start().await;
    let knock = async |from: [u8; 4]| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut tcp = socket.connect(gateway.address).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    };
    for _ in 0..KNOCKS {
        knock([127, 0, 0, 5]).await;
    }
    knock([127, 0, 0, 6]).await;
    let total = "temporal_warden_handshakes_failed_total{reason=\"not_tls\"}";
    let scrape = gateway.scrape_until(|scrape| scrape.value(total) == (KNOCKS + 1) as f64).await;
    assert_eq!(gateway.drain().await, 0);
    let records = gateway.records();
    let of =
        |address: &str| records.iter().filter(|r| r["peer"].as_str().unwrap().starts_with(address)).collect::<Vec<_>>();
    let (sums, single): (Vec<_>, Vec<_>) = of("127.0.0.5").into_iter().partition(|record| record["count"].is_u64());
    let left_out: u64 = sums.iter().map(|sum| sum["count"].as_u64().unwrap()).sum();
    assert!(single.len() >= 1000 && left_out > 0, "{} and {left_out}", single.len());
    assert_eq!(single.len() as u64 + left_out, KNOCKS, "each is in one record or one sum");
    assert_eq!(scrape.value("temporal_warden_limit_hits_total{limit=\"handshake_records\"}"), left_out as f64);
    let sum = sums[0];
    assert_eq!((&sum["service"], &sum["decision"], &sum["peer"]), (&"tls".into(), &"deny".into(), &"127.0.0.5".into()));
    let count = sum["count"].as_u64().unwrap();
    let said = format!("{count} more handshakes failed from 127.0.0.5, too many to record one by one: {count} not_tls");
    assert_eq!(sum["reason"], said);
    assert_eq!(of("127.0.0.6").len(), 1);
}

#[tokio::test]
async fn the_chain_goes_on_after_the_last_record_and_holds() {
    let last = (41, "ab".repeat(32));
    let hello = Hello { audit_last: Some(last.clone()), ..Options::default().hello };
    let mut gateway = Gateway::with(Options { hello, ..Options::default() }).await;
    let send = gateway.connect().await;
    for _ in 0..20 {
        gateway.call(&send, LIST, "temporal-client").await;
    }
    drop(send);
    gateway.drain().await;
    let text = std::fs::read_to_string(&gateway.audit_file).unwrap();
    assert_eq!(text.lines().count(), 20);
    let (mut seq, mut prev) = last;
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        seq += 1;
        assert_eq!((&record["seq"], &record["prev"]), (&seq.into(), &prev.as_str().into()));
        prev = digest(&SHA256, line.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

#[tokio::test]
async fn trailers_leave_only_after_the_write_of_their_record_returned() {
    for audit_sync in [AuditSync::Batch, AuditSync::Always] {
        // A pipe that is full stands for a disk that takes its time.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut pipe = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let size = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        pipe.write_all(&vec![b'\n'; size.try_into().unwrap()]).unwrap();
        let hello = Hello { audit_sync, ..Options::default().hello };
        let gateway = Gateway::with(Options { hello, audit: Some(path), ..Options::default() }).await;
        let send = gateway.connect().await;
        let token = client::bearer(&gateway.token("temporal-client"));
        let denied = send.clone();
        let calls = [
            tokio::spawn(
                async move { client::call(&send, LIST, &[("authorization", &token)]).await.unwrap().status() },
            ),
            tokio::spawn(async move { client::call(&denied, LIST, &[]).await.unwrap().status() }),
        ];
        while gateway.backend.count() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(500)).await;
        assert!(calls.iter().all(|call| !call.is_finished()), "answered before it was on record");
        pipe.read_exact(&mut vec![0; size.try_into().unwrap()]).unwrap();
        let [allowed, denied] = calls;
        assert_eq!((allowed.await.unwrap(), denied.await.unwrap()), (0, 16));
        let mut lines = BufReader::new(pipe).lines().map(Result::unwrap).filter(|line| !line.is_empty());
        assert!((0..2).all(|_| lines.next().unwrap().contains(r#""method":"ListWorkflowExecutions""#)));
    }
}

#[tokio::test]
async fn no_token_and_no_payload_is_on_record_and_nothing_in_it_acts_on_a_terminal() {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = gateway.token("temporal-client");
    let (forged, endless) = (format!("{}x", &token[..token.len() - 9]), "m".repeat(6000));
    let bearer = client::bearer(&token);
    for headers in [
        vec![("authorization", bearer.as_str()), ("x-custom", token.as_str()), ("cookie", token.as_str())],
        vec![("authorization", token.as_str())],
        vec![("authorization", forged.as_str())],
        vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
        vec![("authorization", bearer.as_str()), ("traceparent", token.as_str())],
    ] {
        client::call(&send, LIST, &headers).await.unwrap();
    }
    let long = format!("/a.Service/{endless}");
    client::call(&send, &long, &[("user-agent", endless.as_str()), ("authorization", &bearer)]).await.unwrap();
    // ListWorkflowExecutionsRequest.namespace, field 1.
    let hostile = "\u{1b}[2J\n\u{7f}\u{9b}31m\u{202e}";
    let namespace = [&[0x0a, hostile.len().try_into().unwrap()], hostile.as_bytes()].concat();
    let head = client::request(LIST, &[("authorization", &bearer)]);
    let (response, mut stream) = send.clone().ready().await.unwrap().send_request(head, false).unwrap();
    stream.send_data(client::message(&namespace), true).unwrap();
    client::read(response).await.unwrap();
    gateway.http1(&format!("GET /health?token={token}")).await;
    drop(send);
    gateway.drain().await;
    let log = std::fs::read_to_string(&gateway.audit_file).unwrap();
    assert_eq!(log.lines().count(), 8, "{log}");
    assert!(gateway.records().iter().any(|record| record["namespace"] == hostile), "{log}");
    let signature = token.rsplit('.').next().unwrap();
    for secret in [&token[..], signature, "eyJ", "hello", "BEGIN"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    assert!(log.lines().all(|line| line.len() < 4096 && !line.chars().any(char::is_control)), "{log}");
}

#[tokio::test]
async fn a_full_disk_refuses_calls_and_health_says_so() {
    let mut gateway = Gateway::with(Options { audit: Some("/dev/full".into()), ..Options::default() }).await;
    gateway.health(|health| health.serving).await;
    gateway.http1("GET /health").await;
    let health = gateway.health(|health| !health.audit_ok).await;
    assert!(!health.serving && health.reason.contains("audit log"), "{health:?}");
    let send = gateway.connect().await;
    let reply = gateway.call(&send, LIST, "temporal-client").await;
    assert_eq!((reply.status(), gateway.backend.count()), (14, 0), "{}", reply.message());
    assert!(gateway.http1("GET /health").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn with_fail_open_calls_are_served_on_a_full_disk() {
    let hello = Hello { audit_fail: AuditFail::Open, ..Options::default().hello };
    let mut gateway = Gateway::with(Options { hello, audit: Some("/dev/full".into()), ..Options::default() }).await;
    let send = gateway.connect().await;
    for _ in 0..3 {
        assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    }
    let health = gateway.health(|health| !health.audit_ok && health.upstream_ok).await;
    assert!(health.serving, "{health:?}");
    assert!(gateway.http1("GET /health").await.contains(r#""lost":"#));
}

#[tokio::test]
async fn a_direct_sigterm_drains_and_calls_in_flight_finish() {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let slow = tokio::spawn(async move {
        client::call(&send, LIST, &[("authorization", &token), ("x-test", "slow")]).await.unwrap().status()
    });
    while gateway.backend.count() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    kill(Pid::from_raw(gateway.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(slow.await.unwrap(), 0);
    assert_eq!(gateway.exit().await, 0);
    assert_eq!(gateway.records().len(), 1);
}

#[tokio::test]
async fn without_pid_1_the_gateway_ends() {
    let mut gateway = Gateway::start().await;
    gateway.hang_up();
    assert_eq!(gateway.exit().await, 1);
}
