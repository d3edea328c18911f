//! A CA key under a passphrase: what the warden writes openssl reads, what openssl writes the warden reads, and each way
//! in which it can go wrong is told in one sentence.

mod material_scene;
mod openssl_ca;

use std::fs;

use material_scene::Scene;
use openssl_ca::{Ca, openssl};
use temporal_warden::{
    config::{OwnCa, load},
    rotation::{Event, Request, inspect},
    secret::Secret,
};
use time::Duration;

const PASSPHRASE: &str = "correct horse, battery";

fn with_passphrase(passphrase: &str) -> Scene {
    let mut scene = Scene::new();
    scene.config.certs.ca_key_passphrase = Some(Secret::new(passphrase.to_owned()));
    scene
}

/// The openssl form of the passphrase argument.
fn pass() -> String {
    format!("pass:{PASSPHRASE}")
}

#[test]
fn the_warden_writes_its_ca_key_encrypted_and_openssl_opens_it() {
    let mut scene = with_passphrase(PASSPHRASE);
    scene.start();
    let sealed = scene.read("ca.key");
    assert!(sealed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{sealed}");
    let key = scene.path("ca.key");
    let public = openssl(&["pkey", "-in", key.to_str().unwrap(), "-passin", &pass(), "-pubout"]);
    let of_ca = openssl(&["x509", "-in", scene.path("ca.crt").to_str().unwrap(), "-noout", "-pubkey"]);
    assert_eq!(public, of_ca);
    let how = openssl(&["asn1parse", "-in", key.to_str().unwrap()]);
    assert!(how.contains("PBES2") && how.contains("hmacWithSHA256") && how.contains("aes-256-cbc"), "{how}");
    assert_eq!(scene.start().1, [], "nothing is written again");
    scene.later(Duration::days(61));
    assert!(scene.start().0.changed, "it signs");
    scene.apply(Request::RotateCa { keep_keys: false }).unwrap();
    let next = scene.read("ca.key");
    assert!(next.contains("ENCRYPTED") && next != sealed, "the CA after it is encrypted too");
    assert!(inspect(&scene.config, scene.now).unwrap().is_good());
}

#[test]
fn keys_of_an_own_ca_are_read_however_openssl_encrypts_them() {
    let mut scene = with_passphrase(PASSPHRASE);
    let ca = Ca::new(&scene.folder.path().join("company"));
    scene.now = temporal_warden::clock::now();
    let (plain, sealed) = (ca.at("sub.key"), ca.at("sealed.key"));
    let pkcs8 = ["pkcs8", "-topk8", "-in", &plain, "-out", &sealed, "-passout", &pass()].map(str::to_owned);
    let ways: [&[&str]; 6] = [
        &[],
        &["-v2", "aes-256-cbc"],
        &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
        &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA384", "-iter", "5000"],
        &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512", "-iter", "100000"],
        &["-v2", "aes-256-cbc", "-iter", "1"],
    ];
    for way in ways {
        openssl(&pkcs8.iter().map(String::as_str).chain(way.iter().copied()).collect::<Vec<_>>());
        let (cert_file, key_file) = (ca.at("chain.crt").into(), Some(sealed.clone().into()));
        scene.config.certs.own_ca = Some(OwnCa { cert_file, key_file });
        let (_, events) =
            scene.apply(Request::Certificates { keep_keys: true }).unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert!(!events.iter().any(|e| matches!(e, Event::Warning(_))), "{events:?}");
    }
    let whole = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-aes256",
        "-pass",
        &pass(),
        "-out",
        &sealed,
    ];
    openssl(&whole);
    let error = scene.apply(Request::Certificates { keep_keys: true }).unwrap_err().to_string();
    assert!(
        error.contains("is not the key of certificate O=Example, CN=Example Issuing"),
        "opened, and another: {error}"
    );
}

