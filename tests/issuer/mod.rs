//! An issuer of tokens as others run one: keys of every kind, and a small server that gives them out.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use aws_lc_rs::{encoding::AsDer, rsa};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::KeyPair;
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs as provider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use time::OffsetDateTime;

pub const AUDIENCE: &str = "temporal-people";

/// A signing key of the issuer's.
pub struct Key {
    pub kid: String,
    pub algorithm: Algorithm,
    pub encoding: EncodingKey,
    pub jwk: Value,
}

impl Key {
    pub fn new(kid: &str, algorithm: Algorithm) -> Self {
        let pem = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => rsa_pem(),
            Algorithm::ES256 => KeyPair::generate().unwrap().serialize_pem(),
            Algorithm::ES384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem(),
            Algorithm::EdDSA => KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem(),
            other => panic!("{other:?}"),
        };
        let encoding = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::EdDSA => Ok(EncodingKey::from_ed_der(&KeyPair::from_pem(&pem).unwrap().serialize_der())),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        let encoding = encoding.unwrap();
        let mut jwk = match algorithm {
            Algorithm::EdDSA => {
                let public = KeyPair::from_pem(&pem).unwrap().public_key_raw().to_vec();
                json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public) })
            }
            _ => json!(Jwk::from_encoding_key(&encoding, algorithm).unwrap()),
        };
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        Self { kid: kid.to_owned(), algorithm, encoding, jwk }
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(|_| {}, claims)
    }

    /// With another header.
    pub fn sign_as(&self, change: impl FnOnce(&mut Header), claims: &Value) -> String {
        let mut header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        change(&mut header);
        jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
    }
}

fn rsa_pem() -> String {
    let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
}

pub fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() }).to_string()
}

/// What a person's token says.
pub fn claims(issuer: &str, groups: &[&str]) -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({
        "iss": issuer, "aud": [AUDIENCE, "account"], "sub": "7d1f-ada", "email": "ada@example.com", "iat": now,
        "exp": now + 600, "jti": "theirs-1", "groups": groups,
    })
}

/// The server.
pub struct Issuer {
    pub address: SocketAddr,
    pub document: Arc<Mutex<String>>,
    pub up: Arc<AtomicBool>,
    pub asked: Arc<AtomicUsize>,
    scheme: &'static str,
}

impl Issuer {
    pub fn start(document: String) -> Self {
        Self::with(document, None)
    }

    /// Over TLS with this chain and key.
    pub fn with(document: String, tls: Option<(String, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = Self {
            address: listener.local_addr().unwrap(),
            document: Arc::new(Mutex::new(document)),
            up: Arc::new(AtomicBool::new(true)),
            asked: Arc::default(),
            scheme: if tls.is_some() { "https" } else { "http" },
        };
        let config = tls.map(|(chain, key)| Arc::new(server_side(&chain, &key)));
        let (document, up, asked) = (issuer.document.clone(), issuer.up.clone(), issuer.asked.clone());
        let url = issuer.url();
        thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                asked.fetch_add(1, Ordering::SeqCst);
                if !up.load(Ordering::SeqCst) {
                    continue;
                }
                let (document, url, config) = (document.lock().unwrap().clone(), url.clone(), config.clone());
                thread::spawn(move || {
                    tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    match config {
                        None => answer(tcp, &url, &document),
                        Some(config) => {
                            let tls = ServerConnection::new(config).unwrap();
                            answer(StreamOwned::new(tls, tcp), &url, &document);
                        }
                    }
                });
            }
        });
        issuer
    }

    pub fn url(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    pub fn gives(&self, document: String) {
        *self.document.lock().unwrap() = document;
    }

    pub fn is_up(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn server_side(chain: &str, key: &str) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// A document that is no JWKS goes out as a whole answer of its own.
fn answer(mut stream: impl std::io::Read + Write, url: &str, document: &str) {
    let mut head = String::new();
    let mut reader = BufReader::new(&mut stream);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let body = match head.split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => {
            json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string()
        }
        _ => document.to_owned(),
    };
    let whole = match document.starts_with("HTTP/") {
        true => document.to_owned(),
        false => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    };
    let _ = stream.write_all(whole.as_bytes());
    let _ = stream.flush();
}

/// Whether anything listens; for tests that need a port where nothing does.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(TcpStream::connect(address).is_err());
    address
}
