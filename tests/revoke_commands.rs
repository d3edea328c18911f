//! `token revoke`, `cert revoke` and `token mint` by the real program, with a running warden and without one.

#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use gateway::{LIST, backend::Backend, client};
use h2::client::SendRequest;
use temporal_warden::tokens::{Verifier, claimed};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use warden_scene::Scene;

const LIMIT: Duration = Duration::from_secs(60);

async fn call(send: &SendRequest<Bytes>, token: &str) -> (u32, String) {
    let reply = client::call(send, LIST, &[("authorization", &client::bearer(token))]).await.unwrap();
    (reply.status(), reply.message())
}

#[tokio::test]
async fn a_revoked_token_ends_its_open_poll_and_stays_refused_after_a_restart() {
    let backend = Backend::start().await;
    let scene = Scene::new(&backend.address.to_string());
    let mut warden = scene.warden();
    let send = scene.connect("temporal-client.crt", "temporal-client.key").await;
    let old = scene.read("client-token.jwt");
    let bearer = client::bearer(&old);
    let headers = [("authorization", bearer.as_str()), ("x-test", "hang")];
    let (poll, mut stream) =
        send.clone().ready().await.unwrap().send_request(client::request(LIST, &headers), false).unwrap();
    stream.send_data(client::message(b"poll"), true).unwrap();
    while backend.count() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let said = scene.meanwhile(&["token", "revoke", "client-token.jwt"]).await;
    assert!(said.contains("the gateway serves generation"), "{said}");
    let ended = timeout(LIMIT, client::read(poll)).await.expect("the poll goes on").unwrap();
    assert_eq!((ended.status(), ended.message().as_str()), (16, "Unauthorized: the token was revoked"));
    let new = scene.read("client-token.jwt");
    assert!(new != old && said.contains("client-token.jwt: the one before was revoked"), "{said}");
    assert_eq!(call(&send, &new).await.0, 0);
    let minted = scene.meanwhile(&["token", "mint", "--scope", "temporal-client", "--subject", "billing"]).await;
    assert_eq!(call(&send, &minted).await.0, 0);
    warden.stop();
    let id = |token: &str| claimed(token).unwrap()["jti"].as_str().unwrap().to_owned();
    assert_eq!(scene.acts("Revoke"), [format!("jti {}", id(&old))]);
    let mints = scene.acts("MintToken");
    assert!(mints[0].starts_with(&format!("jti {}, sub billing", id(&minted))), "{mints:?}");
    assert!(!mints[0].contains(minted.rsplit('.').next().unwrap()), "a token is on record");
    let _warden = scene.warden();
    let send = scene.connect("temporal-client.crt", "temporal-client.key").await;
    assert_eq!(call(&send, &old).await, (16, "Unauthorized: the token was revoked".to_owned()));
    assert_eq!(call(&send, &new).await.0, 0);
}

#[tokio::test]
async fn a_revoked_certificate_gets_in_no_more_and_its_successor_has_a_new_key() {
    let backend = Backend::start().await;
    let scene = Scene::new(&backend.address.to_string());
    let _warden = scene.warden();
    let (cert, key) = ("bundles/worker/temporal-client.crt", "bundles/worker/temporal-client.key");
    let (old, old_key) = (scene.leaf(cert), scene.read(key));
    let token = scene.read("client-token.jwt");
    let send = scene.connect(cert, key).await;
    let other = scene.connect("temporal-client.crt", "temporal-client.key").await;
    assert_eq!(call(&send, &token).await.0, 0);
    scene.meanwhile(&["cert", "revoke", "worker"]).await;
    assert_eq!(scene.revocations()["serials"], serde_json::json!([old.serial]));
    let over = async { while client::call(&send, LIST, &[]).await.is_ok() {} };
    timeout(LIMIT, over).await.expect("the connection goes on");
    assert_ne!(scene.leaf(cert).serial, old.serial);
    assert_ne!(scene.read(key), old_key);
    assert_eq!(call(&scene.connect(cert, key).await, &token).await.0, 0);
    assert_eq!(call(&other, &token).await.0, 0);
}

