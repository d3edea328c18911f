//! The gateway before the real Temporal, with a client that writes HTTP/2 itself: what an SDK would hide is seen.

#[path = "gateway/mod.rs"]
mod gateway;
mod live;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gateway::client::{self, Reply};
use h2::client::{ResponseFuture, SendRequest};
use live::{LIMIT, Stack};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

const OK: u32 = 0;
const CANCELLED: u32 = 1;
const NOT_FOUND: u32 = 5;
const ALREADY_EXISTS: u32 = 6;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// A field of bytes or of another message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 127 {
        field.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(value);
    field
}

fn list() -> Vec<u8> {
    field(1, b"default")
}

/// StartWorkflowExecutionRequest: namespace, workflow_id, workflow_type, task_queue, request_id.
fn start(workflow: &str, request: &str) -> Vec<u8> {
    let named = |number, name: &[u8]| field(number, &field(1, name));
    let fields = [list(), field(2, workflow.as_bytes()), named(3, b"T"), named(4, b"q"), field(10, request.as_bytes())];
    fields.concat()
}

/// DescribeWorkflowExecutionRequest: unlike a list it may be called often.
fn describe(workflow: &str) -> Vec<u8> {
    [list(), field(2, &field(1, workflow.as_bytes()))].concat()
}

/// A poll of either kind: namespace, task_queue.
fn poll(queue: &[u8]) -> Vec<u8> {
    [list(), field(2, &field(1, queue))].concat()
}

/// RespondWorkflowTaskCompletedRequest with the one command COMPLETE_WORKFLOW_EXECUTION: task_token, commands, namespace.
fn complete(task: &[u8], namespace: &str) -> Vec<u8> {
    let command = [&[1 << 3, 4][..], &field(4, b"")].concat();
    [field(1, task), field(2, &command), field(9, namespace.as_bytes())].concat()
}

/// The first field of an answer's message, which is one of bytes.
fn first(body: &[u8]) -> &[u8] {
    let message = &body[5..];
    assert_eq!(message[0], 1 << 3 | 2, "{message:?}");
    let (mut length, mut at) = (0, 1);
    while message[at] & 128 != 0 {
        length |= usize::from(message[at] & 127) << (7 * (at - 1));
        at += 1;
    }
    length |= usize::from(message[at]) << (7 * (at - 1));
    &message[at + 1..at + 1 + length]
}

async fn connect(stack: &Stack) -> SendRequest<Bytes> {
    let papers = (stack.read("temporal-client.crt"), stack.read("temporal-client.key"));
    let address = ([127, 0, 0, 1], stack.port).into();
    client::h2_over(client::handshake(address, &stack.read("ca.crt"), Some(papers), &[b"h2"]).await.unwrap()).await
}

fn token(stack: &Stack, file: &str) -> String {
    client::bearer(&stack.read(file))
}

fn minted(stack: &Stack, args: &[&str]) -> String {
    client::bearer(stack.must(&[&["token", "mint"], args].concat()).trim())
}

/// Sends one message; the stream is there when this returns.
async fn begin(send: &SendRequest<Bytes>, method: &str, headers: &[(&str, &str)], message: &[u8]) -> ResponseFuture {
    let path = format!("/temporal.api.workflowservice.v1.WorkflowService/{method}");
    let mut send = send.clone().ready().await.unwrap();
    // Temporal takes no long poll without a deadline.
    let headers = [&[("grpc-timeout", "60S")], headers].concat();
    let (response, mut stream) = send.send_request(client::request(&path, &headers), false).unwrap();
    stream.send_data(client::message(message), true).unwrap();
    response
}

async fn call(send: &SendRequest<Bytes>, method: &str, token: &str, message: &[u8]) -> Reply {
    let begun = begin(send, method, &[("authorization", token)], message).await;
    timeout(LIMIT, client::read(begun)).await.expect("no answer").unwrap()
}

/// While others on this thread go on.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Stops the stack while this thread goes on: connections that nobody drives would hold its drain up.
async fn end(mut stack: Stack) {
    let mut warden = stack.warden.take().unwrap();
    kill(Pid::from_raw(warden.id().cast_signed()), Signal::SIGTERM).unwrap();
    until("its end", || warden.try_wait().unwrap().is_some()).await;
}

