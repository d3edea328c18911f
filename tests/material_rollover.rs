//! A new CA beside the old one, on disk: who trusts whom during the overlap, by openssl's strict rules, and its end.

mod material_scene;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use material_scene::{NOW, Scene};
use temporal_warden::{
    pki::{Authority, Certificate},
    rotation::{Request, State, inspect},
};
use time::{Duration, OffsetDateTime};

const ROTATE: Request = Request::RotateCa { keep_keys: false };
const CHAINS: [(&str, &str); 5] = [
    ("temporal-server.crt", "sslserver"),
    ("temporal-client.crt", "sslclient"),
    ("bundles/worker/temporal-client.crt", "sslclient"),
    ("bundles/ui/temporal-client.crt", "sslclient"),
    ("bundles/postgres/server.crt", "sslserver"),
];

/// What openssl says of a chain (leaf first) under one trust bundle, by the strict rules of RFC 5280.
fn openssl(folder: &Path, trust: &str, chain: &str, purpose: &str) -> bool {
    let [trust_file, chain_file] = [("trust.pem", trust), ("chain.pem", chain)].map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    });
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime"])
        .arg((NOW + Duration::minutes(1)).unix_timestamp().to_string())
        .arg("-CAfile")
        .arg(trust_file)
        .arg("-untrusted")
        .args([&chain_file, &chain_file])
        .output()
        .expect("openssl is installed");
    output.status.success()
}

fn count(pem: &str) -> usize {
    Certificate::all_from_pem(pem).unwrap().len()
}

fn state(scene: &Scene) -> serde_json::Value {
    serde_json::from_str(&scene.read("state.json")).unwrap()
}

#[test]
fn during_the_overlap_old_and_new_trust_each_other_in_every_direction() {
    let scene = Scene::new();
    scene.start();
    let old_ca = scene.read("ca.crt");
    let old_chains = CHAINS.map(|(name, _)| scene.read(name));
    let (live, _) = scene.apply(ROTATE).unwrap();
    assert!(live.artefacts.iter().all(|a| a.state == State::Good), "{:?}", live.artefacts);
    let both = scene.read("ca.crt");
    assert!(both.ends_with(&old_ca) && count(&both) == 2, "the new one is first");
    let new_ca = both.strip_suffix(&old_ca).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let good = |trust: &str, chain: &str, purpose| openssl(scratch.path(), trust, chain, purpose);
    for ((name, purpose), old_chain) in CHAINS.into_iter().zip(&old_chains) {
        let chain = scene.read(name);
        assert_eq!(count(&chain), 2, "{name}: leaf, then the cross-signed CA");
        assert!(good(&old_ca, &chain, purpose), "{name}: an old reader, a new certificate");
        assert!(good(new_ca, &chain, purpose), "{name}: a new reader, a new certificate");
        assert!(good(&both, old_chain, purpose), "{name}: a reader of both, an old certificate");
        assert!(!good(new_ca, old_chain, purpose), "{name}: a reader of the new alone, an old certificate");
    }
    assert_eq!(state(&scene)["phase"], "overlap");
}

#[test]
fn certificates_of_the_overlap_carry_the_bridge_and_lose_it_when_the_old_ca_is_retired() {
    let mut scene = Scene::new();
    scene.start();
    let old = Certificate::all_from_pem(&scene.read("ca.crt")).unwrap().remove(0);
    scene.apply(ROTATE).unwrap();
    scene.later(Duration::days(61));
    let (live, events) = scene.start();
    assert!(events.iter().any(|e| e.to_string().contains("due since")), "{events:?}");
    assert!(CHAINS.iter().all(|(name, _)| count(&scene.read(name)) == 2), "a renewal carries the bridge too");
    let ca = live.artefacts.iter().find(|a| a.name == "ca.crt").unwrap();
    assert_eq!(ca.renew_at, Some(NOW + Duration::days(90)));
    assert!(ca.detail.as_deref().unwrap().starts_with(&format!("{} is trusted too, until 2027-02-22", old.subject)));
    assert_eq!(live.next_due, ca.renew_at);

    let leafs = CHAINS.map(|(name, _)| Certificate::all_from_pem(&scene.read(name)).unwrap().remove(0));
    scene.later(Duration::days(29));
    let (live, events) = scene.start();
    assert!(events.iter().any(|e| e.to_string().starts_with("made ca.crt: the last certificate")), "{events:?}");
    let trust = Certificate::all_from_pem(&live.trust_pem).unwrap();
    assert!(trust.len() == 1 && trust[0].fingerprint != old.fingerprint);
    for ((name, _), leaf) in CHAINS.into_iter().zip(leafs) {
        let chain = Certificate::all_from_pem(&scene.read(name)).unwrap();
        assert_eq!(chain, [leaf], "{name} stays as it was, without the bridge");
    }
    let state = state(&scene);
    assert!(state["phase"] == "steady" && state.get("overlap_ends").is_none() && state.get("old_ca").is_none());
    assert!(live.artefacts.iter().all(|a| a.state == State::Good));
}

