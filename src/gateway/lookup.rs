//! Ids of namespaces, asked of Temporal and remembered for a while: task tokens have the id only.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header::AUTHORIZATION};
use tokio::time::{Instant, timeout_at};

use super::{
    health_service::framed,
    namespace::PREFIX,
    reply::status,
    service::Worker,
    serving::Serving,
    upstream::{Lease, Pool, own},
    wire,
};
use crate::clock;

/// How long an answer is believed: a name gets another id only when its namespace is deleted and made again.
const BELIEVED: Duration = Duration::from_secs(30);
/// Most names remembered; they come from tokens, so there are few.
const MOST: usize = 1000;
/// The id in the answer: `namespace_info.id`.
const ID: &[u32] = &[1, 6];

/// Ids by name.
#[derive(Default)]
pub(super) struct Ids {
    known: Mutex<HashMap<String, (Instant, String)>>,
}

impl Ids {
    fn get(&self, name: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, id)| id.clone())
    }

    fn put(&self, name: &str, id: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(name.to_owned(), (Instant::now(), id.to_owned()));
    }
}

/// The id of the namespace `name`, `None` when there is none. Asked with the gateway's own key, or, where there is none, with the caller's token.
pub(super) async fn id_of(
    worker: &Worker,
    serving: &Serving,
    name: &str,
    caller: Option<&HeaderValue>,
    deadline: Instant,
) -> Result<Option<String>, String> {
    if let Some(known) = worker.shared.ids.get(name) {
        return Ok(Some(known));
    }
    let signer = serving.signer.as_ref();
    let own = signer.and_then(|s| s.bearer("temporal-warden", "temporal-system:read", clock::now()));
    let token = own.or_else(|| caller.cloned());
    let asked = timeout_at(deadline, ask(&worker.pool, serving, name, token, deadline));
    let id = asked.await.map_err(|_| "no answer in time".to_owned())??;
    if let Some(id) = &id {
        worker.shared.ids.put(name, id);
    }
    Ok(id)
}

async fn ask(
    pool: &std::sync::Arc<Pool>,
    serving: &Serving,
    name: &str,
    token: Option<HeaderValue>,
    deadline: Instant,
) -> Result<Option<String>, String> {
    let mut lease = pool.acquire(&serving.connector, deadline).await.map_err(|e| e.to_string())?;
    let mut request = own::request(&lease.connector, "DescribeNamespace");
    request.headers_mut().extend(token.map(|token| (AUTHORIZATION, token)));
    let answer = describe(&mut lease, request, name).await.map_err(|e| e.to_string())?;
    match answer {
        (status::OK, _, body) => {
            let message = body.get(PREFIX..).filter(|_| body[0] == 0).ok_or("an answer that cannot be read")?;
            let id = wire::text(message, ID).map_err(|malformed| malformed.to_string())?;
            Ok(Some(id).filter(|id| !id.is_empty()))
        }
        (status::NOT_FOUND, ..) => Ok(None),
        (code, message, _) => Err(format!("DescribeNamespace: status {code} {message}")),
    }
}

async fn describe(
    lease: &mut Lease,
    request: http::Request<()>,
    name: &str,
) -> Result<(u32, String, Bytes), h2::Error> {
    let mut message = vec![0x0a];
    let mut length = name.len();
    while length > 127 {
        message.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(name.as_bytes());
    own::unary(&mut lease.send, request, framed(&message)).await
}
