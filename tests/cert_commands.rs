//! Requests, installation, single certificates and the move to a CA of one's own with a running warden: in force when
//! the command returns, on record, and no client out that was in.

#[path = "gateway/mod.rs"]
mod gateway;
mod openssl_ca;
mod warden_scene;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use gateway::{LIST, backend::Backend, client};
use openssl_ca::{Ca, openssl};
use temporal_warden::{
    pki::Certificate,
    tokens::{claimed, kid},
};
use warden_scene::Scene;

const FILES: [(&str, &str); 2] = [("client", "temporal-client.crt"), ("server", "temporal-server.crt")];

/// What a program has that read its bundle once.
struct Bundle {
    trust: String,
    pair: (String, String),
    token: String,
}

impl Bundle {
    fn read(folder: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let pair = (read("temporal-client.crt"), read("temporal-client.key"));
        Self { trust: read("ca.crt"), pair, token: read("client-token.jwt") }
    }

    /// The gRPC status of a call over a new connection; an error when the handshake fails.
    async fn call(&self, scene: &Scene) -> Result<u32, String> {
        let address = ([127, 0, 0, 1], scene.port()).into();
        let tls = client::handshake(address, &self.trust, Some(self.pair.clone()), &[b"h2"]).await;
        let send = client::h2_over(tls.map_err(|e| e.to_string())?).await;
        let bearer = client::bearer(&self.token);
        let reply = client::call(&send, LIST, &[("authorization", bearer.as_str())]).await;
        reply.map(|reply| reply.status()).map_err(|e| e.to_string())
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Signs by the warden's own CA, as somebody would who keeps its key elsewhere.
fn sign_by_warden(scene: &Scene, ca: &Ca, csr: &Path) -> String {
    let (cert, key) = (scene.path("ca.crt"), scene.path("ca.key"));
    ca.sign(csr, &["-CA", path(&cert), "-CAkey", path(&key)])
}

#[tokio::test]
async fn what_was_signed_elsewhere_is_in_force_when_the_command_returns_and_on_record() {
    let backend = Backend::start().await;
    let scene = Scene::new(&backend.address.to_string());
    let ca = Ca::new(&scene.folder.path().join("company"));
    let mut warden = scene.warden();
    drop(scene.connect("temporal-client.crt", "temporal-client.key").await);
    let before = Bundle::read(&scene.path(""));
    let out = scene.folder.path().join("csrs");
    scene.meanwhile(&["cert", "csr", "client", "server", "--new-keys", "--out", path(&out)]).await;
    assert_eq!(before.call(&scene).await, Ok(0), "a request changes nothing for anyone");
    let signed = FILES.map(|(name, _)| sign_by_warden(&scene, &ca, &out.join(format!("{name}.csr"))));
    let said = scene.meanwhile(&["cert", "install", &signed[0], &signed[1]]).await;
    assert!(said.contains("installed temporal-server.crt") && said.contains("the gateway serves generation"), "{said}");
    for (file, (_, name)) in signed.iter().zip(FILES) {
        let given = Certificate::all_from_pem(&fs::read_to_string(file).unwrap()).unwrap().remove(0);
        assert_eq!(scene.leaf(name).serial, given.serial, "{name}");
    }
    let after = Bundle::read(&scene.path(""));
    assert_ne!(after.pair.1, before.pair.1, "the new key");
    assert_eq!((after.call(&scene).await, before.call(&scene).await), (Ok(0), Ok(0)));
    let refused = scene.refused(&["cert", "install", &ca.at("root.crt")]);
    assert!(refused.contains("holds no certificate of a leaf"), "{refused}");
    warden.stop();
    assert_eq!(scene.acts("RequestCertificates"), ["client, server by new keys"]);
    let installed = scene.acts("InstallCertificates");
    assert!(installed[0].contains("client.crt") && installed[1].contains("no certificate of a leaf"), "{installed:?}");
    let published = scene.acts("Publish");
    assert!(
        published.iter().any(|p| p.contains("temporal-client.crt, temporal-server.crt, what was given")),
        "{published:?}"
    );
}

#[tokio::test]
async fn a_further_client_gets_a_bundle_of_its_own_that_passes_until_it_is_revoked() {
    let backend = Backend::start().await;
    let scene = Scene::new(&backend.address.to_string());
    let out = scene.folder.path().join("apps/billing");
    let arguments =
        ["cert", "issue", "--name", "billing", "--scope", "temporal-client", "--ttl", "7d", "--out", path(&out)];
    let refused = |arguments: &[&str], what: &str| {
        let words = scene.refused(&[&["cert", "issue", "--name"][..], arguments].concat());
        assert!(words.contains(what) && words.contains("; "), "{words}");
    };
    refused(&["temporal-worker"], "\"temporal-worker\" is a name of the warden's own; choose another");
    refused(&["a b"], "\"a b\" can't be the name of a client; choose a name");
    refused(&["billing", "--ttl", "91d"], "can't live longer than WARDEN_CERT_TTL");
    let alone = scene.done(&["cert", "issue", "--name", "alone", "--out", path(&scene.folder.path().join("alone"))]);
    assert!(alone.contains("the certificate of alone, serial "), "{alone}");
    assert!(!scene.folder.path().join("alone/client-token.jwt").exists());

    let mut warden = scene.warden();
    drop(scene.connect("temporal-client.crt", "temporal-client.key").await);
    let said = scene.meanwhile(&arguments).await;
    let bundle = Bundle::read(&out);
    assert_eq!(bundle.call(&scene).await, Ok(0));
    assert_eq!(claimed(&bundle.token).unwrap()["sub"], "billing");
    for (name, mode) in [("", 0o700), ("temporal-client.key", 0o600), ("client-token.jwt", 0o600), ("ca.crt", 0o644)] {
        assert_eq!(fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let leaf = Certificate::all_from_pem(&bundle.pair.0).unwrap().remove(0);
    assert!(leaf.subject == "CN=billing" && leaf.client_auth && !leaf.server_auth && said.contains(&leaf.serial));
    assert_eq!(leaf.not_after - leaf.not_before, time::Duration::days(7) + time::Duration::minutes(5));
    let again = scene.refused(&arguments);
    assert!(again.contains("apps/billing is there already; remove it"), "{again}");
    scene.meanwhile(&["cert", "revoke", &leaf.serial]).await;
    assert!(bundle.call(&scene).await.is_err(), "revoked");
    warden.stop();
    let acts = scene.acts("IssueCertificate");
    assert!(acts.len() == 1 && acts[0].starts_with(&format!("billing; serial {}, until ", leaf.serial)), "{acts:?}");
}

#[tokio::test]
async fn a_running_warden_changes_the_signing_key_by_age_and_tokens_of_either_pass() {
    let backend = Backend::start().await;
    let mut scene = Scene::new(&backend.address.to_string());
    scene.set("WARDEN_SIGNING_KEY_TTL", "10s");
    let mut warden = scene.warden();
    drop(scene.connect("temporal-client.crt", "temporal-client.key").await);
    let old = Bundle::read(&scene.path(""));
    assert_eq!(old.call(&scene).await, Ok(0));
    let changed = async {
        while kid(&scene.read("client-token.jwt")) == kid(&old.token) {
            assert_eq!(old.call(&scene).await, Ok(0));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), changed).await.expect("the key is not changed");
    let new = Bundle::read(&scene.path(""));
    assert_eq!((old.call(&scene).await, new.call(&scene).await), (Ok(0), Ok(0)));
    warden.stop();
    let published = scene.acts("Publish");
    let [first, second] = &published[..2] else { panic!("{published:?}") };
    assert!(first.contains("temporal-jwt-private.key") && !first.contains("client-token.jwt"), "{first}");
    assert!(second.contains("client-token.jwt") && !second.contains("temporal-jwt-private.key"), "{second}");
}

/// docs/operations.md, "Move to your own CA", step by step.
#[tokio::test]
async fn the_move_to_an_own_ca_keeps_every_client_in_that_reads_its_bundle_again_between_two_steps() {
    let backend = Backend::start().await;
    let mut scene = Scene::new(&backend.address.to_string());
    let ca = Ca::new(&scene.folder.path().join("company"));
    let mut warden = scene.warden();
    drop(scene.connect("temporal-client.crt", "temporal-client.key").await);
    let (old_ca, first) = (scene.read("ca.crt"), Bundle::read(&scene.path("")));

    // 1. Both are trusted.
    let said = scene.meanwhile(&["cert", "install", "--trust", &ca.at("root.crt")]).await;
    assert!(said.contains("installed ca.crt: trusts C=CH, O=Example & Sons, CN=Example Root too"), "{said}");
    assert_eq!(scene.read("ca.crt"), old_ca.clone() + &ca.read("root.crt"));
    let both = Bundle::read(&scene.path(""));
    assert_eq!((first.call(&scene).await, both.call(&scene).await), (Ok(0), Ok(0)));

    // 2. Requests, signed by the company.
    let out = scene.folder.path().join("csrs");
    scene.meanwhile(&["cert", "csr", "--all", "--out", path(&out)]).await;
    let requests = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let signed: Vec<String> = requests.map(|csr| ca.sign(&csr, &[])).collect();

    // 3. The company's CA, with the old one still trusted behind it; the warden's key goes to a safe place.
    warden.stop();
    let file = ca.at("warden-ca.crt");
    fs::write(&file, ca.read("chain.crt") + &old_ca).unwrap();
    scene.set("WARDEN_CA_CERT_FILE", &file);
    let refused = scene.refused(&["init"]);
    assert!(refused.contains("ca.key is the key of the CA the warden made; "), "{refused}");
    fs::rename(scene.path("..data/ca.key"), scene.folder.path().join("safe.key")).unwrap();
    let mut warden = scene.warden();
    drop(scene.connect("temporal-client.crt", "temporal-client.key").await);
    assert_eq!(scene.read("ca.crt"), ca.read("root.crt") + &old_ca);
    assert_eq!(
        (first.call(&scene).await, both.call(&scene).await),
        (Ok(0), Ok(0)),
        "certificates are still the old ones"
    );

    // 4. What the company signed.
    let install: Vec<_> = ["cert", "install"].into_iter().chain(signed.iter().map(String::as_str)).collect();
    scene.meanwhile(&install).await;
    assert_eq!(both.call(&scene).await, Ok(0), "an old certificate, and trust of both");
    assert!(first.call(&scene).await.is_err(), "who never read its bundle again since the first step is out");
    let new = Bundle::read(&scene.path(""));
    assert_eq!(new.call(&scene).await, Ok(0));
    scene.done(&["cert", "verify"]);

    // 5. The old one goes.
    warden.stop();
    fs::write(&file, ca.read("chain.crt")).unwrap();
    let _warden = scene.warden();
    drop(scene.connect("temporal-client.crt", "temporal-client.key").await);
    assert_eq!(scene.read("ca.crt"), ca.read("root.crt"));
    assert!(both.call(&scene).await.is_err(), "the old certificate");
    assert_eq!(new.call(&scene).await, Ok(0));
    let server: PathBuf = scene.path("temporal-server.crt");
    openssl(&["verify", "-x509_strict", "-CAfile", &ca.at("root.crt"), "-untrusted", path(&server), path(&server)]);
}
