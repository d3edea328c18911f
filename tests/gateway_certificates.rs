//! Client certificates that must never get in, against the running gateway.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{collections::BTreeSet, io};

use gateway::{
    Gateway, LIST, Options,
    certs::{Ca, Client},
    client,
    hostile::{END_HEADERS, GOAWAY, HEADERS, Hostile, RST_STREAM, frame, head},
};
use rcgen::ExtendedKeyUsagePurpose;
use time::{Duration, OffsetDateTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The handshake's outcome as the client sees it: with TLS 1.3 the server's verdict comes with the first read.
async fn attempt(gateway: &Gateway, certificate: Option<(String, String)>) -> io::Result<()> {
    let mut tls = gateway.tls(certificate, &[b"h2"]).await?;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    match tls.read(&mut [0; 9]).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn only_a_valid_client_certificate_of_a_trusted_ca_gets_in() {
    let mut gateway = Gateway::start().await;
    let expired = Client { not_after: OffsetDateTime::now_utc() - Duration::minutes(1), ..Client::default() };
    let server = Client { purpose: ExtendedKeyUsagePurpose::ServerAuth, ..Client::default() };
    let attacks = [
        ("none", None),
        ("another CA of the same name", Some(Ca::new().client(Client::default()))),
        ("expired", Some(gateway.ca.client(expired))),
        ("serverAuth only", Some(gateway.ca.client(server))),
    ];
    let count = attacks.len();
    for (name, certificate) in attacks {
        assert!(attempt(&gateway, certificate).await.is_err(), "{name}");
    }
    let send = gateway.connect().await;
    assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    drop(send);
    gateway.drain().await;
    let failed: Vec<_> = gateway.records().into_iter().filter(|record| record["service"] == "tls").collect();
    assert_eq!(failed.len(), count, "{failed:?}");
    assert!(failed.iter().all(|record| record["decision"] == "deny" && record["reason"].is_string()));
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_open_connection_ends() {
    let mut gateway = Gateway::start().await;
    let revoked = gateway.connect_as(Client { serial: 0xdead, ..Client::default() }).await;
    let other = gateway.connect().await;
    assert_eq!(gateway.call(&revoked, LIST, "temporal-client").await.status(), 0);
    let mut material = gateway.next_version();
    material.auth.revocations.serials = BTreeSet::from(["dead".to_owned()]);
    gateway.switch(material).await.unwrap();
    let token = client::bearer(&gateway.token("temporal-client"));
    let refused = client::call(&revoked, LIST, &[("authorization", &token)]).await;
    assert!(refused.is_err(), "served, or answered with a status that is final");
    gateway.ended(&revoked).await;
    assert!(attempt(&gateway, Some(gateway.ca.client(Client { serial: 0xdead, ..Client::default() }))).await.is_err());
    assert_eq!(gateway.call(&other, LIST, "temporal-client").await.status(), 0);
}

/// gRPC sends a call again that was refused unread, but on the connection it has: that one must be known to end.
#[tokio::test]
async fn a_call_with_a_revoked_certificate_is_refused_unread_after_the_goaway() {
    let mut gateway = Gateway::start().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let call = |stream| frame(HEADERS, END_HEADERS, stream, &head(&token, ""));
    let mut hostile = Hostile::connect_as(&gateway, Client { serial: 0xdead, ..Client::default() }, &[]).await;
    let mut material = gateway.next_version();
    material.auth.revocations.serials = BTreeSet::from(["dead".to_owned()]);
    gateway.switch(material).await.unwrap();
    // As no GOAWAY is acknowledged here, calls are taken until the connection is cut.
    hostile.send(&call(1)).await;
    let frames = hostile.until_closed().await;
    let at = |kind| frames.iter().position(|(is, _)| *is == kind).expect("no such frame");
    let refused = [0, 0, 0, 7];
    assert_eq!(frames[at(RST_STREAM)].1, refused, "{frames:?}");
    assert!(at(GOAWAY) < at(RST_STREAM), "{frames:?}");
    gateway.drain().await;
    let record = gateway.records().into_iter().find(|record| record["decision"] == "deny").unwrap();
    assert_eq!(record["reason"], "the client certificate was revoked");
}

#[tokio::test]
async fn a_removed_ca_ends_its_connections_and_an_added_one_ends_none() {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let new = Ca::new();
    let mut material = gateway.next_version();
    let tls = material.tls.as_mut().unwrap();
    tls.trust_pem = format!("{}{}", new.pem(), gateway.ca.pem());
    gateway.switch(material.clone()).await.unwrap();
    assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    assert!(attempt(&gateway, Some(new.client(Client::default()))).await.is_ok());
    material.version += 1;
    material.tls.as_mut().unwrap().trust_pem = new.pem();
    gateway.switch(material).await.unwrap();
    gateway.ended(&send).await;
    assert!(attempt(&gateway, Some(gateway.ca.client(Client::default()))).await.is_err());
}

#[tokio::test]
async fn material_that_cannot_be_used_is_refused_and_the_old_goes_on() {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let mut material = gateway.next_version();
    material.tls.as_mut().unwrap().key_pem = gateway.ca.server().1.into();
    let reason = gateway.switch(material).await.unwrap_err();
    assert!(reason.contains("the server certificate with its key"), "{reason}");
    let mut material = gateway.next_version();
    material.auth.jwks = r#"{"keys":[]}"#.to_owned();
    assert!(gateway.switch(material).await.unwrap_err().contains("JWKS"));
    assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    assert_eq!(gateway.call(&gateway.connect().await, LIST, "temporal-client").await.status(), 0);
}

#[tokio::test]
async fn with_tls_off_the_port_speaks_h2c_and_http1() {
    let gateway = Gateway::with(Options { tls: false, ..Options::default() }).await;
    let send = client::h2_over(TcpStream::connect(gateway.address).await.unwrap()).await;
    assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    assert_eq!(client::call(&send, LIST, &[]).await.unwrap().status(), 16);
    let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
    tcp.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("TEMPORAL_TLS_ENABLED=false"), "{answer}");
}
