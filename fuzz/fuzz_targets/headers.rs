//! `authorization`, `grpc-timeout` and `traceparent` as a stranger may write them: lines of the input are values in turn.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use temporal_warden::{
    config::AuthMode,
    gateway::{
        fuzz::Headers,
        link::{Auth, Revocations},
    },
    tokens::{SigningKey, jwks},
};
use time::macros::datetime;

static HEADERS: LazyLock<Headers> = LazyLock::new(|| {
    let key = SigningKey::generate().expect("a key");
    Headers::new(&Auth {
        enabled: true,
        mode: AuthMode::Enforce,
        issuer: "temporal-warden".to_owned(),
        audience: "temporal".to_owned(),
        jwks: jwks([key.public()]),
        binding: false,
        revocations: Revocations::default(),
        rules: Vec::new(),
        external: None,
    })
});

fuzz_target!(|data: &[u8]| {
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').collect();
    // The key was made a moment ago and signed nothing: whatever passes is forged.
    assert!(!HEADERS.read(&lines, datetime!(2026-11-25 12:00 UTC)), "a forged token passed");
});
