//! Tokens bound to a client certificate (RFC 8705): over no connection without its key, and one publication with it.

#[path = "gateway/mod.rs"]
mod gateway;
mod material_scene;

use gateway::{AUDIENCE, Gateway, INFO, ISSUER, LIST, certs::Client, client};
use material_scene::Scene;
use temporal_warden::{
    gateway::link::Revocations,
    pki::Certificate,
    rotation::{Event, Request, State, revoke},
    tokens::{Confirmation, Grant, Scope, claimed, mint},
};
use time::{Duration, OffsetDateTime};

fn bound(gateway: &Gateway, cnf: Option<Confirmation>) -> String {
    let grant = Grant {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        sub: "shop".to_owned(),
        scopes: Scope::Client.into(),
        namespaces: None,
        cnf_x5t: cnf,
        life: Duration::hours(1),
    };
    client::bearer(&mint(&gateway.key, &grant, OffsetDateTime::now_utc()).unwrap())
}

#[tokio::test]
async fn a_stolen_bound_token_is_worth_nothing_without_the_certificate() {
    let mut gateway = Gateway::start().await;
    let pair = gateway.ca.client(Client::default());
    let own = Certificate::all_from_pem(&pair.0).unwrap().remove(0);
    let mine = client::h2_over(gateway.tls(Some(pair), &[b"h2"]).await.unwrap()).await;
    let thief = gateway.connect().await;
    let (tied, free) = (bound(&gateway, Some(Confirmation::exactly(own.x5t()))), bound(&gateway, None));
    // As the warden's own are: by the certificate before a renewal that kept its key.
    let before = bound(&gateway, Some(Confirmation { x5t: "another".to_owned(), spki: Some(own.spki()) }));
    for binding in [false, true] {
        let mut material = gateway.next_version();
        material.version += u64::from(binding);
        material.auth.binding = binding;
        gateway.switch(material).await.unwrap();
        let call = |send, path, token: &str| {
            let (send, token): (&h2::client::SendRequest<_>, _) = (send, token.to_owned());
            async move {
                let reply = client::call(send, path, &[("authorization", &token)]).await.unwrap();
                (reply.status(), reply.message())
            }
        };
        for token in [&tied, &before] {
            assert_eq!(call(&mine, LIST, token).await.0, 0);
            let (status, message) = call(&thief, LIST, token).await;
            assert_eq!((status, message.contains("bound to another client certificate")), (16, true), "{message}");
        }
        let (status, message) = call(&mine, LIST, &free).await;
        assert_eq!((status, message.contains("mint --bind")), (if binding { 16 } else { 0 }, binding), "{message}");
        assert_eq!(call(&mine, INFO, &free).await.0, 0);
    }
}

const PAIRS: [(&str, &str); 4] = [
    ("system-token.jwt", "temporal-client.crt"),
    ("client-token.jwt", "temporal-client.crt"),
    ("worker-token.jwt", "bundles/worker/temporal-client.crt"),
    ("bundles/ui/ui-token.jwt", "bundles/ui/temporal-client.crt"),
];

fn assert_pairs(scene: &Scene) {
    for (token, certificate) in PAIRS {
        let claims = claimed(&scene.read(token)).unwrap();
        let leaf = Certificate::all_from_pem(&scene.read(certificate)).unwrap().remove(0);
        assert_eq!(claims["cnf"]["x5t#S256"], leaf.x5t(), "{token}");
    }
}

fn publications(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Published { .. })).count()
}

#[test]
fn the_wardens_tokens_change_with_their_certificates_in_one_publication() {
    let mut scene = Scene::new();
    scene.config.tokens.binding = true;
    scene.config.tokens.ttl = scene.config.certs.cert_ttl * 4;
    scene.start();
    assert_pairs(&scene);
    let before = scene.read("client-token.jwt");
    for request in [Request::Certificates { keep_keys: true }, Request::Certificates { keep_keys: false }] {
        let (_, events) = scene.apply(request).unwrap();
        assert_eq!(publications(&events), 1);
        assert_pairs(&scene);
    }
    assert_ne!(scene.read("client-token.jwt"), before);
    // A renewal by age: only the certificates are due.
    scene.later(Duration::days(70));
    let (_, events) = scene.start();
    assert_eq!(publications(&events), 1);
    assert_pairs(&scene);
    let (_, events) = scene.start();
    assert_eq!(publications(&events), 0, "and then nothing more is due: {events:?}");
}