#[test]
fn without_a_running_warden_revocations_are_written_under_the_lock() {
    let scene = Scene::new("127.0.0.1:1");
    let id = scene.jti("worker-token.jwt");
    fs::copy(scene.path("worker-token.jwt"), scene.folder.path().join("stolen")).unwrap();
    scene.done(&["token", "revoke", scene.folder.path().join("stolen").to_str().unwrap()]);
    assert_ne!(scene.jti("worker-token.jwt"), id);
    scene.done(&["token", "revoke", "some-id"]);
    let ui = scene.jti("bundles/ui/ui-token.jwt");
    scene.done(&["token", "revoke", "bundles/ui/ui-token.jwt"]);
    scene.done(&["token", "revoke", "--subject", "leaver"]);
    scene.done(&["cert", "revoke", "00:DE:AD"]);
    let ids = std::collections::BTreeSet::from([id, ui, "some-id".to_owned()]);
    let expected = serde_json::json!({"jti": ids, "subjects": ["leaver"], "serials": ["dead"]});
    assert_eq!(scene.revocations(), expected);
    assert!(scene.done(&["token", "revoke", "--subject", "temporal-ui"]).contains("is one of the warden's own"));
    // Revoking works while something else is broken, which it leaves for its own cure.
    fs::write(fs::canonicalize(scene.path("temporal-server.crt")).unwrap(), "no certificate").unwrap();
    scene.done(&["token", "revoke", "late-id"]);
    assert_eq!(scene.revocations()["jti"].as_array().unwrap().len(), 4);
}

