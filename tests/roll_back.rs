//! A generation that the gateway can't serve: the last healthy one takes its place, and nothing that was retired or
//! revoked comes back with it.

mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod roll_back_support;
mod warden_scene;

use std::{fs, os::unix::fs::symlink, path::Path, process::Command, thread, time::Duration};

use base64::Engine as _;
use faults_support::{
    assert_serves, backend,
    trace::{End, Traced},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SigningKey as _};
use roll_back_support::{
    authorities, generation, is_revoked, link, log, proven, said_in_log, until, with_a_healthy_one,
};
use temporal_warden::pki::Certificate;
use warden_scene::Scene;

/// Trusts one more CA by hand, as a user does who writes the file: one that the library of the gateway can't read (its
/// version says 2). It is not valid for years, so that no verification asks that library about it before.
fn trust_a_strange_ca(scene: &Scene, name: &str) {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let key = KeyPair::generate().unwrap();
    let der = version_two(params.self_signed(&key).unwrap().der(), &key);
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    let trust = format!("{}{pem}", scene.read("ca.crt"));
    fs::remove_file(scene.path("ca.crt")).unwrap();
    fs::write(scene.path("ca.crt"), trust).unwrap();
}

/// The same certificate with another version, signed again. It begins with two sequences of two bytes of length each: itself
/// and what is signed; then come the algorithm and the signature.
fn version_two(der: &[u8], key: &KeyPair) -> Vec<u8> {
    let length = 4 + usize::from(u16::from_be_bytes([der[6], der[7]]));
    let mut signed = der[4..4 + length].to_vec();
    let version = [0xa0, 3, 2, 1, 2];
    let at = signed.windows(version.len()).position(|bytes| bytes == version).unwrap();
    signed[at + 4] = 1;
    let algorithm = &der[4 + length..];
    let algorithm = &algorithm[..2 + usize::from(algorithm[1])];
    let signature = key.sign(&signed).unwrap();
    let wrapped = [&[3, u8::try_from(signature.len() + 1).unwrap(), 0][..], &signature].concat();
    let body = [&signed, algorithm, &wrapped].concat();
    [&[0x30, 0x82][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), &body].concat()
}

#[tokio::test]
async fn a_generation_that_the_gateway_refuses_is_rolled_back_at_once_and_said_everywhere() {
    let scene = Scene::new(&backend());
    let _warden = scene.warden();
    until(&scene, "healthy", || proven(&scene));
    let (before, trusted, server) = (generation(&scene), authorities(&scene), scene.read("temporal-server.crt"));
    trust_a_strange_ca(&scene, "strange");
    let said = scene.refused(&["reload"]);
    let rolled_back =
        format!("ROLLED BACK: generation {} is not in force: the gateway keeps the old material", before + 1);
    assert!(said.contains(&rolled_back), "{said}");
    assert_eq!((generation(&scene), authorities(&scene)), (before + 2, trusted));
    assert_eq!(scene.read("temporal-server.crt"), server);
    until(&scene, "healthy again", || proven(&scene));
    said_in_log(&scene, &rolled_back);
    until(&scene, "on record", || scene.acts("RollBack").iter().any(|act| act.contains(&rolled_back)));
    assert!(scene.done(&["status"]).contains(&rolled_back));
    assert_serves(&scene, "a roll back").await;
    // The next change is an ordinary one, and nothing is said of the roll back any more.
    scene.done(&["token", "generate"]);
    assert!(!scene.done(&["status"]).contains("ROLLED BACK"));
    assert_eq!(generation(&scene), before + 3);
}

#[tokio::test]
async fn what_was_retired_or_revoked_since_the_healthy_generation_stays_so() {
    let scene = Scene::new(&backend());
    scene.done(&["cert", "generate", "--rotate-ca"]);
    scene.done(&["token", "generate", "--rotate-key"]);
    let healthy = with_a_healthy_one(&scene);
    let (trusted, jti, jwks) = (authorities(&scene), scene.jti("client-token.jwt"), scene.read("temporal-jwks.json"));
    assert_eq!(trusted.len(), 2, "the CA before is still trusted");
    scene.done(&["cert", "retire"]);
    scene.done(&["token", "retire"]);
    scene.done(&["token", "revoke", &jti]);
    trust_a_strange_ca(&scene, "strange");
    scene.done(&["init"]);
    let bad = generation(&scene);
    // More than the two that are kept for readers: the healthy one is still there.
    assert!(bad > healthy + 3);
    let _warden = scene.warden();
    until(&scene, "rolled back and healthy", || generation(&scene) == bad + 1 && proven(&scene));
    assert_eq!(authorities(&scene), trusted[..1]);
    let chain = Certificate::all_from_pem(&scene.read("temporal-server.crt")).unwrap();
    assert_eq!(chain.len(), 1, "no chain leads to the retired CA");
    assert_eq!(kids(&jwks), 2);
    assert_eq!(kids(&scene.read("temporal-jwks.json")), 1);
    assert!(is_revoked(&scene, &jti));
    assert_ne!(scene.jti("client-token.jwt"), jti, "a revoked token of the warden's own is made anew");
    assert!(scene.run(&["cert", "verify"]).status.success());
    assert_serves(&scene, "a roll back at a start").await;
}

