//! Garbage, truncated, exchanged and foreign files: each is refused by name, with what to do, and nothing is touched.

mod material_scene;

use std::{fs, os::unix::fs::chown};

use material_scene::{NOW, Scene};
use temporal_warden::{
    config::OwnCa,
    pki::Authority,
    rotation::{Request, State, inspect},
    tokens::{Grant, Scope, SigningKey, jwks, mint},
};
use time::Duration;

/// Spoils a fresh set, and demands that a start names `file` and says `words`, changing nothing.
fn refused(file: &str, words: &str, spoil: impl FnOnce(&Scene)) {
    refused_after(Scene::new(), file, words, spoil);
}

fn refused_after(mut scene: Scene, file: &str, words: &str, spoil: impl FnOnce(&Scene)) {
    scene.mount_bundles();
    scene.start();
    spoil(&scene);
    let before = scene.look();
    let error = scene.apply(Request::MakeMissing).expect_err(&format!("{file} {words}")).to_string();
    let line = error.lines().find(|line| line.contains(file) && line.contains(words));
    let line = line.unwrap_or_else(|| panic!("no line with {file} and {words:?} in:\n{error}"));
    assert!(line.contains("; "), "says what to do: {line}");
    assert_eq!(scene.look(), before, "{file}");
}

const PEMS: [&str; 13] = [
    "ca.crt",
    "ca.key",
    "temporal-server.crt",
    "temporal-server.key",
    "temporal-client.crt",
    "temporal-client.key",
    "bundles/worker/temporal-client.crt",
    "bundles/worker/temporal-client.key",
    "bundles/ui/temporal-client.crt",
    "bundles/postgres/server.crt",
    "bundles/postgres/server.key",
    "temporal-jwt-private.key",
    "temporal-jwt-public.key",
];
const OTHERS: [&str; 8] = [
    "temporal-jwks.json",
    "system-token.jwt",
    "worker-token.jwt",
    "client-token.jwt",
    "bundles/ui/ui-token.jwt",
    "postgres-password",
    "revocations.json",
    "state.json",
];

#[test]
fn garbage_is_refused_by_name() {
    for file in PEMS.into_iter().chain(OTHERS) {
        refused(file, file, |scene| scene.overwrite(file, b"\xff\x00 garbage \n"));
    }
}

#[test]
fn truncated_files_are_refused_by_name() {
    for file in PEMS.into_iter().chain(OTHERS) {
        refused(file, file, |scene| {
            let content = scene.read(file);
            scene.overwrite(file, &content[..content.len() / 2]);
        });
    }
}

#[test]
fn empty_files_are_refused_by_name() {
    for file in PEMS.into_iter().chain(OTHERS) {
        refused(file, file, |scene| scene.overwrite(file, ""));
    }
}

#[test]
fn what_is_no_password_and_no_json_is_refused_by_name() {
    let why = "is empty or holds more than one word; restore the password the database knows";
    // Without its list of sums, which would find any change.
    let forget = |s: &Scene| fs::remove_file(s.path("..data").join("manifest.json")).unwrap();
    refused("postgres-password", why, |s| {
        s.overwrite("postgres-password", "two words");
        forget(s);
    });
    refused("revocations.json", "is not the JSON it should be: ", |s| {
        s.overwrite("revocations.json", "[");
        forget(s);
    });
}

#[test]
fn a_flipped_bit_of_a_certificate_or_token_is_refused_by_name() {
    for file in ["ca.crt", "temporal-server.crt", "bundles/ui/temporal-client.crt", "client-token.jwt"] {
        refused(file, file, |scene| {
            let mut content = scene.read(file).into_bytes();
            let at = content.len() - 60;
            content[at] = if content[at] == b'A' { b'B' } else { b'A' };
            scene.overwrite(file, content);
        });
    }
}

fn swap(scene: &Scene, a: &str, b: &str) {
    let (x, y) = (scene.read(a), scene.read(b));
    scene.overwrite(a, y);
    scene.overwrite(b, x);
}

