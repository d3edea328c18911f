//! A CA whose key is elsewhere: the warden writes requests, openssl signs them under an intermediate, the warden checks
//! and serves what comes back.

mod material_scene;
mod openssl_ca;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use material_scene::Scene;
use openssl_ca::{Ca, openssl};
use temporal_warden::{clock, pki::Certificate, tokens::claimed};

const NAMES: [&str; 5] = ["server", "client", "worker", "ui", "postgres"];
const FILES: [(&str, &str); 5] = [
    ("temporal-server", "sslserver"),
    ("temporal-client", "sslclient"),
    ("bundles/worker/temporal-client", "sslclient"),
    ("bundles/ui/temporal-client", "sslclient"),
    ("bundles/postgres/server", "sslserver"),
];

/// An empty folder, and a CA of somebody else's.
struct Offline {
    scene: Scene,
    ca: Ca,
}

impl Offline {
    fn new() -> Self {
        let scene = Scene::new();
        let ca = Ca::new(&scene.folder.path().join("company"));
        Self { scene, ca }
    }

    /// One that has everything signed and in place.
    fn installed() -> Self {
        let this = Self::new();
        this.done(&["cert", "csr", "--out", this.out("first").to_str().unwrap()]);
        let signed = NAMES.map(|name| this.sign("first", name, &[]));
        this.done(&[&["cert", "install"][..], &signed.each_ref().map(String::as_str)].concat());
        this.done(&["init"]);
        this
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_temporal-warden"));
        command.args(args).env_clear().envs(self.scene.environment()).stdin(Stdio::null());
        command.env("WARDEN_CA_CERT_FILE", self.ca.at("chain.crt")).env("WARDEN_TOKEN_BINDING", "true");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.scene.folder.path().join(name)
    }

    fn sign(&self, folder: &str, name: &str, more: &[&str]) -> String {
        self.ca.sign(&self.out(folder).join(format!("{name}.csr")), more)
    }

    fn leaf(&self, file: &str) -> Certificate {
        Certificate::all_from_pem(&self.scene.read(file)).unwrap().remove(0)
    }

    fn generation(&self) -> PathBuf {
        fs::read_link(self.scene.path("..data")).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn without_the_ca_key_a_first_start_says_to_have_requests_signed() {
    let offline = Offline::new();
    let words = offline.refused(&["init"]);
    for part in ["temporal-server.crt (missing) can't be issued", "set WARDEN_CA_KEY_FILE", "cert csr", "cert install"]
    {
        assert!(words.contains(part), "{part} in {words}");
    }
    let words = offline.refused(&["cert", "generate"]);
    assert!(words.contains("the CA key is absent, so new leaf certificates can't be issued; "), "{words}");
    assert!(!offline.scene.path("..data").exists(), "nothing was written");
}

#[test]
fn an_offline_intermediate_signs_the_whole_set_and_its_chain_is_served() {
    let offline = Offline::new();
    let out = offline.out("csrs");
    let said = offline.done(&["cert", "csr", "--out", out.to_str().unwrap()]);
    assert!(said.contains("server.csr: a request for temporal-server.crt by a new key"), "{said}");
    for name in NAMES {
        assert!(
            openssl(&["req", "-verify", "-noout", "-in", out.join(format!("{name}.csr")).to_str().unwrap()])
                .contains("OK")
        );
        assert_eq!(mode(&offline.scene.path(&format!("bundles/requested/{name}.key"))), 0o600);
    }
    let mut signed: Vec<_> = NAMES.map(|name| offline.sign("csrs", name, &[])).into();
    signed.reverse();
    let args: Vec<_> = ["cert", "install"].into_iter().chain(signed.iter().map(String::as_str)).collect();
    let said = offline.done(&args);
    assert!(said.contains("installed temporal-server.crt: signed by O=Example, CN=Example Issuing, until"), "{said}");
    offline.done(&["init"]);
    offline.done(&["cert", "verify"]);
    assert_eq!(offline.scene.read("ca.crt"), offline.ca.read("root.crt"), "readers trust the root");
    for (file, purpose) in FILES {
        let (cert, key) = (offline.scene.path(&format!("{file}.crt")), offline.scene.path(&format!("{file}.key")));
        assert_eq!(Certificate::all_from_pem(&fs::read_to_string(&cert).unwrap()).unwrap().len(), 2, "{file}");
        let (ca, cert) = (offline.ca.at("root.crt"), cert.to_str().unwrap());
        openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &ca, "-untrusted", cert, cert]);
        assert_eq!(mode(&key), if file.contains('/') { 0o600 } else { 0o640 }, "{file}");
    }
    assert!(!offline.scene.path("..data/bundles/requested").exists(), "no key waits any more");
    assert!(!offline.scene.path("ca.key").exists());
}