fn kids(jwks: &str) -> usize {
    serde_json::from_str::<serde_json::Value>(jwks).unwrap()["keys"].as_array().unwrap().len()
}

#[tokio::test]
async fn trust_that_was_retired_is_not_brought_back_even_when_nothing_else_serves() {
    let scene = Scene::new(&backend());
    with_a_healthy_one(&scene);
    scene.done(&["cert", "generate", "--rotate-ca"]);
    scene.done(&["cert", "retire"]);
    trust_a_strange_ca(&scene, "strange");
    scene.done(&["init"]);
    let (bad, trusted) = (generation(&scene), authorities(&scene));
    let _warden = scene.warden();
    until(&scene, "refused", || log(&scene).contains("NOT ROLLED BACK"));
    assert!(
        log(&scene)
            .contains(&format!("NOT ROLLED BACK: generation {bad} stays although it fails: its CA is no longer"))
    );
    said_in_log(&scene, "its CA is no longer trusted, and trust that was retired is not brought back");
    assert_eq!((generation(&scene), authorities(&scene)), (bad, trusted));
    assert!(scene.done(&["status"]).contains("NOT ROLLED BACK"));
}

#[tokio::test]
async fn two_generations_that_fail_do_not_take_turns() {
    let scene = Scene::new(&backend());
    trust_a_strange_ca(&scene, "one");
    scene.done(&["init"]);
    // As if it had been healthy once, with a gateway of another version.
    symlink(link(&scene, "..data").unwrap(), scene.path("..healthy")).unwrap();
    trust_a_strange_ca(&scene, "two");
    scene.done(&["init"]);
    let bad = generation(&scene);
    let mut warden = scene.warden();
    until(&scene, "tried", || log(&scene).contains("NOT ROLLED BACK"));
    assert_eq!(generation(&scene), bad + 1);
    said_in_log(&scene, "certificates and keys are not the cause, or both are bad");
    // Nor after a restart of the whole, which knows it from the generation itself.
    warden.kill();
    fs::remove_file(scene.log()).unwrap();
    let _warden = scene.warden();
    until(&scene, "tried", || log(&scene).contains("NOT ROLLED BACK"));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(generation(&scene), bad + 1);
}

#[tokio::test]
async fn a_healthy_generation_that_was_altered_since_is_not_put_back() {
    let scene = Scene::new(&backend());
    with_a_healthy_one(&scene);
    let healthy = scene.path("..healthy");
    trust_a_strange_ca(&scene, "strange");
    scene.done(&["init"]);
    let bad = generation(&scene);
    fs::remove_file(healthy.join("ca.crt")).unwrap();
    fs::write(healthy.join("ca.crt"), "something else").unwrap();
    let _warden = scene.warden();
    until(&scene, "refused", || log(&scene).contains("NOT ROLLED BACK"));
    said_in_log(&scene, ", the last healthy one, is gone or altered");
    assert_eq!(generation(&scene), bad);
}

/// Copies the folder of certificates as it is, links and all.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// `FAULTS_STRIDE=1` kills before every change.
#[tokio::test]
async fn killed_before_any_change_of_a_roll_back_the_next_start_completes_it() {
    let scene = Scene::new(&backend());
    with_a_healthy_one(&scene);
    let trusted = authorities(&scene);
    let jti = scene.jti("worker-token.jwt");
    scene.done(&["token", "revoke", &jti]);
    trust_a_strange_ca(&scene, "strange");
    scene.done(&["init"]);
    let (bad, saved) = (generation(&scene), scene.folder.path().join("saved"));
    copy(&scene.path(""), &saved);
    let kill_before = |nth| {
        copy(&saved, &scene.path(""));
        scene.wait_for_the_port();
        Traced::start(scene.command(&["run"])).kill_before(nth, || proven(&scene))
    };
    let End::Passed(changes) = kill_before(usize::MAX) else { panic!("the warden ended by itself") };
    assert_eq!(generation(&scene), bad + 1);
    let stride = std::env::var("FAULTS_STRIDE").map_or(changes / 5, |text| text.parse().unwrap());
    for nth in (0..changes).rev().step_by(stride.max(1)) {
        let end = kill_before(nth);
        let mut next = scene.warden();
        until(&scene, "rolled back and healthy", || generation(&scene) == bad + 1 && proven(&scene));
        let after = format!("a kill before change {nth} of {changes}: {end:?}");
        assert_eq!(authorities(&scene), trusted, "{after}");
        assert!(is_revoked(&scene, &jti), "{after}");
        assert_serves(&scene, &after).await;
        next.kill();
    }
}
