//! Every certificate as OpenSSL sees it under its strictest rules, and the text of its extensions.

mod material_scene;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use material_scene::Scene;
use temporal_warden::{
    clock,
    pki::{Authority, Boot, Certificate, Key, Profile},
};
use time::{Duration, OffsetDateTime};

const SERVERS: [&str; 2] = ["temporal-server.crt", "bundles/postgres/server.crt"];
const CLIENTS: [&str; 3] =
    ["temporal-client.crt", "bundles/worker/temporal-client.crt", "bundles/ui/temporal-client.crt"];

fn openssl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn verify(ca: &Path, certificate: &Path, purpose: &str) -> (bool, String) {
    let (ca, file) = (ca.to_str().unwrap(), certificate.to_str().unwrap());
    let strict = ["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose];
    openssl(&[&strict[..], &["-CAfile", ca, "-untrusted", file, file]].concat())
}

fn text(certificate: &Path) -> String {
    openssl(&["x509", "-noout", "-text", "-in", certificate.to_str().unwrap()]).1
}

/// A set made by the real clock, since that is the one OpenSSL reads.
fn fresh() -> Scene {
    let mut scene = Scene::new();
    scene.now = clock::now();
    scene.start();
    scene
}

#[test]
fn every_certificate_holds_under_strict_rules_for_its_purpose_and_no_other() {
    let scene = fresh();
    let ca = scene.path("ca.crt");
    for (files, purpose, other) in [(&SERVERS[..], "sslserver", "sslclient"), (&CLIENTS[..], "sslclient", "sslserver")]
    {
        for file in files {
            let (passed, words) = verify(&ca, &scene.path(file), purpose);
            assert!(passed, "{file}: {words}");
            assert!(!verify(&ca, &scene.path(file), other).0, "{file} for {other}");
        }
    }
    let (passed, words) = verify(&ca, &ca, "any");
    assert!(passed, "{words}");
}

#[test]
fn extensions_are_those_of_the_contract() {
    let scene = fresh();
    let ca = text(&scene.path("ca.crt"));
    assert!(ca.contains("X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:1"), "{ca}");
    assert!(ca.contains("X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign"), "{ca}");
    assert!(!ca.contains("Extended Key Usage"), "{ca}");
    for file in SERVERS.into_iter().chain(CLIENTS) {
        let leaf = text(&scene.path(file));
        for part in [
            "X509v3 Basic Constraints: critical\n                CA:FALSE",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "X509v3 Subject Key Identifier",
            "X509v3 Authority Key Identifier",
            "ASN1 OID: prime256v1",
            "ecdsa-with-SHA256",
        ] {
            assert!(leaf.contains(part), "{file} lacks {part}:\n{leaf}");
        }
    }
    let server = text(&scene.path("temporal-server.crt"));
    assert!(
        server.contains("DNS:temporal, DNS:temporal-server, DNS:localhost, DNS:app_data_temporal_server"),
        "{server}"
    );
    assert!(server.contains("IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1"), "{server}");
}

#[test]
fn leafs_are_backdated_five_minutes_and_authorities_an_hour() {
    let scene = fresh();
    let start = |file: &str| Certificate::all_from_pem(&scene.read(file)).unwrap()[0].not_before;
    let second = |at: OffsetDateTime| at.unix_timestamp();
    assert_eq!(second(start("temporal-server.crt")), second(scene.now - Duration::minutes(5)));
    assert_eq!(second(start("ca.crt")), second(scene.now - Duration::hours(1)));
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_cross_signed_rollover_and_the_boot_ca_hold_under_strict_rules() {
    let now = clock::now();
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = [(); 2].map(|()| Authority::create(now, Duration::days(100)).unwrap());
    let profile = Profile::Client { cn: "temporal-client".to_owned() };
    let leaf = new.issue(&profile, &Key::generate().unwrap(), now, Duration::days(9)).unwrap();
    let chain = format!("{}{}", leaf.chain_pem, old.cross_sign(&new, now).unwrap());
    let chain = write(folder.path(), "chain.crt", &chain);
    for authority in [&old, &new] {
        let ca = write(folder.path(), "ca.crt", &authority.trust_pem());
        let (passed, words) = verify(&ca, &chain, "sslclient");
        assert!(passed, "{words}");
    }
    let boot = Boot::create(now).unwrap();
    let ca = write(folder.path(), "boot-ca.crt", &boot.trust_pem);
    let server = write(folder.path(), "boot.crt", &boot.server_pem);
    for purpose in ["sslserver", "sslclient"] {
        assert!(verify(&ca, &server, purpose).0, "{purpose}");
    }
    assert!(text(&server).contains("DNS:temporal-internal, DNS:localhost, IP Address:127.0.0.1"));
}

#[test]
fn an_intermediate_of_openssl_with_a_long_name_signs_for_us() {
    let now = clock::now();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let (passed, words) = openssl(arguments);
        assert!(passed, "{words}");
    };
    let ca = "basicConstraints=critical,CA:TRUE";
    let usage = "keyUsage=critical,keyCertSign,cRLSign";
    run(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/C=DE/O=Example Ä/CN=Root",
        "-addext",
        ca,
        "-addext",
        usage,
        "-utf8",
        "-keyout",
        &at("root.key"),
        "-out",
        &at("root.crt"),
    ]);
    run(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-utf8",
        "-nodes",
        "-subj",
        "/C=DE/O=Example Ä/OU=A/CN=Sub",
        "-keyout",
        &at("sub.key"),
        "-out",
        &at("sub.csr"),
    ]);
    fs::write(at("ext"), format!("{ca},pathlen:0\n{usage}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"))
        .unwrap();
    run(&[
        "x509",
        "-req",
        "-days",
        "20",
        "-in",
        &at("sub.csr"),
        "-CA",
        &at("root.crt"),
        "-CAkey",
        &at("root.key"),
        "-CAcreateserial",
        "-extfile",
        &at("ext"),
        "-out",
        &at("sub.crt"),
    ]);
    let pem = [fs::read_to_string(at("sub.crt")).unwrap(), fs::read_to_string(at("root.crt")).unwrap()].concat();
    let own = Authority::load(&pem, &fs::read_to_string(at("sub.key")).unwrap()).unwrap();
    let leaf = own.issue(&Profile::Client { cn: "c".to_owned() }, &Key::generate().unwrap(), now, Duration::days(90));
    let leaf = leaf.unwrap();
    assert!(leaf.not_after < now + Duration::days(21));
    let chain = write(folder.path(), "chain.crt", &leaf.chain_pem);
    let root = write(folder.path(), "trust.crt", &own.trust_pem());
    let (passed, words) = verify(&root, &chain, "sslclient");
    assert!(passed, "{words}");
}

#[test]
fn a_name_with_several_values_in_one_part_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, cert) = (at("key"), at("crt"));
    let name = ["-multivalue-rdn", "-subj", "/OU=A+CN=Sub", "-keyout", &key, "-out", &cert];
    let made = openssl(&[&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"], &name[..]].concat());
    assert!(made.0, "{}", made.1);
    let error = Authority::load(&fs::read_to_string(cert).unwrap(), &fs::read_to_string(key).unwrap()).err().unwrap();
    assert!(error.to_string().contains("several values"), "{error}");
}