#[test]
fn a_leaf_is_renewed_by_its_key_or_by_a_new_one_that_waits_until_its_certificate_comes() {
    let offline = Offline::installed();
    let nothing = offline.refused(&["cert", "csr"]);
    assert!(nothing.contains("holds no certificate that needs another now; "), "{nothing}");
    let (before, key) = (offline.generation(), offline.scene.read("temporal-server.key"));
    let pem = offline.done(&["cert", "csr", "server"]);
    fs::create_dir(offline.out("kept")).unwrap();
    fs::write(offline.out("kept").join("server.csr"), pem).unwrap();
    assert_eq!(offline.generation(), before, "a request by the key in use changes nothing");
    let serial = offline.leaf("temporal-server.crt").serial;
    let signed = offline.sign("kept", "server", &[]);
    offline.done(&["cert", "install", &signed]);
    assert_ne!(offline.leaf("temporal-server.crt").serial, serial);
    let state = offline.scene.read("state.json");
    assert!(state.contains("\"certs\""), "those who hold the one before are told: {state}");
    assert_eq!(offline.scene.read("temporal-server.key"), key);
    assert!(offline.done(&["cert", "install", &signed]).contains("in place already"), "twice is once");

    offline.done(&["cert", "csr", "server", "--new-keys", "--out", offline.out("new").to_str().unwrap()]);
    let waiting = offline.scene.read("bundles/requested/server.key");
    assert_eq!(offline.scene.read("temporal-server.key"), key, "in use until the certificate is there");
    offline.done(&["cert", "verify"]);
    offline.done(&["init"]);
    offline.done(&["cert", "csr", "server"]);
    assert_eq!(offline.scene.read("bundles/requested/server.key"), waiting, "asked again, it is the same key");
    let signed = offline.sign("new", "server", &[]);
    offline.done(&["cert", "install", &signed]);
    assert_eq!(offline.scene.read("temporal-server.key"), waiting);
    offline.done(&["cert", "verify"]);
}