#[test]
fn what_cannot_be_revoked_is_said_and_changes_nothing() {
    let scene = Scene::new("127.0.0.1:1");
    let before = fs::read_link(scene.path("..data")).unwrap();
    let file = scene.folder.path().join("no.jwt");
    fs::write(&file, "nonsense").unwrap();
    let refusals: [(&[&str], &str); 6] = [
        (&["token", "revoke", "absent.jwt"], "cannot be read"),
        (&["token", "revoke", file.to_str().unwrap()], "three parts"),
        (&["token", "revoke", "two words"], "neither a jti nor a file"),
        (&["token", "revoke", "--subject", ""], "--subject is empty"),
        (&["cert", "revoke", "nobody"], "neither a serial"),
        (&["cert", "revoke", "temporal-server.crt"], "no client certificate"),
    ];
    for (args, word) in refusals {
        let said = scene.refused(args);
        assert!(said.contains(word), "{args:?}: {said}");
    }
    for args in [&["token", "revoke"][..], &["token", "revoke", "a", "--subject", "b"], &["cert", "revoke"]] {
        assert_eq!(scene.run(args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(fs::read_link(scene.path("..data")).unwrap(), before);
    fs::write(fs::canonicalize(scene.path("revocations.json")).unwrap(), "[").unwrap();
    assert!(scene.refused(&["token", "revoke", "id"]).contains("revocations.json"));
}

#[test]
fn inspect_says_what_the_gateway_would() {
    let scene = Scene::new("127.0.0.1:1");
    let client = scene.path("client-token.jwt");
    let inspect = |more: &[&str]| scene.run(&[&["token", "inspect", client.to_str().unwrap()], more].concat());
    let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let good = inspect(&["--can", "StartWorkflowExecution"]);
    assert!(good.status.success() && text(&good).contains("passes, and may call StartWorkflowExecution"), "{good:?}");
    assert!(text(&good).contains("scope        temporal-client"), "{}", text(&good));
    for method in ["RegisterNamespace", "Invented", "/temporal.api.operatorservice.v1.OperatorService/DeleteNamespace"]
    {
        let refused = inspect(&["--can", method]);
        assert_eq!(refused.status.code(), Some(1), "{method}");
        assert!(
            text(&refused).contains("REFUSED: Forbidden: scope temporal-client may not call"),
            "{}",
            text(&refused)
        );
    }
    let old = fs::read_to_string(&client).unwrap();
    scene.done(&["token", "revoke", "client-token.jwt"]);
    let kept = scene.folder.path().join("old.jwt");
    fs::write(&kept, format!("{old}\n")).unwrap();
    let refused = scene.run(&["token", "inspect", kept.to_str().unwrap(), "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), &document["refusal"]), (Some(1), &"the token was revoked".into()));
    assert_eq!(document["claims"]["sub"], "temporal-client");
    assert!(scene.refused(&["token", "inspect", "/absent"]).contains("cannot be read"));
}

#[test]
fn a_token_that_is_outside_the_container_comes_by_standard_input() {
    let scene = Scene::new("127.0.0.1:1");
    let token = scene.read("client-token.jwt");
    let file = scene.folder.path().join("outside.jwt");
    fs::write(&file, format!("{token}\n")).unwrap();
    let given = |args: &[&str]| scene.command(args).stdin(fs::File::open(&file).unwrap()).output().unwrap();
    let seen = given(&["token", "inspect", "-", "--can", "StartWorkflowExecution"]);
    assert!(seen.status.success(), "{seen:?}");
    assert!(given(&["token", "revoke", "-"]).status.success());
    let jti = claimed(&token).unwrap()["jti"].clone();
    assert_eq!(scene.revocations()["jti"], serde_json::json!([jti]));
    assert!(scene.refused(&["token", "revoke", "-"]).contains("three parts"), "nothing came");
}

#[test]
fn a_life_and_a_name_that_are_none_are_a_wrong_use_of_the_command() {
    let scene = Scene::new("127.0.0.1:1");
    for (name, value, words) in [
        ("--ttl", "0", "it would have ended before it begins; write for example 30d or 12h"),
        ("--ttl", "soon", "expected number at 0; write for example 30d or 12h"),
        ("--subject", "", "a value is required"),
    ] {
        let output = scene.run(&["token", "mint", "--scope", "temporal-client", name, value]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(name) && said.contains(words), "{said}");
    }
}

#[test]
fn a_minted_token_says_what_was_asked_and_nothing_senseless_is_minted() {
    let scene = Scene::new("127.0.0.1:1");
    let certificate = scene.path("temporal-client.crt");
    let args = ["token", "mint", "--scope", "temporal-client,temporal-worker", "--subject", "billing"];
    let rest = ["--namespace", "a", "--namespace", "b", "--ttl", "2h", "--bind", certificate.to_str().unwrap()];
    let token = scene.done(&[&args[..], &rest].concat());
    let verifier = Verifier::new(&scene.read("temporal-jwks.json"), "temporal-warden", "temporal").unwrap();
    let said = verifier.verify(&token, OffsetDateTime::now_utc()).unwrap();
    assert_eq!((said.sub.as_str(), said.scopes.to_string().as_str()), ("billing", "temporal-worker temporal-client"));
    assert_eq!(said.namespaces, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(said.cnf_x5t.map(|cnf| cnf.x5t), Some(scene.leaf("temporal-client.crt").x5t()));
    assert!(said.expires - OffsetDateTime::now_utc() < time::Duration::hours(2));
    assert_eq!(
        claimed(&scene.done(&["token", "mint", "--scope", "temporal-worker"])).unwrap()["sub"],
        "temporal-worker"
    );
    scene.done(&["token", "revoke", "--subject", "leaver"]);
    let ca = scene.path("ca.crt");
    let refusals: [(&[&str], &str); 5] = [
        (&["--scope", "temporal-client", "--subject", "leaver"], "is revoked"),
        (&["--scope", "temporal-system", "--namespace", "a"], "can't be limited"),
        (&["--scope", "temporal-client", "--namespace", "a:b"], "colon"),
        (&["--scope", "temporal-client", "--bind", ca.to_str().unwrap()], "none of a client"),
        (&["--scope", "temporal-client", "--bind", "/absent"], "cannot be read"),
    ];
    for (args, word) in refusals {
        let said = scene.refused(&[&["token", "mint"], args].concat());
        assert!(said.contains(word), "{args:?}: {said}");
    }
    let mut binding = Scene::new("127.0.0.1:1");
    binding.set("WARDEN_TOKEN_BINDING", "true");
    assert!(binding.refused(&["token", "mint", "--scope", "temporal-client"]).contains("without --bind"));
    for args in [&["token", "mint"][..], &["token", "mint", "--scope", "temporal-admin"]] {
        assert_eq!(scene.run(args).status.code(), Some(2), "{args:?}");
    }
    fs::remove_file(Path::new(&fs::canonicalize(scene.path("temporal-jwt-private.key")).unwrap())).unwrap();
    assert!(scene.refused(&["token", "mint", "--scope", "temporal-client"]).contains("temporal-jwt-private.key"));
}