#[test]
fn exchanged_files_are_refused_by_name() {
    refused("temporal-server.key", "is not the key of certificate CN=temporal-server", |s| {
        swap(s, "temporal-server.key", "temporal-client.key");
    });
    refused("ca.key", "is not the key of certificate CN=Temporal Warden CA", |s| {
        swap(s, "ca.key", "temporal-jwt-private.key")
    });
    refused("system-token.jwt", "is a token of temporal-client with scope temporal-client", |s| {
        swap(s, "system-token.jwt", "client-token.jwt");
    });
    refused("client-token.jwt", "is a token of temporal-ui", |s| {
        swap(s, "client-token.jwt", "bundles/ui/ui-token.jwt")
    });
    refused("temporal-client.crt", "is the certificate of temporal-worker", |s| {
        swap(s, "temporal-client.crt", "bundles/worker/temporal-client.crt");
        swap(s, "temporal-client.key", "bundles/worker/temporal-client.key");
    });
    refused("temporal-client.crt", "is not a client certificate", |s| {
        swap(s, "temporal-client.crt", "temporal-server.crt");
        swap(s, "temporal-client.key", "temporal-server.key");
    });
    refused("ca.crt", "is not a CA certificate", |s| swap(s, "ca.crt", "temporal-server.crt"));
}

#[test]
fn material_of_another_set_is_refused_by_name() {
    let other = Scene::new();
    other.start();
    let copy = |s: &Scene, files: &[&str]| files.iter().for_each(|f| s.overwrite(f, other.read(f)));
    refused("temporal-server.crt", "is not signed by CN=Temporal Warden CA", |s| {
        copy(s, &["temporal-server.crt", "temporal-server.key"]);
    });
    refused("temporal-server.crt", "is not signed by", |s| copy(s, &["ca.crt", "ca.key"]));
    refused("worker-token.jwt", "unknown key", |s| copy(s, &["worker-token.jwt"]));
    refused("temporal-jwks.json", "does not list the key", |s| copy(s, &["temporal-jwks.json"]));
    refused("temporal-jwt-public.key", "is not the public half", |s| copy(s, &["temporal-jwt-public.key"]));
    refused("postgres-password", "is not what was published", |s| copy(s, &["postgres-password"]));
}

#[test]
fn a_token_of_the_right_name_with_more_rights_is_refused() {
    refused("client-token.jwt", "is a token of temporal-client with scope temporal-system", |s| {
        let key = SigningKey::from_pem(&s.read("temporal-jwt-private.key")).unwrap();
        let grant = Grant {
            issuer: "temporal-warden".to_owned(),
            audience: "temporal".to_owned(),
            sub: "temporal-client".to_owned(),
            scopes: Scope::System.into(),
            namespaces: None,
            cnf_x5t: None,
            life: Duration::days(90),
        };
        s.overwrite("client-token.jwt", mint(&key, &grant, NOW).unwrap());
    });
}

#[test]
fn keys_that_are_gone_are_never_silently_replaced() {
    let gone = |s: &Scene, file: &str| fs::remove_file(s.path(&format!("..data/{file}"))).unwrap();
    refused("ca.crt", "is missing although ca.key is there", |s| gone(s, "ca.crt"));
    refused("ca.crt", "is missing although temporal-server.crt is there", |s| {
        gone(s, "ca.crt");
        gone(s, "ca.key");
    });
    refused("temporal-jwt-private.key", "is missing although temporal-jwt-public.key is there", |s| {
        gone(s, "temporal-jwt-private.key");
    });
    refused("the CA key", "is absent, so temporal-server.crt (missing) can't be issued", |s| {
        gone(s, "ca.key");
        gone(s, "temporal-server.crt");
    });
}

#[test]
fn an_expired_ca_is_refused_and_not_replaced() {
    let mut scene = Scene::new();
    scene.start();
    let before = scene.look();
    scene.later(Duration::days(3651));
    for request in [Request::MakeMissing, Request::Certificates { keep_keys: false }] {
        let error = scene.apply(request).unwrap_err().to_string();
        assert!(error.contains("/ca.crt expired on 2036-11-21"), "{error}");
    }
    assert_eq!(scene.look(), before);
}

#[test]
fn a_file_of_another_user_is_refused_by_name() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    refused("temporal-client.key", "belongs to uid 1000, not to uid 0", |s| {
        chown(s.path("temporal-client.key"), Some(1000), None).unwrap();
    });
    refused("", "belongs to uid 1000, not to uid 0; give it back (chown -R 0 on its volume)", |s| {
        chown(s.dir(), Some(1000), None).unwrap()
    });
}