#[test]
fn what_does_not_fit_is_refused_by_file_value_and_remedy_and_changes_nothing() {
    let offline = Offline::installed();
    let ca = &offline.ca;
    offline.done(&["cert", "csr", "--all", "--out", offline.out("again").to_str().unwrap()]);
    let good = fs::read_to_string(offline.sign("again", "ui", &[])).unwrap();
    ca.write("bare.cnf", "subjectAltName=DNS:temporal,DNS:localhost\nextendedKeyUsage=serverAuth\n");
    ca.write("wrong-use.cnf", "extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n");
    ca.write("no-signature.cnf", "extendedKeyUsage=clientAuth\nkeyUsage=keyAgreement\n");
    ca.write("is-ca.cnf", "basicConstraints=CA:TRUE\nextendedKeyUsage=clientAuth\n");
    ca.write("key.pem", &ca.read("sub.key"));
    ca.write("garbage.pem", "garbage\n");
    ca.write("twice.pem", &format!("{good}{good}"));
    let other = Ca::new(&offline.out("other"));
    let stranger = {
        let csr = other.at("stranger.csr");
        openssl(&["req", "-new", "-key", &other.at("root.key"), "-subj", "/CN=stranger", "-out", &csr]);
        ca.sign(Path::new(&csr), &[])
    };
    let [root, root_key] = [other.at("root.crt"), other.at("root.key")];
    let cnf = |name: &str| ca.at(name);
    let cases: Vec<(&str, &str, Vec<String>, &str)> = vec![
        (
            "server",
            "lacks the names temporal-server, app_data_temporal_server",
            vec!["-extfile".into(), cnf("bare.cnf")],
            "names (SAN) of the request",
        ),
        (
            "client",
            "may not be used for clientAuth (extendedKeyUsage)",
            vec!["-extfile".into(), cnf("wrong-use.cnf")],
            "extendedKeyUsage clientAuth",
        ),
        (
            "worker",
            "has a keyUsage without digitalSignature",
            vec!["-extfile".into(), cnf("no-signature.cnf")],
            "digitalSignature",
        ),
        (
            "worker",
            "is a CA certificate",
            vec!["-extfile".into(), cnf("is-ca.cnf")],
            "have it signed as a leaf (CA:FALSE)",
        ),
        (
            "server",
            "leads to C=CH, O=Example & Sons, CN=Example Root",
            vec!["-CA".into(), root, "-CAkey".into(), root_key],
            "WARDEN_CA_CERT_FILE",
        ),
        ("postgres", "is valid from", vec!["-days".into(), "-1".into()], "set the clock right"),
    ];
    let renamed = {
        let (key, csr) = (offline.scene.path("temporal-client.key"), ca.at("renamed.csr"));
        openssl(&["req", "-new", "-key", key.to_str().unwrap(), "-subj", "/CN=someone", "-out", &csr]);
        ca.sign(Path::new(&csr), &[])
    };
    let before = offline.scene.look();
    for (name, what, more, remedy) in cases {
        let file = offline.sign("again", name, &more.iter().map(String::as_str).collect::<Vec<_>>());
        let words = offline.refused(&["cert", "install", &file]);
        for part in [what, remedy, &file, "; "] {
            assert!(words.contains(part), "{name}: {part:?} in {words}");
        }
    }
    for (file, what, remedy) in [
        (cnf("key.pem"), "holds a private key", "give certificates only"),
        (cnf("garbage.pem"), "holds no certificate in PEM", "openssl x509 -inform der"),
        (cnf("twice.pem"), "is a second certificate for the same key", "give one of them"),
        (cnf("root.crt"), "holds no certificate of a leaf", "give what the CA made of `cert csr`"),
        (renamed, "is the certificate of someone, not of temporal-client", "subject"),
        (stranger, "holds the certificate CN=stranger", "cert csr"),
        ("/nowhere.crt".to_owned(), "can't be read: No such file", "as PEM"),
    ] {
        let words = offline.refused(&["cert", "install", &file]);
        assert!(words.contains(what) && words.contains(remedy) && words.contains(&file), "{file}: {words}");
    }
    let words = offline.refused(&["cert", "install", "--trust", &cnf("root.crt")]);
    assert!(words.contains("can't be trusted beside a CA of your own; put it into the file"), "{words}");
    let words = offline.refused(&["cert", "csr", "nobody"]);
    assert!(
        words.contains("has no certificate called \"nobody\"; name server, client, worker, ui, postgres"),
        "{words}"
    );
    let words = offline.refused(&["cert", "csr", "--all", "--out", offline.out("again").to_str().unwrap()]);
    assert!(words.contains("again/server.csr is there already; remove it"), "{words}");
    let after = offline.scene.look();
    let certs = |look: &std::collections::BTreeMap<PathBuf, String>| {
        look.iter()
            .filter(|(path, _)| path.starts_with(offline.scene.dir()))
            .map(|(p, s)| (p.clone(), s.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(certs(&before), certs(&after));
}

#[test]
fn one_that_is_wrong_keeps_all_others_out_and_every_reason_comes_at_once() {
    let offline = Offline::new();
    offline.done(&["cert", "csr", "--out", offline.out("csrs").to_str().unwrap()]);
    let ends = |days: &'static str| vec!["-days", days];
    let signed: Vec<_> = NAMES
        .iter()
        .map(|n| offline.sign("csrs", n, &ends(if n.starts_with('u') || *n == "client" { "-1" } else { "9" })))
        .collect();
    let args: Vec<_> = ["cert", "install"].into_iter().chain(signed.iter().map(String::as_str)).collect();
    let words = offline.refused(&args);
    assert_eq!(words.lines().filter(|line| line.contains("is valid from")).count(), 2, "{words}");
    assert!(!offline.scene.path("temporal-server.crt").exists());
    let server = offline.sign("csrs", "worker", &[]);
    let words = offline.refused(&["cert", "install", &server]);
    assert!(words.contains("temporal-server.crt (missing) can't be issued"), "a set without its server: {words}");
}

#[test]
fn a_missing_intermediate_is_named_and_given_beside_the_leafs_it_is_served() {
    let offline = Offline::installed();
    offline.ca.write("chain.crt", &offline.ca.read("root.crt"));
    offline.done(&["cert", "csr", "client", "--out", offline.out("csrs").to_str().unwrap()]);
    let signed = offline.sign("csrs", "client", &[]);
    let words = offline.refused(&["cert", "install", &signed]);
    assert!(words.contains("leads to O=Example, CN=Example Issuing, which is not trusted"), "{words}");
    assert!(words.contains("give the intermediate certificates too"), "{words}");
    offline.done(&["cert", "install", &offline.ca.at("sub.crt"), &signed]);
    let served = Certificate::all_from_pem(&offline.scene.read("temporal-client.crt")).unwrap();
    assert_eq!(served[1].subject, "O=Example, CN=Example Issuing");
    assert!(served[0].not_after > clock::now());
    let token = claimed(&offline.scene.read("client-token.jwt")).unwrap();
    assert_eq!(token["cnf"]["x5t#S256"], served[0].x5t(), "the token beside it is bound to it");
}
