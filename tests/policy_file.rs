//! `WARDEN_POLICY_FILE`: what it opens, what it never opens, how it is read again, by the real program.

#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{fs, time::Duration};

use bytes::Bytes;
use gateway::{LIST, backend::Backend, client};
use h2::client::SendRequest;
use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};
use warden_scene::Scene;

const SERVICE: &str = "/temporal.api.workflowservice.v1.WorkflowService/";
const LIMIT: Duration = Duration::from_secs(60);

async fn status(send: &SendRequest<Bytes>, method: &str, token: &str) -> u32 {
    let path = format!("{SERVICE}{method}");
    client::call(send, &path, &[("authorization", &client::bearer(token))]).await.unwrap().status()
}

#[tokio::test]
async fn a_policy_opens_its_groups_and_is_read_again_at_sighup() {
    let backend = Backend::start().await;
    let mut scene = Scene::new(&backend.address.to_string());
    let file = scene.folder.path().join("policy.toml");
    fs::write(&file, "[[allow]]\nscope = \"temporal-client\"\ngroup = \"batch\"\n").unwrap();
    scene.set("WARDEN_POLICY_FILE", file.to_str().unwrap());
    let warden = scene.warden();
    let send = scene.connect("temporal-client.crt", "temporal-client.key").await;
    let (client, worker) = (scene.read("client-token.jwt"), scene.read("worker-token.jwt"));
    assert_eq!(status(&send, "StartBatchOperation", &client).await, 0);
    assert_eq!(status(&send, "StartBatchOperation", &worker).await, 7);
    for closed in ["DeleteWorkflowExecution", "RegisterNamespace", "Invented"] {
        assert_eq!(status(&send, closed, &client).await, 7, "{closed}");
    }
    // A file that is wrong changes nothing; the next good one does.
    fs::write(&file, "[[allow]]\nscope = \"temporal-client\"\ngroup = \"bach\"\n").unwrap();
    warden.signal(Signal::SIGHUP);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(status(&send, "StartBatchOperation", &client).await, 0);
    fs::write(&file, "[[allow]]\nsubject = \"temporal-worker\"\nmethods = [\"DeleteWorkflowExecution\"]\n").unwrap();
    warden.signal(Signal::SIGHUP);
    let closes = async { while status(&send, "StartBatchOperation", &client).await == 0 {} };
    timeout(LIMIT, closes).await.expect("the new policy does not come into force");
    assert_eq!(status(&send, "DeleteWorkflowExecution", &worker).await, 0);
    assert_eq!(client::call(&send, LIST, &[("authorization", &client::bearer(&client))]).await.unwrap().status(), 0);
}

#[test]
fn a_wrong_policy_stops_the_start_with_all_errors_and_their_keys() {
    let mut scene = Scene::new("127.0.0.1:1");
    let file = scene.folder.path().join("policy.toml");
    scene.set("WARDEN_POLICY_FILE", file.to_str().unwrap());
    let said = scene.run(&["run"]);
    assert_eq!(said.status.code(), Some(1));
    let text = |output: &std::process::Output| {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
    };
    assert!(text(&said).contains("policy.toml cannot be read"), "{}", text(&said));
    fs::write(&file, "[[allow]]\nscope = \"temporal-client\"\ngroup = \"bach\"\nmethods = [\"Invented\"]\n").unwrap();
    let said = text(&scene.run(&["run"]));
    for words in ["policy.toml: allow[0].group: \"bach\" is no group", "policy.toml: allow[0].methods: \"Invented\""] {
        assert!(said.contains(words), "{said}");
    }
}