#[test]
fn links_folders_and_pipes_at_our_names_are_never_followed() {
    for name in ["ca.crt", "temporal-server.key", ".lock", "..data"] {
        let words = if name == ".lock" { "symbolic links" } else { "link" };
        refused(name, words, |s| {
            let target = s.folder.path().join("elsewhere");
            fs::create_dir_all(&target).unwrap();
            let _ = fs::remove_file(s.path(name));
            std::os::unix::fs::symlink(&target, s.path(name)).unwrap();
        });
    }
    refused("..data", "names ..g0, which is gone; restore ..g0, point the link to a ..gN that is there", |s| {
        fs::remove_dir_all(s.path("..g0")).unwrap()
    });
    refused("ca.crt", "is not a regular file; move it away and start again", |s| {
        fs::remove_file(s.path("ca.crt")).unwrap();
        fs::create_dir(s.path("ca.crt")).unwrap();
    });
    refused("ca.crt", "is larger than 1 MiB", |s| s.overwrite("ca.crt", vec![b'x'; 2 << 20]));
    let scene = Scene::new();
    scene.start();
    fs::remove_file(scene.path("..data")).unwrap();
    let gone = scene.apply(Request::MakeMissing).unwrap_err().to_string();
    assert!(gone.contains("brings the last set back, an empty folder starts over with a new CA"), "{gone}");
    refused("ca.key", "is not a regular file", |s| {
        fs::remove_file(s.path("..data/ca.key")).unwrap();
        nix::unistd::mkfifo(&s.path("..data/ca.key"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    });
}

#[test]
fn each_request_cures_what_it_replaces() {
    let scene = Scene::new();
    scene.start();
    scene.overwrite("temporal-server.crt", "garbage");
    scene.overwrite("bundles/worker/temporal-client.key", "garbage");
    scene.overwrite("client-token.jwt", "garbage");
    assert_eq!(scene.apply(Request::MakeMissing).unwrap_err().to_string().lines().count(), 3);
    let report = inspect(&scene.config, NOW).unwrap();
    let broken = report.artefacts.iter().filter(|a| a.state == State::Broken && a.fix.is_some());
    assert_eq!(
        broken.map(|a| a.name.as_str()).collect::<Vec<_>>(),
        ["temporal-server.crt", "bundles/worker/temporal-client.crt", "client-token.jwt"]
    );
    scene.apply(Request::Certificates { keep_keys: true }).unwrap();
    assert_eq!(scene.read("client-token.jwt"), "garbage");
    scene.apply(Request::Tokens).unwrap();
    assert!(inspect(&scene.config, NOW).unwrap().is_good());
}

#[test]
fn an_own_ca_that_does_not_fit_is_refused_by_its_file() {
    let own = Authority::create(NOW, Duration::days(365)).unwrap();
    let with = |cert: &str, key: Option<&str>| {
        let mut scene = Scene::new();
        let (cert_file, key_file) = (scene.folder.path().join("own.crt"), scene.folder.path().join("own.key"));
        fs::write(&cert_file, cert).unwrap();
        key.inspect(|key| fs::write(&key_file, key).unwrap());
        scene.config.certs.own_ca = Some(OwnCa { cert_file, key_file: key.map(|_| key_file) });
        let error = scene.apply(Request::MakeMissing).unwrap_err().to_string();
        assert!(!scene.path("..data").exists());
        error
    };
    let other = SigningKey::generate().unwrap();
    assert!(with("garbage", None).contains("own.crt holds no certificate in PEM; WARDEN_CA_CERT_FILE"));
    assert!(with(&own.trust_pem(), Some("garbage")).contains("own.key holds no private key in PEM"));
    assert!(with(&own.trust_pem(), Some(other.to_pem().expose())).contains("own.key is not the key of certificate"));
    assert!(with(&own.trust_pem(), None).contains("set WARDEN_CA_KEY_FILE"));
    let old = Authority::create(NOW - Duration::days(400), Duration::days(365)).unwrap();
    let expired = with(&old.trust_pem(), Some(old.key_pem().expose()));
    assert!(expired.contains("own.crt expired") && expired.contains("; renew it and start again"), "{expired}");
    let under = own.cross_sign(&Authority::create(NOW, Duration::days(90)).unwrap(), NOW).unwrap();
    let unrooted = with(&(under + &Authority::create(NOW, Duration::days(90)).unwrap().trust_pem()), None);
    assert!(
        unrooted.contains("own.crt lacks CN=Temporal Warden CA") && unrooted.contains("add its parents"),
        "{unrooted}"
    );
}

#[test]
fn an_own_ca_beside_the_wardens_own_key_is_refused_until_that_key_is_safe() {
    let mut scene = Scene::new();
    scene.start();
    let own = Authority::create(NOW, Duration::days(365)).unwrap();
    let (cert_file, key_file) = (scene.folder.path().join("own.crt"), scene.folder.path().join("own.key"));
    fs::write(&cert_file, own.trust_pem()).unwrap();
    fs::write(&key_file, own.key_pem().expose()).unwrap();
    scene.config.certs.own_ca = Some(OwnCa { cert_file, key_file: Some(key_file) });
    let error = scene.apply(Request::MakeMissing).unwrap_err().to_string();
    assert!(error.contains("ca.key is the key of the CA the warden made"), "{error}");
    fs::remove_file(scene.path("..data/ca.key")).unwrap();
    let error = scene.apply(Request::MakeMissing).unwrap_err().to_string();
    assert!(error.contains("generate-certs.sh"), "{error}");
    scene.apply(Request::Certificates { keep_keys: false }).unwrap();
    assert_eq!(scene.read("ca.crt"), own.trust_pem());
    assert!(inspect(&scene.config, NOW).unwrap().is_good());
}

#[test]
fn an_empty_jwks_is_refused_because_it_would_refuse_everyone() {
    for empty in ["{}", r#"{"keys":[]}"#] {
        refused("temporal-jwks.json", "", |s| s.overwrite("temporal-jwks.json", empty));
    }
    let why = "holds no usable key (EC P-256 with a kid): no token could pass";
    refused("temporal-jwks.json", why, |s| s.overwrite("temporal-jwks.json", r#"{"keys":[]}"#));
    let other = SigningKey::generate().unwrap();
    let scene = Scene::new();
    scene.start();
    let current = SigningKey::from_pem(&scene.read("temporal-jwt-private.key")).unwrap();
    scene.overwrite("temporal-jwks.json", jwks([current.public(), other.public()]));
    assert!(!scene.start().0.changed, "a second key is an overlap, not an error");
}

/// Temporal would start without a single key, and refuse everyone, the gateway's own probes too.
#[test]
fn a_key_in_the_jwks_that_temporal_can_not_read_is_refused_before_it_locks_everybody_out() {
    let with = |scene: &Scene, key: &str| {
        let own = scene.read("temporal-jwks.json");
        scene.overwrite("temporal-jwks.json", own.replacen('[', &format!("[{key},"), 1));
    };
    let zero = "A".repeat(43);
    let no_point = format!(r#"{{"kty":"EC","crv":"P-256","kid":"k","x":"{zero}","y":"{zero}"}}"#);
    for (key, why) in [
        (no_point.as_str(), "x and y are no point of the curve"),
        (
            r#"{"kty":"EC","crv":"P-256","kid":"k","x":"AAA","y":"AAA"}"#,
            "x and y are not of the curve's length in base64url",
        ),
        (r#"{"kty":"EC","crv":"secp256k1","kid":"k"}"#, "crv is none of P-256, P-384 and P-521"),
        (r#"{"kty":"EC","crv":"P-256","kid":"k","d":"AAA"}"#, "it is a private key"),
        (r#"{"kty":"RSA","kid":"k","n":"!!","e":"AQAB"}"#, "n and e are not both there in base64url"),
        (r#"{"kty":"OKP","crv":"Ed25519","kid":"k","x":"AAA"}"#, "x is not of 32 bytes in base64url"),
        (r#"{"kty":"AKP","kid":"k"}"#, "it is of a kind that Temporal does not know (EC, RSA, OKP with Ed25519)"),
        (r#"{"kty":7,"kid":"k"}"#, "kty, kid, use, alg and crv are strings"),
    ] {
        let why = format!("holds a key that Temporal can't read, number 1 (k): {why}; ");
        refused("temporal-jwks.json", &why, |s| with(s, key));
    }
}
