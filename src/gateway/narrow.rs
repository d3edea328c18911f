//! Tokens of some namespaces: the first message is read before the call goes on. Other tokens never come here.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header::AUTHORIZATION};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    authorize::Refusal,
    lookup,
    methods::Method,
    namespace,
    proxy::Upload,
    reach::{self, LARGEST, Reach, Task},
    service::Worker,
    serving::Serving,
};

/// Longest time a client may take to send its first message.
const LIMIT: Duration = Duration::from_secs(30);
/// A first message of at most this many bytes is read without asking for room.
const FREE: usize = 16 << 10;
/// KiB that all larger ones may take together.
const ROOM: usize = 64 << 10;

/// Room for messages that are read ahead, shared by all workers.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM))
}

/// A call to be narrowed.
pub(super) struct Narrow<'a> {
    pub worker: &'a Worker,
    pub serving: &'a Serving,
    pub names: &'a [String],
    pub row: Option<&'static Method>,
    pub path: &'a str,
}

impl Narrow<'_> {
    /// Passes or refuses; what was read of the request comes with either, when it could be.
    pub(super) async fn judge(&self, headers: &HeaderMap, body: &mut Upload) -> (Option<Reach>, Result<(), Refusal>) {
        match reach::needs_reading(self.names, self.row, self.path) {
            Ok(false) => return (None, Ok(())),
            Ok(true) => {}
            Err(refusal) => return (None, Err(refusal)),
        }
        let Some(row) = self.row else { return (None, Ok(())) };
        match timeout(LIMIT, self.first_message(body)).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => return (None, Err(refusal)),
            Err(_) => return (None, Err(self.limited(format_args!("no whole message came within {LIMIT:?}")))),
        }
        let gzip = headers.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip");
        match reach::read(row, body.seen(), gzip) {
            Err(why) => (None, Err(self.limited(format_args!("the request cannot be read: {why}")))),
            Ok(reach) => {
                let verdict = match reach::within(self.names, &reach) {
                    Ok(Some(task)) => self.owns(&task, headers).await,
                    Ok(None) => Ok(()),
                    Err(refusal) => Err(refusal),
                };
                (Some(reach), verdict)
            }
        }
    }

    /// Reads ahead until the first frame is whole.
    async fn first_message(&self, body: &mut Upload) -> Result<(), Refusal> {
        let mut asked = false;
        loop {
            let seen = body.seen().len();
            match namespace::frame_length(body.seen()) {
                Some(length) if length > LARGEST + namespace::PREFIX => {
                    return Err(Refusal::TooLarge { length: length - namespace::PREFIX, limit: LARGEST });
                }
                Some(length) if seen >= length => return Ok(()),
                Some(length) if length > FREE && !asked => {
                    let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
                    let room = self.worker.shared.room.clone().acquire_many_owned(kib).await;
                    body.takes(room.map_err(|_| self.limited("the gateway is stopping"))?, length);
                    asked = true;
                }
                _ => {}
            }
            match body.read_ahead().await {
                Ok(true) => {}
                Ok(false) => return Err(self.limited("the request has no whole message")),
                Err(error) => return Err(self.limited(format_args!("the request broke off: {error}"))),
            }
        }
    }

    /// Whether the task belongs to one of the names. The server goes by the id in the token, which a client can write.
    async fn owns(&self, task: &Task<'_>, headers: &HeaderMap) -> Result<(), Refusal> {
        let deadline = Instant::now() + Duration::from_millis(self.worker.shared.hello.upstream_wait_ms);
        for name in &task.names {
            let own = headers.get(AUTHORIZATION);
            match lookup::id_of(self.worker, self.serving, name, own, deadline).await {
                Ok(Some(id)) if id == task.id => return Ok(()),
                Ok(_) => {}
                Err(why) => {
                    return Err(Refusal::Unavailable(format!("the namespace of the task cannot be looked up: {why}")));
                }
            }
        }
        Err(self.limited("the task is of another namespace"))
    }

    fn limited(&self, why: impl std::fmt::Display) -> Refusal {
        reach::limited(self.names, why)
    }
}