#[test]
fn a_second_new_ca_has_to_wait_until_the_first_overlap_is_over() {
    let scene = Scene::new();
    scene.start();
    scene.apply(ROTATE).unwrap();
    let before = scene.look();
    let refused = scene.apply(ROTATE).unwrap_err().to_string();
    assert!(refused.contains("is new") && refused.contains("temporal-warden cert retire"), "{refused}");
    assert_eq!(scene.look().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    scene.apply(Request::RetireCa).unwrap();
    assert_eq!(count(&scene.read("ca.crt")), 1);
    scene.apply(ROTATE).unwrap();
    assert_eq!(count(&scene.read("ca.crt")), 2);
}

#[test]
fn leaf_keys_are_new_by_hand_and_kept_when_told_or_by_age() {
    let keys = |scene: &Scene| CHAINS.map(|(name, _)| scene.read(&name.replace(".crt", ".key")));
    let mut scene = Scene::new();
    scene.start();
    let first = keys(&scene);
    scene.apply(Request::RotateCa { keep_keys: true }).unwrap();
    assert_eq!(keys(&scene), first);
    scene.apply(Request::RetireCa).unwrap();
    scene.apply(ROTATE).unwrap();
    assert!(keys(&scene).iter().zip(&first).all(|(new, old)| new != old));
    scene.apply(Request::RetireCa).unwrap();
    let (second, ca) = (keys(&scene), scene.read("ca.crt"));
    scene.later(Duration::days(3650 * 2 / 3 + 1));
    scene.start();
    assert_eq!(keys(&scene), second);
    assert!(scene.read("ca.crt").ends_with(&ca) && count(&scene.read("ca.crt")) == 2, "due by age");
}

#[test]
fn a_certificate_that_a_user_trusts_beside_ours_is_kept_through_all_of_it() {
    let mut scene = Scene::new();
    scene.start();
    let theirs = Authority::create(NOW, Duration::days(9000)).unwrap().trust_pem();
    let with = format!("{}{theirs}", scene.read("ca.crt"));
    scene.overwrite("ca.crt", &with);
    scene.later(Duration::days(400));
    scene.start();
    assert_eq!(scene.read("ca.crt"), with, "it is no overlap of ours");
    scene.apply(ROTATE).unwrap();
    assert_eq!(count(&scene.read("ca.crt")), 3);
    scene.apply(Request::RetireCa).unwrap();
    let after = scene.read("ca.crt");
    assert!(after.ends_with(&theirs) && count(&after) == 2, "only the old CA went");
}

#[test]
fn a_rollover_killed_at_any_moment_leaves_the_old_ca_or_the_new_one_whole() {
    let scene = Scene { now: OffsetDateTime::now_utc(), ..Scene::new() };
    scene.start();
    let rotate = || {
        Command::new(env!("CARGO_BIN_EXE_temporal-warden"))
            .args(["cert", "generate", "--rotate-ca"])
            .envs(scene.environment())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let began = Instant::now();
    assert!(rotate().wait().unwrap().success());
    let whole = began.elapsed();
    let (mut kept, mut changed) = (0, 0);
    for round in 0..40 {
        scene.apply(Request::RetireCa).unwrap();
        let old = scene.read("ca.crt");
        assert_eq!(count(&old), 1);
        let mut child = rotate();
        std::thread::sleep(whole * round / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        // What a reader finds before anything mends it.
        assert!(inspect(&scene.config, OffsetDateTime::now_utc()).unwrap().is_good(), "round {round}");
        let now = scene.read("ca.crt");
        assert!(now == old || (now.ends_with(&old) && count(&now) == 2), "round {round}");
        if now == old {
            kept += 1
        } else {
            changed += 1
        }
        scene.start();
    }
    eprintln!("killed 40 times: {kept} times the old CA, {changed} times the new one");
    assert!(kept > 0 && changed > 0);
}