#[test]
fn a_wrong_passphrase_none_and_a_foreign_cipher_are_told_apart_and_change_nothing() {
    let mut scene = with_passphrase(PASSPHRASE);
    scene.start();
    let before = scene.look();
    let refused = |scene: &Scene, what: &str, fix: &str| {
        let error = scene.apply(Request::MakeMissing).unwrap_err().to_string();
        assert!(error.contains("ca.key ") && error.contains(what) && error.contains(fix), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    scene.config.certs.ca_key_passphrase = Some(Secret::new("another".to_owned()));
    refused(
        &scene,
        "is encrypted, and not by this passphrase (or damaged)",
        "must hold the passphrase it was encrypted with",
    );
    scene.config.certs.ca_key_passphrase = None;
    refused(&scene, "is encrypted, and there is no passphrase for it", "name that in WARDEN_CA_KEY_PASSPHRASE_FILE");
    assert_eq!(scene.look(), before);
    scene.config.certs.ca_key_passphrase = Some(Secret::new(PASSPHRASE.to_owned()));
    let (key, clear) = (scene.path("..data/ca.key"), scene.folder.path().join("clear.key"));
    openssl(&["pkey", "-in", key.to_str().unwrap(), "-passin", &pass(), "-out", clear.to_str().unwrap()]);
    let clear = clear.to_str().unwrap();
    let out = key.to_str().unwrap();
    let convert = "openssl pkcs8 -topk8 -v2 aes-256-cbc";
    for (how, what) in [
        (&["-v2", "des3"][..], "a cipher that is not AES-CBC"),
        (&["-scrypt"], "scrypt"),
        (&["-v1", "PBE-SHA1-3DES"], "not PBES2"),
    ] {
        openssl(&[&["pkcs8", "-topk8", "-in", clear, "-out", out, "-passout", &pass()][..], how].concat());
        refused(&scene, what, convert);
    }
    openssl(&["ec", "-in", clear, "-aes256", "-out", out, "-passout", &pass()]);
    refused(&scene, "older form", convert);
}

#[test]
fn a_key_in_clear_of_the_wardens_own_is_encrypted_and_one_of_yours_is_only_told() {
    let mut scene = Scene::new();
    scene.start();
    let clear = scene.read("ca.key");
    scene.config.certs.ca_key_passphrase = Some(Secret::new(PASSPHRASE.to_owned()));
    let (live, events) = scene.start();
    assert!(live.changed && scene.read("ca.key").contains("ENCRYPTED"), "{events:?}");
    assert!(
        events.iter().any(|e| e.to_string() == "made ca.key: WARDEN_CA_KEY_PASSPHRASE_FILE asks for an encrypted key")
    );
    assert_eq!(scene.start().1, []);
    let file = scene.path("ca.key");
    let opened = openssl(&["pkey", "-in", file.to_str().unwrap(), "-passin", &pass()]);
    assert_eq!(opened, clear, "the same key");

    let mut own = with_passphrase(PASSPHRASE);
    own.now = temporal_warden::clock::now();
    let ca = Ca::new(&own.folder.path().join("company"));
    let before = ca.read("sub.key");
    own.config.certs.own_ca =
        Some(OwnCa { cert_file: ca.at("chain.crt").into(), key_file: Some(ca.at("sub.key").into()) });
    let (_, events) = own.start();
    let told = events.iter().map(ToString::to_string).find(|e| e.contains("sub.key is not encrypted although"));
    assert!(told.is_some_and(|line| line.contains("encrypt it: openssl pkcs8")), "{events:?}");
    assert_eq!(ca.read("sub.key"), before);
}

#[test]
fn a_passphrase_file_that_is_missing_or_empty_stops_the_start_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let errors = |file: &str| {
        let path = folder.path().join(file).to_str().unwrap().to_owned();
        let environment = [("WARDEN_CA_KEY_PASSPHRASE_FILE".to_owned(), path), ("DB".to_owned(), "sqlite".to_owned())];
        load::from(environment, |path| fs::read_to_string(path)).unwrap_err().to_string()
    };
    fs::write(folder.path().join("empty"), "\n").unwrap();
    let missing = errors("missing");
    assert!(
        missing.contains("WARDEN_CA_KEY_PASSPHRASE_FILE=")
            && missing.contains("missing\" (environment): cannot be read"),
        "{missing}"
    );
    let empty = errors("empty");
    assert!(empty.contains("the file is empty; write the passphrase into it"), "{empty}");
}
