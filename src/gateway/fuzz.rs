//! Entrances for the targets in `fuzz/`: what reads bytes of strangers, with what must hold whatever they are.
//!
//! Compiled only under `--cfg fuzzing`, and for its own tests, so that it keeps up. A panic is a finding; so is a claim
//! below that does not hold.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use time::OffsetDateTime;

use super::{
    authenticate::{Authenticator, Presented},
    glimpse::Glimpse,
    link::Auth,
    methods::METHODS,
    namespace, operation,
    proxy::deadline,
};

/// A message that unpacks to more is not read.
const UNPACKED: usize = 64 << 10;

/// What a client says of itself in headers: `lines` are values of `authorization`, `grpc-timeout` and `traceparent` in turn.
pub struct Headers(Authenticator);

impl Headers {
    /// With the keys and names of `auth`; panics when they are not usable.
    pub fn new(auth: &Auth) -> Self {
        Self(Authenticator::new(auth, None).expect("usable keys"))
    }

    /// Reads them; whether they carry a token that passes.
    pub fn read(&self, lines: &[&[u8]], now: OffsetDateTime) -> bool {
        let names = [AUTHORIZATION.as_str(), "grpc-timeout", "traceparent"];
        let mut headers = HeaderMap::new();
        for (line, name) in lines.iter().zip(names.into_iter().cycle()) {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.append(name, value);
            }
        }
        if let Some(own) = deadline::of(&headers) {
            assert!(own.as_secs() <= 99_999_999 * 3600, "a time of more than 8 digits");
        }
        if let Some(trace) = headers.get("traceparent").and_then(operation::trace_id) {
            assert!(trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        let passed = matches!(self.0.present(&headers, now), Presented::Token(_));
        assert!(!passed || headers.get_all(AUTHORIZATION).iter().count() == 1, "passed with two tokens");
        passed
    }
}

/// A request of the method in row `row`: what is read of it whole must be what is read of it in pieces of `piece` bytes.
pub fn message(row: usize, gzip: bool, piece: usize, body: &[u8]) {
    let row = &METHODS[row % METHODS.len()];
    let whole = namespace::read(row, body, gzip, UNPACKED);
    let mut headers = HeaderMap::new();
    if gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    let Some(mut glimpse) = Glimpse::of(row, &headers) else { return };
    for part in body.chunks(piece.max(1)) {
        glimpse.pass(&Bytes::copy_from_slice(part));
    }
    if let Some(told) = glimpse.told() {
        assert_eq!(*told, whole, "read otherwise in pieces of {piece}");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::AuthMode,
        gateway::link::Revocations,
        tokens::{SigningKey, jwks},
    };

    /// What the fuzzers start from.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let seeds = fs::read_dir(folder).unwrap().map(|seed| fs::read(seed.unwrap().path()).unwrap());
        seeds.collect()
    }

    #[test]
    fn the_seeds_of_the_headers_carry_no_token_that_passes() {
        let key = SigningKey::generate().unwrap();
        let (issuer, audience) = ("temporal-warden".to_owned(), "temporal".to_owned());
        let (jwks, revocations) = (jwks([key.public()]), Revocations::default());
        let mode = AuthMode::Enforce;
        let auth = Auth {
            enabled: true,
            mode,
            issuer,
            audience,
            jwks,
            binding: false,
            revocations,
            rules: Vec::new(),
            external: None,
        };
        let headers = Headers::new(&auth);
        for seed in seeds("headers") {
            let lines: Vec<_> = seed.split(|byte| *byte == b'\n').collect();
            assert!(!headers.read(&lines, OffsetDateTime::UNIX_EPOCH));
        }
    }

    proptest! {
        #[test]
        fn a_message_is_read_alike_whole_and_in_pieces(seed in prop::sample::select(seeds("message")), row in 0usize..300, piece in 1usize..40) {
            for gzip in [false, true] {
                message(row, gzip, piece, &seed[2..]);
            }
        }
    }
}