fn records(stack: &Stack, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let text = fs::read_to_string(stack.path("audit/audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).filter(wanted).collect()
}

#[tokio::test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
async fn what_temporal_says_arrives_whole_and_every_kind_of_end_is_on_record() {
    let stack = Stack::start();
    let send = connect(&stack).await;
    let own = token(&stack, "client-token.jwt");

    let traced =
        [("authorization", own.as_str()), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let begun = begin(&send, "StartWorkflowExecution", &traced, &start("once", "a")).await;
    let begun = client::read(begun).await.unwrap();
    assert_eq!(begun.status(), OK, "{}", begun.message());
    let twice = call(&send, "StartWorkflowExecution", &own, &start("once", "b")).await;
    let details = twice.trailers.as_ref().unwrap_or(twice.head.headers()).get("grpc-status-details-bin");
    assert!(twice.status() == ALREADY_EXISTS && details.is_some_and(|d| d.len() > 20), "{:?}", twice.head);

    // Temporal's own limit, in its own words; one byte below it is read.
    let most = 4 << 20;
    let above = call(&send, "ListWorkflowExecutions", &own, &[list(), field(6, &vec![b'x'; most])].concat()).await;
    assert_eq!(above.status(), RESOURCE_EXHAUSTED);
    assert!(above.message().contains("received message larger than max"), "{}", above.message());
    let room = most - 1 - list().len() - 5;
    let below = call(&send, "ListWorkflowExecutions", &own, &[list(), field(3, &vec![0; room])].concat()).await;
    assert!(!below.message().contains("larger than max"), "{}", below.message());

    assert_eq!(call(&send, "ListNamespaces", &own, b"").await.status(), PERMISSION_DENIED);
    let worker = token(&stack, "worker-token.jwt");
    let parked = begin(&send, "PollActivityTaskQueue", &[("authorization", &worker)], &poll(b"nobody")).await;
    sleep(Duration::from_millis(500)).await;
    drop(parked);
    let trust = stack.read("ca.crt");
    let bare = client::handshake(([127, 0, 0, 1], stack.port).into(), &trust, None, &[b"h2"]).await;
    if let Ok(mut bare) = bare {
        // In TLS 1.3 the client learns of it with its first read.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut bare, &mut Vec::new()).await;
    }

    let one = async |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        until(what, || !records(&stack, wanted).is_empty()).await;
        let found = records(&stack, wanted);
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        found[0].clone()
    };
    let with = |method: &'static str, status: u32| move |r: &Value| r["method"] == method && r["grpc_status"] == status;
    let started = one("the start", &with("StartWorkflowExecution", OK)).await;
    assert_eq!((&started["namespace"], &started["workflow_id"]), (&"default".into(), &"once".into()));
    assert_eq!(started["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(started["principal"]["sub"], "temporal-client");
    one("the second start", &with("StartWorkflowExecution", ALREADY_EXISTS)).await;
    one("the large request", &with("ListWorkflowExecutions", RESOURCE_EXHAUSTED)).await;
    assert_eq!(one("the refusal", &with("ListNamespaces", PERMISSION_DENIED)).await["decision"], "deny");
    one("the cancelled poll", &with("PollActivityTaskQueue", CANCELLED)).await;
    one("the handshake without a certificate", &|r: &Value| r["service"] == "tls").await;
    stack.must(&["audit", "verify"]);
    end(stack).await;
}

#[tokio::test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
async fn a_token_of_one_namespace_answers_its_own_tasks_only_and_its_poll_ends_when_it_is_revoked() {
    let stack = Stack::with(&[("WARDEN_NAMESPACES", "default,other")]);
    let send = connect(&stack).await;
    let worker = |namespace: &str, subject: &str| {
        let scope = ["--scope", "temporal-worker", "--namespace", namespace, "--subject", subject];
        minted(&stack, &scope)
    };
    let (own, foreign) = (worker("default", "worker-a"), worker("other", "worker-b"));
    let app = minted(&stack, &["--scope", "temporal-client", "--namespace", "default", "--subject", "app"]);
    assert_eq!(call(&send, "StartWorkflowExecution", &app, &start("w", "a")).await.status(), OK);
    assert_eq!(call(&send, "PollWorkflowTaskQueue", &foreign, &poll(b"q")).await.status(), PERMISSION_DENIED);
    let polled = call(&send, "PollWorkflowTaskQueue", &own, &poll(b"q")).await;
    assert_eq!(polled.status(), OK, "{}", polled.message());
    let task = first(&polled.body).to_vec();
    // The server goes by the id in the task token, whatever name stands beside it.
    for named in ["default", "other"] {
        let refused = call(&send, "RespondWorkflowTaskCompleted", &foreign, &complete(&task, named)).await;
        assert_eq!(refused.status(), PERMISSION_DENIED, "{}", refused.message());
    }
    let done = call(&send, "RespondWorkflowTaskCompleted", &own, &complete(&task, "default")).await;
    assert_eq!(done.status(), OK, "{}", done.message());
    let again = call(&send, "RespondWorkflowTaskCompleted", &own, &complete(&task, "default")).await;
    assert_eq!(again.status(), NOT_FOUND, "the workflow is completed: {}", again.message());

    let parked = begin(&send, "PollActivityTaskQueue", &[("authorization", &own)], &poll(b"nobody")).await;
    let other = begin(
        &send,
        "PollActivityTaskQueue",
        &[("authorization", &token(&stack, "worker-token.jwt"))],
        &poll(b"nobody"),
    )
    .await;
    sleep(Duration::from_millis(500)).await;
    stack.must(&["token", "revoke", "--subject", "worker-a"]);
    let revoked = Instant::now();
    let ended = timeout(LIMIT, client::read(parked)).await.expect("the poll goes on").unwrap();
    eprintln!("ended {:?} after the command", revoked.elapsed());
    assert_eq!((ended.status(), ended.message().as_str()), (UNAUTHENTICATED, "Unauthorized: the token was revoked"));
    assert!(timeout(Duration::from_millis(300), client::read(other)).await.is_err(), "another's poll goes on");
    assert_eq!(call(&send, "PollActivityTaskQueue", &own, &poll(b"q")).await.status(), UNAUTHENTICATED);
    end(stack).await;
}

#[tokio::test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
async fn hundreds_of_parked_polls_hold_no_call_up_and_a_stop_of_the_gateway_ends_them_and_loses_no_other() {
    const POLLS: usize = 600;
    let stack = Stack::start();
    let send = connect(&stack).await;
    let (own, worker) = (token(&stack, "client-token.jwt"), token(&stack, "worker-token.jwt"));
    let mut parked = Vec::new();
    for _ in 0..POLLS {
        parked.push(begin(&send, "PollActivityTaskQueue", &[("authorization", &worker)], &poll(b"nobody")).await);
    }
    let started = call(&send, "StartWorkflowExecution", &own, &start("beside", "a")).await;
    assert_eq!(started.status(), OK, "{}", started.message());
    for _ in 0..50 {
        assert_eq!(call(&send, "DescribeWorkflowExecution", &own, &describe("beside")).await.status(), OK);
    }
    let gateway = gateway_of(&stack);
    kill(gateway, Signal::SIGTERM).unwrap();
    for poll in parked {
        let ended = timeout(LIMIT, client::read(poll)).await.expect("a poll goes on").unwrap();
        assert_eq!(ended.status(), UNAVAILABLE, "{}", ended.message());
    }
    // The next gateway serves the same port, with the same chain of records.
    until("another gateway", || stack.warden(&["healthcheck"]).status.success() && gateway_of(&stack) != gateway).await;
    assert_eq!(call(&connect(&stack).await, "DescribeWorkflowExecution", &own, &describe("beside")).await.status(), OK);
    let polls = records(&stack, |r| r["method"] == "PollActivityTaskQueue" && r["grpc_status"] == UNAVAILABLE);
    assert_eq!(polls.len(), POLLS);
    stack.must(&["audit", "verify"]);
    end(stack).await;
}

#[tokio::test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
async fn no_call_fails_while_temporal_ends_each_connection_after_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let settings = folder.path().join("dynamic.yaml");
    fs::write(&settings, "frontend.keepAliveMaxConnectionAge:\n  - value: 2s\n").unwrap();
    let stack = Stack::with(&[("WARDEN_DYNAMIC_CONFIG_FILE", settings.to_str().unwrap())]);
    let send = connect(&stack).await;
    let started = call(&send, "StartWorkflowExecution", &token(&stack, "client-token.jwt"), &start("w", "a")).await;
    assert_eq!(started.status(), OK, "{}", started.message());
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (send, own, over) = (send.clone(), token(&stack, "client-token.jwt"), over.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    let reply = call(&send, "DescribeWorkflowExecution", &own, &describe("w")).await;
                    assert_eq!(reply.status(), OK, "{}", reply.message());
                    calls += 1;
                    // Temporal's own limit is above what this makes.
                    sleep(Duration::from_millis(5)).await;
                }
                calls
            })
        })
        .collect();
    sleep(Duration::from_secs(9)).await;
    over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    eprintln!("{calls} calls");
    let unavailable = records(&stack, |r| r["grpc_status"] == UNAVAILABLE);
    assert!(unavailable.is_empty() && calls > 0, "{unavailable:?}");
    end(stack).await;
}

fn gateway_of(stack: &Stack) -> Pid {
    let pid1 = stack.warden.as_ref().unwrap().id();
    let children = fs::read_to_string(format!("/proc/{pid1}/task/{pid1}/children")).unwrap();
    let is_gateway =
        |pid: &&str| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0gateway\0"));
    children.split_whitespace().find(is_gateway).map_or(Pid::from_raw(0), |pid| Pid::from_raw(pid.parse().unwrap()))
}
