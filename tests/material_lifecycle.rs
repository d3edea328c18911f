//! First start, second start, renewal and requests: what changes and what stays.

mod material_scene;

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _};

use material_scene::{NOW, Scene, sans};
use temporal_warden::{
    config::OwnCa,
    pki::{Authority, Certificate, Key},
    rotation::{Event, Request, State, inspect},
    tokens::{SigningKey, Verifier},
};
use time::Duration;

const LEAFS: [&str; 5] = [
    "temporal-server",
    "temporal-client",
    "bundles/worker/temporal-client",
    "bundles/ui/temporal-client",
    "bundles/postgres/server",
];
const TOKENS: [&str; 4] = ["system-token.jwt", "worker-token.jwt", "client-token.jwt", "bundles/ui/ui-token.jwt"];

fn all(scene: &Scene, names: &[&str], suffix: &str) -> Vec<String> {
    names.iter().map(|name| scene.read(&format!("{name}{suffix}"))).collect()
}

#[test]
fn the_first_start_makes_the_whole_set_with_its_modes_and_log_lines() {
    let scene = Scene::new();
    let (live, events) = scene.start();
    for (name, mode) in [
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("temporal-server.crt", 0o644),
        ("temporal-server.key", 0o640),
        ("temporal-client.crt", 0o644),
        ("temporal-client.key", 0o640),
        ("temporal-jwt-private.key", 0o600),
        ("temporal-jwt-public.key", 0o644),
        ("temporal-jwks.json", 0o644),
        ("system-token.jwt", 0o600),
        ("worker-token.jwt", 0o640),
        ("client-token.jwt", 0o640),
        ("postgres-password", 0o600),
        ("revocations.json", 0o600),
        ("state.json", 0o600),
        ("bundles/worker/temporal-client.key", 0o600),
        ("bundles/ui/ui-token.jwt", 0o600),
        ("bundles/postgres/server.key", 0o600),
    ] {
        let flat = scene.path(name.split('/').next().unwrap());
        let target = fs::read_link(&flat).unwrap();
        assert!(target.starts_with("..data"), "{name} -> {target:?}");
        assert_eq!(fs::metadata(scene.path(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
    assert_eq!(fs::read_link(scene.path("..data")).unwrap().to_str(), Some("..g0"));
    assert!(all(&scene, &TOKENS, "").iter().all(|token| !token.ends_with('\n')));
    assert!(!scene.read("postgres-password").contains('\n'));
    let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
    for line in [
        "Generating Temporal TLS certificates...",
        "✅ Temporal TLS certificates generated successfully",
        "Generating Temporal JWT tokens...",
        "✅ Temporal JWT tokens generated successfully",
    ] {
        assert_eq!(lines.iter().filter(|l| *l == line).count(), 1, "{lines:?}");
    }
    assert!(live.changed && live.generation == 0);
    assert!(live.artefacts.iter().all(|a| a.state == State::Good), "{:?}", live.artefacts);
    assert!(inspect(&scene.config, scene.now).unwrap().is_good());
}

#[test]
fn a_second_start_changes_no_byte() {
    let mut scene = Scene::new();
    scene.mount_bundles();
    scene.start();
    let before = scene.look();
    scene.later(Duration::days(56));
    let (live, events) = scene.start();
    assert_eq!(events, []);
    assert!(!live.changed);
    let after = scene.look();
    for (path, was) in &before {
        assert_eq!(after.get(path), Some(was), "{path:?}");
    }
    assert_eq!(before.len(), after.len());
}

#[test]
fn at_two_thirds_leafs_are_renewed_with_their_keys_and_tokens_by_theirs() {
    let mut scene = Scene::new();
    scene.start();
    let (keys, certs, tokens) = (all(&scene, &LEAFS, ".key"), all(&scene, &LEAFS, ".crt"), all(&scene, &TOKENS, ""));
    let ca = scene.read("ca.crt");
    scene.later(Duration::days(61));
    let (live, _) = scene.start();
    assert_eq!(live.generation, 1);
    assert_eq!(all(&scene, &LEAFS, ".key"), keys);
    assert!(all(&scene, &LEAFS, ".crt").iter().zip(&certs).all(|(new, old)| new != old));
    assert!(all(&scene, &TOKENS, "").iter().zip(&tokens).all(|(new, old)| new != old));
    assert_eq!(scene.read("ca.crt"), ca);
    assert!(live.artefacts.iter().all(|a| a.state == State::Good));
    assert!(live.next_due.unwrap() > scene.now + Duration::days(56));
}

#[test]
fn expired_leafs_and_tokens_are_made_anew_at_the_next_start() {
    let mut scene = Scene::new();
    scene.start();
    scene.later(Duration::days(400));
    let report = inspect(&scene.config, scene.now).unwrap();
    assert_eq!(report.artefacts.iter().filter(|a| a.state == State::Expired).count(), 9);
    let (live, _) = scene.start();
    assert!(live.artefacts.iter().all(|a| a.state == State::Good));
}

#[test]
fn a_new_name_in_the_configuration_reissues_that_leaf_alone() {
    let mut scene = Scene::new();
    scene.start();
    let client = scene.read("temporal-client.crt");
    scene.config.certs.server_sans.extend(sans(&["warden.example.org"]));
    let (live, events) = scene.start();
    assert!(events.iter().any(|e| e.to_string() == "made temporal-server.crt: lacks the names warden.example.org"));
    let server = &Certificate::all_from_pem(&live.server.chain_pem).unwrap()[0];
    assert_eq!(server.sans, scene.config.certs.server_sans.iter().cloned().collect::<BTreeSet<_>>());
    assert_eq!(scene.read("temporal-client.crt"), client);
}

#[test]
fn a_request_for_certificates_makes_new_keys_and_keeps_ca_and_tokens() {
    let scene = Scene::new();
    scene.start();
    let kept = ["ca.crt", "ca.key", "temporal-jwt-private.key", "temporal-jwks.json", "postgres-password"];
    let (before, keys, tokens) = (all(&scene, &kept, ""), all(&scene, &LEAFS, ".key"), all(&scene, &TOKENS, ""));
    let (live, events) = scene.apply(Request::Certificates { keep_keys: false }).unwrap();
    assert!(events.contains(&Event::CertificatesGenerated) && !events.contains(&Event::GeneratingTokens));
    assert!(all(&scene, &LEAFS, ".key").iter().zip(&keys).all(|(new, old)| new != old));
    assert_eq!((all(&scene, &kept, ""), all(&scene, &TOKENS, "")), (before, tokens));
    let keys = all(&scene, &LEAFS, ".key");
    scene.apply(Request::Certificates { keep_keys: true }).unwrap();
    assert_eq!(all(&scene, &LEAFS, ".key"), keys);
    assert_eq!(live.generation, 1);
}

#[test]
fn a_request_for_tokens_mints_all_by_the_current_key() {
    let scene = Scene::new();
    let (live, _) = scene.start();
    let (tokens, certs) = (all(&scene, &TOKENS, ""), all(&scene, &LEAFS, ".crt"));
    let (_, events) = scene.apply(Request::Tokens).unwrap();
    assert!(events.contains(&Event::TokensGenerated) && !events.contains(&Event::GeneratingCertificates));
    assert_eq!(all(&scene, &LEAFS, ".crt"), certs);
    let verifier = Verifier::new(&live.jwks, "temporal-warden", "temporal").unwrap();
    for ((token, old), sub) in all(&scene, &TOKENS, "").iter().zip(&tokens).zip(["system", "worker", "client", "ui"]) {
        assert_ne!(token, old);
        let verified = verifier.verify(token, scene.now).unwrap();
        assert_eq!(verified.sub, format!("temporal-{sub}"));
    }
}

#[test]
fn only_three_generations_stay() {
    let scene = Scene::new();
    scene.start();
    for _ in 0..5 {
        scene.apply(Request::Tokens).unwrap();
    }
    let mut left: Vec<_> = fs::read_dir(scene.dir())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with("..g"))
        .collect();
    left.sort();
    assert_eq!(left, ["..g3", "..g4", "..g5"]);
}

#[test]
fn links_removed_by_hand_come_back_and_nothing_else_changes() {
    let scene = Scene::new();
    scene.start();
    let ca = scene.read("ca.crt");
    for name in ["ca.crt", "ca.key", "temporal-client.key", "bundles"] {
        fs::remove_file(scene.path(name)).unwrap();
    }
    let (live, events) = scene.start();
    assert!(!live.changed && events.iter().all(|e| matches!(e, Event::Repaired(_))), "{events:?}");
    assert_eq!(scene.read("ca.crt"), ca);
    assert!(scene.read("bundles/ui/ui-token.jwt").contains('.'));
}

#[test]
fn a_leaf_removed_for_good_is_made_anew() {
    let scene = Scene::new();
    scene.start();
    let old = scene.read("temporal-client.crt");
    fs::remove_file(scene.path("..data/temporal-client.crt")).unwrap();
    fs::remove_file(scene.path("..data/temporal-client.key")).unwrap();
    let (_, events) = scene.start();
    assert!(events.iter().any(|e| e.to_string() == "made temporal-client.crt: missing"));
    assert_ne!(scene.read("temporal-client.crt"), old);
}

#[test]
fn a_mode_that_drifted_is_put_right_in_place() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    scene.start();
    fs::set_permissions(scene.path("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (live, events) = scene.start();
    assert!(!live.changed && events.len() == 1, "{events:?}");
    assert_eq!(fs::metadata(scene.path("ca.key")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_folder_that_others_may_write_is_closed_to_them_from_the_first_start_on() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    fs::create_dir_all(scene.dir()).unwrap();
    for mode in [0o777, 0o2775] {
        fs::set_permissions(scene.dir(), fs::Permissions::from_mode(mode)).unwrap();
        let (_, events) = scene.start();
        let words = format!("mode of {} set to {:04o} (was {mode:04o})", scene.dir().display(), mode & !0o022);
        assert!(events.iter().any(|event| event.to_string() == words), "{words}: {events:?}");
        assert_eq!(fs::metadata(scene.dir()).unwrap().mode() & 0o7777, mode & !0o022);
    }
    assert!(scene.start().1.is_empty());
}

#[test]
fn flat_files_of_an_older_setup_become_a_generation_with_the_same_bytes() {
    let old = Scene::new();
    old.start();
    let scene = Scene::new();
    fs::create_dir_all(scene.dir()).unwrap();
    let flat = ["ca.crt", "ca.key", "temporal-server.crt", "temporal-server.key", "temporal-jwt-private.key"];
    for name in flat {
        fs::write(scene.path(name), old.read(name)).unwrap();
    }
    fs::write(scene.path("client-token.jwt"), format!("{}\n", old.read("client-token.jwt"))).unwrap();
    let (live, events) = scene.start();
    assert!(matches!(&events[..], [Event::Adopted(names), ..] if names.len() == 6), "{events:?}");
    for name in flat {
        assert!(fs::symlink_metadata(scene.path(name)).unwrap().is_symlink());
        assert_eq!(scene.read(name), old.read(name), "{name}");
    }
    assert_eq!(scene.read("client-token.jwt"), old.read("client-token.jwt"), "without its newline");
    assert_eq!(live.generation, 1);
    assert_eq!(scene.start().1, []);
}

#[test]
fn an_own_ca_signs_and_is_served_with_its_chain_and_its_key_is_never_copied() {
    let mut scene = Scene::new();
    let own = Authority::create(NOW, Duration::days(365)).unwrap();
    let (cert_file, key_file) = (scene.folder.path().join("own.crt"), scene.folder.path().join("own.key"));
    fs::write(&cert_file, own.trust_pem()).unwrap();
    fs::write(&key_file, own.key_pem().expose()).unwrap();
    scene.config.certs.own_ca = Some(OwnCa { cert_file, key_file: Some(key_file) });
    scene.start();
    assert_eq!(scene.read("ca.crt"), own.trust_pem());
    assert!(!scene.path("ca.key").exists());
    assert_eq!(scene.start().1, []);
    scene.later(Duration::days(61));
    assert!(scene.start().0.changed);
}

#[test]
fn an_own_intermediate_is_served_and_its_root_is_what_readers_trust() {
    let mut scene = Scene::new();
    let [root, intermediate] = [(); 2].map(|()| Authority::create(NOW, Duration::days(365)).unwrap());
    let chain = root.cross_sign(&intermediate, NOW).unwrap() + &root.trust_pem();
    let (cert_file, key_file) = (scene.folder.path().join("own.crt"), scene.folder.path().join("own.key"));
    fs::write(&cert_file, chain).unwrap();
    fs::write(&key_file, intermediate.key_pem().expose()).unwrap();
    scene.config.certs.own_ca = Some(OwnCa { cert_file, key_file: Some(key_file) });
    let (live, _) = scene.start();
    assert_eq!(live.trust_pem, root.trust_pem());
    let served = Certificate::all_from_pem(&live.server.chain_pem).unwrap();
    assert_eq!(served.len(), 2);
    assert_eq!(served[1].subject, intermediate.certificate().subject);
    assert_eq!(scene.start().1, []);
}

#[test]
fn with_a_certificate_but_no_key_what_is_given_is_served_and_nothing_is_issued() {
    let mut scene = Scene::new();
    scene.start();
    let cert_file = scene.folder.path().join("own.crt");
    fs::copy(scene.path("ca.crt"), &cert_file).unwrap();
    fs::remove_file(scene.path("..data/ca.key")).unwrap();
    scene.config.certs.own_ca = Some(OwnCa { cert_file, key_file: None });
    assert!(!scene.start().0.changed);
    let refused = scene.apply(Request::Certificates { keep_keys: false }).unwrap_err().to_string();
    assert!(refused.contains("WARDEN_CA_KEY_FILE"), "{refused}");
    scene.later(Duration::days(85));
    let (live, events) = scene.start();
    assert!(events.iter().any(|e| matches!(e, Event::Warning(w) if w.contains("temporal-server.crt (due since"))));
    assert!(live.artefacts.iter().any(|a| a.name == "temporal-server.crt" && a.state == State::Due));
    scene.later(Duration::days(6));
    let expired = scene.apply(Request::MakeMissing).unwrap_err().to_string();
    assert!(expired.contains("temporal-server.crt (expired on"), "{expired}");
}

#[test]
fn near_the_end_of_an_own_ca_leafs_end_with_it_and_are_not_reissued_at_every_start() {
    let mut scene = Scene::new();
    let own = Authority::create(NOW, Duration::days(100)).unwrap();
    let [cert_file, key_file] = [("own.crt", own.trust_pem()), ("own.key", own.key_pem().expose().clone())]
        .map(|(name, pem)| (scene.folder.path().join(name), pem))
        .map(|(path, pem)| fs::write(&path, pem).map(|()| path).unwrap());
    scene.config.certs.own_ca = Some(OwnCa { cert_file, key_file: Some(key_file) });
    scene.start();
    scene.later(Duration::days(61));
    assert!(scene.start().0.changed);
    scene.later(Duration::days(37));
    let made: Vec<_> = scene.start().1.into_iter().filter(|e| e.to_string().contains(".crt")).collect();
    assert_eq!(made, [], "leafs already reach the end of the CA, and it is not ours to replace");
    let refused = scene.apply(Request::RotateCa { keep_keys: false }).unwrap_err().to_string();
    assert!(refused.contains("is your own CA") && refused.contains("WARDEN_CA_KEY_FILE"), "{refused}");
}

#[test]
fn a_clock_set_back_is_reported_and_makes_nothing() {
    let mut scene = Scene::new();
    scene.start();
    let before = scene.look();
    scene.later(Duration::days(-30));
    let (_, events) = scene.start();
    assert!(!events.is_empty() && events.iter().all(|e| e.to_string().contains("clock set back")), "{events:?}");
    assert_eq!(scene.look(), before);
}

#[test]
fn keys_from_the_set_work_elsewhere() {
    let scene = Scene::new();
    let (live, _) = scene.start();
    let key = SigningKey::from_pem(live.signing_key_pem.expose()).unwrap();
    assert!(live.jwks.contains(&key.public().kid));
    let pair = live.client.unwrap();
    let leaf = &Certificate::all_from_pem(&pair.chain_pem).unwrap()[0];
    leaf.check_key(&Key::from_pem(pair.key_pem.expose()).unwrap()).unwrap();
    Authority::load(&scene.read("ca.crt"), &scene.read("ca.key")).unwrap();
}
