//! The metrics: what is scraped agrees with what happened, and the list names all of it.

#[path = "gateway/mod.rs"]
mod gateway;

use std::collections::BTreeSet;

use gateway::{Gateway, INFO, LIST, Options, client, metrics::Scrape};
use temporal_warden::gateway::{
    link::{ChildState, Snapshot, ToGateway},
    metrics::LIST as METRICS,
};

const POLL: &str = "/temporal.api.workflowservice.v1.WorkflowService/PollWorkflowTaskQueue";

#[tokio::test]
async fn calls_are_counted_by_method_code_and_scope() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    for _ in 0..3 {
        assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    }
    assert_eq!(gateway.call(&send, LIST, "temporal-worker").await.status(), 7);
    assert_eq!(client::call(&send, "/made.up.Service/AndMethod", &[]).await.unwrap().status(), 16);
    let scrape = gateway.scrape_until(|scrape| scrape.value("temporal_warden_open_streams") == 0.0).await;
    let calls = |method: &str, code: &str, scope: &str| {
        let labels = format!("{{method=\"{method}\",code=\"{code}\",scope=\"{scope}\"}}");
        scrape.value(&format!("temporal_warden_calls_total{labels}"))
    };
    let list = &LIST[1..];
    assert_eq!(calls(list, "OK", "temporal-client"), 3.0);
    assert_eq!(calls(list, "PERMISSION_DENIED", "temporal-worker"), 1.0);
    assert_eq!(calls("other", "UNAUTHENTICATED", "none"), 1.0);
    assert_eq!(scrape.value("temporal_warden_denials_total{reason=\"forbidden\"}"), 1.0);
    assert_eq!(scrape.value("temporal_warden_denials_total{reason=\"no_token\"}"), 1.0);
    assert_eq!(scrape.value("temporal_warden_added_latency_seconds_count"), 3.0, "only forwarded calls");
    assert!(scrape.value("temporal_warden_request_bytes_total") > 0.0);
}

#[tokio::test]
async fn what_was_revoked_is_counted_as_revoked() {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let mut material = gateway.next_version();
    material.auth.revocations.subjects.insert("tester".to_owned());
    gateway.switch(material).await.unwrap();
    assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 16);
    let broken = client::call(&send, LIST, &[("authorization", "Bearer a.b.c")]).await.unwrap();
    assert_eq!(broken.status(), 16);
    let scrape = gateway.scrape().await;
    for reason in ["revoked_token", "bad_token"] {
        assert_eq!(scrape.value(&format!("temporal_warden_denials_total{{reason=\"{reason}\"}}")), 1.0, "{reason}");
    }
}

#[tokio::test]
async fn a_slow_upstream_adds_no_latency() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let headers = [("authorization", token.as_str()), ("x-test", "slow")];
    assert_eq!(client::call(&send, LIST, &headers).await.unwrap().status(), 0);
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("temporal_warden_added_latency_seconds_count"), 1.0);
    let added = scrape.value("temporal_warden_added_latency_seconds_sum");
    assert!(added < 0.25, "{added} s of the upstream's 0.3 s were counted as ours");
}

#[tokio::test]
async fn calls_in_flight_connections_and_the_audit_log_are_shown() {
    let gateway = Gateway::start().await;
    let mut send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-worker"));
    let hang = client::request(POLL, &[("authorization", &token), ("x-test", "hang")]);
    let (response, stream) = send.send_request(hang, true).unwrap();
    let open = |scrape: &Scrape| scrape.value("temporal_warden_open_streams") == 1.0;
    let scrape = gateway.scrape_until(open).await;
    assert_eq!(scrape.value("temporal_warden_connections"), 1.0);
    assert_eq!(scrape.value("temporal_warden_audit_lag_records"), 0.0, "its place is reserved, its record not late");
    assert_eq!(scrape.value("temporal_warden_audit_failing"), 0.0);
    drop((response, stream));
    let scrape = gateway.scrape_until(|scrape| scrape.value("temporal_warden_open_streams") == 0.0).await;
    let cancelled = format!(
        "temporal_warden_calls_total{{method=\"{}\",code=\"CANCELLED\",scope=\"temporal-worker\"}}",
        &POLL[1..]
    );
    assert_eq!(scrape.value(&cancelled), 1.0);
}

