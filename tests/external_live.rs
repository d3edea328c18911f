//! Tokens of another issuer before the real Temporal, through the whole warden with its walls up.

#[path = "gateway/mod.rs"]
mod gateway;
mod issuer;
mod live;

use std::{fs, time::Duration};

use bytes::Bytes;
use gateway::client::{self, Reply};
use h2::client::SendRequest;
use issuer::{AUDIENCE, Issuer, Key, claims, jwks};
use jsonwebtoken::Algorithm;
use live::Stack;
use serde_json::Value;

const WORKFLOW: &str = "/temporal.api.workflowservice.v1.WorkflowService/";

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, value.len() as u8], value].concat()
}

/// StartWorkflowExecutionRequest: namespace, workflow_id, workflow_type, task_queue, request_id.
fn start(workflow: &str) -> Vec<u8> {
    let named = |number, name: &[u8]| field(number, &field(1, name));
    [
        field(1, b"default"),
        field(2, workflow.as_bytes()),
        named(3, b"T"),
        named(4, b"q"),
        field(10, workflow.as_bytes()),
    ]
    .concat()
}

/// GetWorkflowExecutionHistoryRequest: namespace, execution.
fn history(workflow: &str) -> Vec<u8> {
    [field(1, b"default"), field(2, &field(1, workflow.as_bytes()))].concat()
}

async fn call(send: &SendRequest<Bytes>, method: &str, token: &str, message: &[u8]) -> Reply {
    let mut send = send.clone().ready().await.unwrap();
    let bearer = client::bearer(token);
    let request = client::request(&format!("{WORKFLOW}{method}"), &[("authorization", bearer.as_str())]);
    let (response, mut stream) = send.send_request(request, false).unwrap();
    stream.send_data(client::message(message), true).unwrap();
    tokio::time::timeout(live::LIMIT, client::read(response)).await.expect("no answer").unwrap()
}

async fn connect(stack: &Stack) -> SendRequest<Bytes> {
    let papers = (stack.read("temporal-client.crt"), stack.read("temporal-client.key"));
    let address = ([127, 0, 0, 1], stack.port).into();
    client::h2_over(client::handshake(address, &stack.read("ca.crt"), Some(papers), &[b"h2"]).await.unwrap()).await
}

#[tokio::test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
async fn a_person_of_another_issuer_works_with_temporal_through_key_changes_and_its_absence() {
    let ca = gateway::certs::Ca::new();
    let (old, new) = (Key::new("old", Algorithm::RS256), Key::new("new", Algorithm::ES384));
    let issuer = Issuer::with(jwks(&[&old]), Some(ca.server()));
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("issuer-ca.crt");
    fs::write(&ca_file, ca.pem()).unwrap();
    let url = issuer.url();
    let stack = Stack::with(&[
        ("WARDEN_EXTERNAL_ISSUER", &url),
        ("WARDEN_EXTERNAL_AUDIENCE", AUDIENCE),
        ("WARDEN_EXTERNAL_CA_FILE", ca_file.to_str().unwrap()),
        ("WARDEN_EXTERNAL_SUBJECT_CLAIM", "email"),
        ("WARDEN_EXTERNAL_SCOPES", "ops=temporal-client,seers=temporal-client:read"),
        ("WARDEN_EXTERNAL_REFRESH", "2s"),
        ("WARDEN_EXTERNAL_RETRY", "1s"),
    ]);
    let send = connect(&stack).await;
    let of = |key: &Key, groups: &[&str]| key.sign(&claims(&url, groups));
    let ok = |reply: &Reply| assert_eq!(reply.status(), 0, "{}\n{}", reply.message(), stack.log());
    ok(&call(&send, "StartWorkflowExecution", &of(&old, &["ops"]), &start("theirs")).await);
    // Temporal itself has put the subject on each event of the history.
    let read = call(&send, "GetWorkflowExecutionHistory", &of(&old, &["seers"]), &history("theirs")).await;
    ok(&read);
    assert!(String::from_utf8_lossy(&read.body).contains("ada@example.com"));
    let denied = call(&send, "StartWorkflowExecution", &of(&old, &["seers"]), &start("refused")).await;
    assert_eq!(denied.status(), 7, "{}", denied.message());
    ok(&call(&send, "GetSystemInfo", &of(&old, &["seers"]), &[]).await);

    // The issuer changes its key and signs with the new one at once.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    issuer.gives(jwks(&[&new, &old]));
    ok(&call(&send, "ListWorkflowExecutions", &of(&new, &["seers"]), &field(1, b"default")).await);
    // It goes away; a gateway that starts meanwhile has its keys all the same.
    issuer.is_up(false);
    stack.until("the failure is seen", || stack.must(&["status"]).contains("last fetch failed"));
    ok(&call(&send, "DescribeWorkflowExecution", &of(&new, &["ops"]), &history("theirs")).await);
    let status: Value = serde_json::from_str(&stack.must(&["status", "--json"])).unwrap();
    assert_eq!(status["gateway"]["issuer"]["keys"], serde_json::json!(["new", "old"]), "{status}");
    let gateway = status["children"].as_array().unwrap().iter().find(|child| child["name"] == "gateway").unwrap();
    let pid = i32::try_from(gateway["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    stack.until("a new gateway serves", || {
        let status: Value = serde_json::from_str(&stack.must(&["status", "--json"])).unwrap_or_default();
        status["serving"] == true
            && status["children"]
                .as_array()
                .unwrap()
                .iter()
                .any(|c| c["name"] == "gateway" && c["pid"] != gateway["pid"])
    });
    let send = connect(&stack).await;
    ok(&call(&send, "DescribeWorkflowExecution", &of(&new, &["ops"]), &history("theirs")).await);

    // What people ask of a token in their hands.
    let file = folder.path().join("token");
    fs::write(&file, of(&new, &["seers"])).unwrap();
    let inspect = |method| stack.warden(&["token", "inspect", file.to_str().unwrap(), "--can", method]);
    assert!(inspect("ListWorkflowExecutions").status.success());
    let refused = inspect("TerminateWorkflowExecution");
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("scope temporal-client:read may not call"), "{said}");
    let address = format!("localhost:{}", stack.port);
    stack.until("the doctor says that the issuer is away", || {
        let said = stack.warden(&["doctor", "--address", &address]).stdout;
        String::from_utf8_lossy(&said).contains("the last fetch failed")
    });

    // A revocation by subject is for everybody of that name.
    stack.must(&["token", "revoke", "--subject", "ada@example.com"]);
    let out = call(&send, "ListWorkflowExecutions", &of(&new, &["ops"]), &field(1, b"default")).await;
    assert_eq!((out.status(), out.message().contains("revoked")), (16, true), "{}", out.message());
    assert!(!inspect("ListWorkflowExecutions").status.success());
    let log = fs::read_to_string(stack.path("audit/audit.jsonl")).unwrap();
    let denied = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let denied = denied.filter(|record| record["decision"] == "deny").find(|r| r["method"] == "StartWorkflowExecution");
    let principal = &denied.unwrap()["principal"];
    assert_eq!((&principal["sub"], &principal["iss"]), (&Value::from("ada@example.com"), &Value::from(url.as_str())));
}
