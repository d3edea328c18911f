//! A stop: what finishes, what is ended and how, and what is on record afterwards.

#[path = "gateway/mod.rs"]
mod gateway;

use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::{Gateway, LIST, Options, client};
use h2::client::SendRequest;
use temporal_warden::gateway::link::Hello;
use tokio::{task::JoinHandle, time::sleep};

const POLL: &str = "/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue";
/// Ends with the client's: at once for a poll, at the limit for others that do not end by themselves.
const LIMIT: Duration = Duration::from_secs(4);

async fn scene() -> Gateway {
    let drain_timeout_ms = LIMIT.as_millis().try_into().unwrap();
    Gateway::with(Options { hello: Hello { drain_timeout_ms, ..Options::default().hello }, ..Options::default() }).await
}

/// A call that does what `test` says; its status, message, and how long it took.
fn call(
    gateway: &Gateway,
    send: &SendRequest<Bytes>,
    path: &'static str,
    test: &'static str,
) -> JoinHandle<(u32, String, Duration)> {
    let token = client::bearer(&gateway.token("temporal-worker temporal-client"));
    let send = send.clone();
    let start = Instant::now();
    tokio::spawn(async move {
        let headers = [("authorization", &*token), ("x-test", test), ("grpc-timeout", "70S")];
        let reply = client::call(&send, path, &headers).await.unwrap();
        (reply.status(), reply.message(), start.elapsed())
    })
}

async fn until_at_backend(gateway: &Gateway, count: usize) {
    while gateway.backend.count() < count {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn polls_are_ended_calls_in_flight_finish_and_all_are_on_record() {
    let mut gateway = scene().await;
    let send = gateway.connect().await;
    let polls: Vec<_> = (0..20).map(|_| call(&gateway, &send, POLL, "hang")).collect();
    let slow: Vec<_> = (0..20).map(|_| call(&gateway, &send, LIST, "slow")).collect();
    until_at_backend(&gateway, 40).await;
    assert_eq!(gateway.drain().await, 0);
    for poll in polls {
        let (status, message, took) = poll.await.unwrap();
        assert_eq!((status, message.contains("stopping")), (14, true), "{message}");
        assert!(took < LIMIT, "a poll held the stop up for {took:?}");
    }
    for call in slow {
        assert_eq!(call.await.unwrap().0, 0);
    }
    let records = gateway.records();
    let of = |status: u64| records.iter().filter(|record| record["grpc_status"] == status).count();
    assert_eq!((records.len(), of(0), of(14)), (40, 20, 20));
}

#[tokio::test]
async fn what_does_not_end_by_itself_is_told_unavailable_at_the_limit() {
    let mut gateway = scene().await;
    let send = gateway.connect().await;
    let stuck = call(&gateway, &send, LIST, "hang");
    until_at_backend(&gateway, 1).await;
    assert_eq!(gateway.drain().await, 0);
    let (status, message, took) = stuck.await.unwrap();
    assert_eq!(status, 14, "{message}");
    assert!(took >= LIMIT - Duration::from_millis(200), "ended after {took:?}, before the limit");
    assert_eq!(gateway.records()[0]["grpc_status"], 14);
}

#[tokio::test]
async fn a_call_that_waits_for_the_upstream_is_told_unavailable_at_the_limit() {
    let hello = Hello { drain_timeout_ms: 700, upstream_wait_ms: 60_000, ..Options::default().hello };
    let mut gateway = Gateway::with(Options { hello, ..Options::default() }).await;
    let send = gateway.connect().await;
    gateway.backend.stop();
    sleep(Duration::from_millis(200)).await;
    let waiting = call(&gateway, &send, LIST, "");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(gateway.drain().await, 0);
    let (status, message, _) = waiting.await.unwrap();
    assert_eq!((status, message.contains("stopping")), (14, true), "{message}");
}

#[tokio::test]
async fn health_fails_and_connections_are_told_before_the_last_call_ends() {
    let mut gateway = scene().await;
    let (busy, idle) = (gateway.connect().await, gateway.connect().await);
    let slow = call(&gateway, &busy, LIST, "hang");
    until_at_backend(&gateway, 1).await;
    gateway.health(|health| health.serving).await;
    gateway.say(temporal_warden::gateway::link::ToGateway::Drain).await;
    let report = gateway.health(|health| !health.serving).await;
    assert_eq!(report.reason, "stopping");
    // The idle connection was told GOAWAY and is closed; the busy one goes on.
    let gone = async { while client::call(&idle, LIST, &[]).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(2), gone).await.expect("the idle connection takes calls still");
    assert!(!slow.is_finished());
    assert_eq!(gateway.exit().await, 0);
}
