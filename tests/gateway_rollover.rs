//! A CA rollover under the running gateway: clients of yesterday and of tomorrow, our own and openssl's.

#[path = "gateway/mod.rs"]
mod gateway;
mod material_scene;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;
use gateway::{Gateway, LIST, client};
use h2::client::SendRequest;
use material_scene::Scene;
use temporal_warden::{
    gateway::link::{Material, ServerTls},
    pki::Certificate,
    rotation::{Live, Pair, Request},
};
use time::OffsetDateTime;

/// A client: whom it trusts and what it presents.
struct Client {
    trust: String,
    pair: Pair,
}

impl Client {
    /// As an application has it from its bundle, but trusting the first CA of `ca.crt` alone.
    fn of(live: &Live) -> Self {
        let trust = Certificate::all_from_pem(&live.trust_pem).unwrap()[0].to_pem();
        Self { trust, pair: live.client.clone().unwrap() }
    }

    async fn connect(&self, gateway: &Gateway) -> std::io::Result<SendRequest<Bytes>> {
        let pair = (self.pair.chain_pem.clone(), self.pair.key_pem.expose().clone());
        let tls = client::handshake(gateway.address, &self.trust, Some(pair), &[b"h2"]).await?;
        Ok(client::h2_over(tls).await)
    }

    /// Whether a call on a new connection is served.
    async fn is_served(&self, gateway: &Gateway) -> bool {
        let Ok(send) = self.connect(gateway).await else { return false };
        let token = client::bearer(&gateway.token("temporal-client"));
        client::call(&send, LIST, &[("authorization", &token)]).await.is_ok_and(|reply| reply.status() == 0)
    }

    /// Both ends verified by openssl's strict rules; TLS 1.2, where a handshake is not over before the server has
    /// judged the client's certificate.
    fn openssl_connects(&self, address: SocketAddr, folder: &Path) -> bool {
        let key = self.pair.key_pem.expose();
        let [trust, chain, key] =
            [("trust", &self.trust), ("chain", &self.pair.chain_pem), ("key", key)].map(|(n, text)| {
                let path = folder.join(n);
                fs::write(&path, text).unwrap();
                path
            });
        let output = Command::new("openssl")
            .args(["s_client", "-tls1_2", "-x509_strict", "-verify_return_error", "-verify_hostname", "localhost"])
            .args(["-servername", "localhost", "-alpn", "h2", "-connect", &address.to_string(), "-CAfile"])
            .arg(trust)
            .arg("-cert")
            .arg(&chain)
            .arg("-cert_chain")
            .arg(&chain)
            .arg("-key")
            .arg(key)
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success() && said.contains("Verify return code: 0 (ok)")
    }
}

async fn serve(gateway: &mut Gateway, live: &Live) {
    let tls = ServerTls {
        chain_pem: live.server.chain_pem.clone(),
        key_pem: live.server.key_pem.clone(),
        trust_pem: live.trust_pem.clone(),
    };
    let material = Material { tls: Some(tls), ..gateway.next_version() };
    gateway.material = material.clone();
    gateway.switch(material).await.unwrap();
}

#[tokio::test]
async fn clients_of_the_old_ca_and_of_the_new_one_connect_until_the_old_one_is_retired() {
    let scene = Scene { now: OffsetDateTime::now_utc(), ..Scene::new() };
    let scratch = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start().await;
    let (live, _) = scene.start();
    serve(&mut gateway, &live).await;
    let old = Client::of(&live);
    let open = old.connect(&gateway).await.unwrap();

    let (live, _) = scene.apply(Request::RotateCa { keep_keys: false }).unwrap();
    let new = Client::of(&live);
    assert!(!new.is_served(&gateway).await, "before the switch the gateway does not know the new CA's clients");
    serve(&mut gateway, &live).await;
    assert_ne!(old.trust, new.trust);
    let mixed = [
        ("old trust, old certificate", &old.trust, &old.pair),
        ("new trust, new certificate", &new.trust, &new.pair),
        ("old trust, new certificate", &old.trust, &new.pair),
        ("new trust, old certificate", &new.trust, &old.pair),
    ];
    for (name, trust, pair) in mixed {
        let client = Client { trust: trust.clone(), pair: pair.clone() };
        assert!(client.is_served(&gateway).await, "{name}");
        assert!(client.openssl_connects(gateway.address, scratch.path()), "{name}, by openssl");
    }
    let token = client::bearer(&gateway.token("temporal-client"));
    assert_eq!(client::call(&open, LIST, &[("authorization", &token)]).await.unwrap().status(), 0, "still open");
    let lasting = new.connect(&gateway).await.unwrap();

    let (live, _) = scene.apply(Request::RetireCa).unwrap();
    serve(&mut gateway, &live).await;
    gateway.ended(&open).await;
    assert!(!old.is_served(&gateway).await && !old.openssl_connects(gateway.address, scratch.path()));
    assert!(new.is_served(&gateway).await && new.openssl_connects(gateway.address, scratch.path()));
    assert_eq!(client::call(&lasting, LIST, &[("authorization", &token)]).await.unwrap().status(), 0);
}
