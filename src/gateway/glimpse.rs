//! What the record says of a request's content: looked at as it flows past, never held up for it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    methods::Method,
    namespace::{self, Reading},
};

/// A first message of more bytes than this is not looked at: half of it could say what the rest takes back.
const MOST: usize = 16 << 10;
/// A compressed one that unpacks to more is not looked at.
const MOST_UNPACKED: usize = 64 << 10;

/// Looks at the first message of one request.
#[derive(Clone)]
pub(super) struct Glimpse {
    row: &'static Method,
    gzip: bool,
    seen: Vec<u8>,
    done: bool,
    told: Arc<OnceLock<Reading>>,
}

impl Glimpse {
    /// For a call of `row`; `None` when such a request names nothing.
    pub(super) fn of(row: &'static Method, headers: &HeaderMap) -> Option<Self> {
        let gzip = headers.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip");
        let names = !(row.namespace.is_empty() && row.workflow.is_empty());
        names.then(|| Self { row, gzip, seen: Vec::new(), done: false, told: Arc::default() })
    }

    /// What was read, once the message was whole.
    pub(super) fn told(&self) -> Option<&Reading> {
        self.told.get()
    }

    /// Takes over what was read elsewhere.
    pub(super) fn tell(&mut self, reading: Reading) {
        let _ = self.told.set(reading);
        self.done = true;
    }

    /// Looks at the next bytes of the request.
    pub(super) fn pass(&mut self, data: &Bytes) {
        if self.done {
            return;
        }
        // Nearly always the first frame has the whole message: then nothing is copied.
        if self.seen.is_empty() && self.settle(data) {
            return;
        }
        self.seen.extend_from_slice(&data[..data.len().min(MOST + 1 - self.seen.len())]);
        let seen = std::mem::take(&mut self.seen);
        if !self.settle(&seen) {
            self.seen = seen;
        }
    }

    /// Whether no more is needed.
    fn settle(&mut self, bytes: &[u8]) -> bool {
        match namespace::frame_length(bytes) {
            None => {}
            Some(length) if length > MOST => self.done = true,
            Some(length) if length <= bytes.len() => {
                let _ = self.told.set(namespace::read(self.row, bytes, self.gzip, MOST_UNPACKED));
                self.done = true;
            }
            Some(_) => {}
        }
        self.done
    }
}