/// Whether the token may be used over the certificate, as the gateway judges.
fn passes(token: &str, certificate: &str) -> bool {
    let cnf: Confirmation = serde_json::from_value(claimed(token).unwrap()["cnf"].clone()).unwrap();
    let leaf = Certificate::all_from_pem(certificate).unwrap().remove(0);
    cnf.allows(&Confirmation { x5t: leaf.x5t(), spki: Some(leaf.spki()) })
}

/// Who reads `client.crt` and `client-token.jwt` one after the other may find them on two sides of a renewal.
#[test]
fn across_a_renewal_that_keeps_keys_token_and_certificate_of_both_sides_pass_together_and_across_new_keys_they_do_not()
{
    let mut scene = Scene::new();
    scene.config.tokens.binding = true;
    scene.start();
    let read = |scene: &Scene| PAIRS.map(|(token, certificate)| (scene.read(token), scene.read(certificate)));
    let mut before = read(&scene);
    for keeps in [true, false] {
        if keeps {
            scene.later(Duration::days(70));
            scene.start();
        } else {
            scene.apply(Request::Certificates { keep_keys: false }).unwrap();
        }
        let after = read(&scene);
        for ((token, certificate), (next_token, next_certificate)) in before.iter().zip(&after) {
            assert!(token != next_token && certificate != next_certificate);
            assert_eq!((passes(token, next_certificate), passes(next_token, certificate)), (keeps, keeps));
            assert!(passes(next_token, next_certificate));
        }
        // One client's token is nothing over another's certificate.
        assert!(!passes(&after[2].0, &after[3].1));
        before = after;
    }
}

#[test]
fn the_setting_takes_effect_at_the_next_start_both_ways() {
    let mut scene = Scene::new();
    scene.start();
    assert!(claimed(&scene.read("worker-token.jwt")).unwrap().get("cnf").is_none());
    scene.config.tokens.binding = true;
    scene.start();
    assert_pairs(&scene);
    scene.config.tokens.binding = false;
    scene.start();
    assert!(claimed(&scene.read("worker-token.jwt")).unwrap().get("cnf").is_none());
    assert_eq!(publications(&scene.start().1), 0);
}

#[test]
fn bound_tokens_hold_through_a_new_ca_a_new_signing_key_and_the_end_of_the_old_ca() {
    let mut scene = Scene::new();
    scene.config.tokens.binding = true;
    scene.start();
    let worker = ["bundles/worker/temporal-client.crt", "bundles/worker/temporal-client.key"];
    let old = worker.map(|name| scene.read(name));
    let key = scene.read("temporal-jwt-private.key");
    for request in [Request::RotateCa { keep_keys: false }, Request::RotateKey, Request::FinishKey] {
        let (_, events) = scene.apply(request).unwrap();
        assert_eq!(publications(&events), 1, "{request:?}: {events:?}");
        assert_pairs(&scene);
    }
    assert_ne!(scene.read("temporal-jwt-private.key"), key);
    // Restored from before the new CA: it is of the old one, so its end means another certificate.
    worker.iter().zip(&old).for_each(|(name, text)| scene.overwrite(name, text));
    let (live, events) = scene.apply(Request::RetireCa).unwrap();
    assert_eq!(publications(&events), 1, "{events:?}");
    assert_pairs(&scene);
    assert!(live.artefacts.iter().all(|artefact| artefact.state == State::Good), "{:?}", live.artefacts);
    assert_ne!(scene.read(worker[0]), old[0]);
}

#[test]
fn between_the_halves_of_a_new_signing_key_a_bound_token_goes_with_its_certificate() {
    let mut scene = Scene::new();
    scene.config.tokens.binding = true;
    scene.start();
    let (before, client) = (scene.read("worker-token.jwt"), scene.read("client-token.jwt"));
    let (live, _) = scene.apply(Request::RotateKey).unwrap();
    assert!(live.behind && scene.read("worker-token.jwt") == before);
    let chain = Certificate::all_from_pem(&scene.read("bundles/worker/temporal-client.crt")).unwrap();
    let revoked = Revocations { serials: [chain[0].serial.clone()].into(), ..Revocations::default() };
    let live = revoke(&scene.config, scene.now, &revoked, &mut |_| {}).unwrap();
    assert_pairs(&scene);
    assert!(live.behind && live.revocations == revoked);
    assert!(scene.read("worker-token.jwt") != before && scene.read("client-token.jwt") == client);
    let (live, _) = scene.apply(Request::FinishKey).unwrap();
    assert!(!live.behind && scene.read("client-token.jwt") != client);
    assert_pairs(&scene);
}