#[tokio::test]
async fn failed_handshakes_have_a_reason() {
    let gateway = Gateway::start().await;
    // With TLS 1.3 a client learns of its refusal only afterwards.
    let _ = gateway.tls(None, &[b"h2"]).await;
    let foreign = gateway::certs::Ca::new().client(gateway::certs::Client::default());
    let _ = gateway.tls(Some(foreign), &[b"h2"]).await;
    gateway.speak(b"GET / HTTP/1.1\r\n\r\n").await;
    for reason in ["no_certificate", "untrusted_certificate", "not_tls"] {
        let sample = format!("temporal_warden_handshakes_failed_total{{reason=\"{reason}\"}}");
        gateway.scrape_until(|scrape| scrape.value(&sample) >= 1.0).await;
    }
}

#[tokio::test]
async fn what_only_pid_1_knows_is_shown_too() {
    let mut gateway = Gateway::start().await;
    gateway.health(|health| health.serving).await;
    let child = ChildState { name: "temporal".to_owned(), up: true, restarts: 3 };
    let snapshot = Snapshot {
        generation: 12,
        certificates: vec![("ca.crt".to_owned(), 2_000_000_000)],
        tokens: vec![("worker-token.jwt".to_owned(), 1_900_000_000)],
        children: vec![child],
    };
    gateway.say(ToGateway::Snapshot(snapshot)).await;
    let scrape = gateway.scrape_until(|scrape| scrape.value("temporal_warden_generation") == 12.0).await;
    let file = |name: &str, file: &str| scrape.value(&format!("temporal_warden_{name}{{file=\"{file}\"}}"));
    assert_eq!(file("certificate_expiry_timestamp_seconds", "ca.crt"), 2e9);
    assert_eq!(file("token_expiry_timestamp_seconds", "worker-token.jwt"), 1.9e9);
    assert_eq!(scrape.value("temporal_warden_child_restarts_total{child=\"temporal\"}"), 3.0);
    assert_eq!(scrape.value("temporal_warden_serving"), 1.0);
    assert_eq!(scrape.value("temporal_warden_upstream_up"), 1.0);
}

#[tokio::test]
async fn the_exposition_is_what_the_list_says_and_well_formed() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    client::call(&send, INFO, &[]).await.unwrap();
    let scrape = gateway.scrape().await;
    let types: Vec<_> = scrape.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let listed: Vec<_> = METRICS.iter().map(|metric| format!("{} {}", metric.name, metric.kind.word())).collect();
    assert_eq!(types, listed);
    let mut seen = BTreeSet::new();
    for line in scrape.text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(seen.insert(series), "twice: {line}");
        let name = series.split('{').next().unwrap();
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(METRICS.iter().any(|metric| metric.name == name || metric.name == bare), "{line}");
    }
    let buckets: Vec<_> = scrape.samples("temporal_warden_added_latency_seconds_bucket").collect();
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "buckets are cumulative: {buckets:?}");
    assert!(buckets.last().unwrap().0.contains("le=\"+Inf\""));
}

#[tokio::test]
async fn only_metrics_are_served_there_and_only_when_asked_for() {
    let gateway = Gateway::start().await;
    assert!(gateway.get("/").await.starts_with("HTTP/1.1 404"));
    assert!(gateway.get("/health").await.starts_with("HTTP/1.1 404"));
    let mut off = Options::default();
    off.hello.metrics = false;
    let gateway = Gateway::with(off).await;
    gateway.connect().await;
    let tcp = tokio::net::TcpStream::connect(gateway.metrics).await;
    assert!(tcp.is_err(), "the gateway gave the door away");
}

#[tokio::test]
async fn the_trace_of_a_call_goes_on_untouched_and_stands_in_its_record() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers =
        [("authorization", token.as_str()), ("traceparent", parent), ("tracestate", "a=1,b=2"), ("tracestate", "c=3")];
    assert_eq!(client::call(&send, LIST, &headers).await.unwrap().status(), 0);
    let seen = gateway.backend.last_headers();
    assert_eq!(seen["traceparent"], parent);
    assert_eq!(seen.get_all("tracestate").iter().collect::<Vec<_>>(), ["a=1,b=2", "c=3"]);
    assert_eq!(gateway.records().last().unwrap()["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}
