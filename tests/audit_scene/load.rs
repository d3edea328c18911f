//! Callers that tag each call, and know which of them was answered.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    Warden,
    gateway::{LIST, client},
};

/// What callers saw.
#[derive(Default)]
pub struct Seen {
    /// Tags of calls whose trailers arrived, allowed or denied.
    pub answered: Mutex<BTreeSet<String>>,
    /// Calls begun.
    pub begun: AtomicUsize,
    stop: AtomicBool,
}

/// Callers that run until they are told to stop.
pub struct Load {
    pub seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

/// What a caller does.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Calls one after the other, every seventh without a token.
    Honest,
    /// Cancels calls that hang, or lets the whole connection go with calls in flight.
    Fickle,
}

impl Load {
    pub fn start(warden: &Warden, manners: &[Manner]) -> Self {
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        for (number, manner) in manners.iter().enumerate() {
            let (address, certificates, seen) = (warden.address, warden.certificates(), seen.clone());
            let manner = *manner;
            tasks.spawn(async move {
                let mut round = 0;
                while !seen.stop.load(Ordering::SeqCst) {
                    round += 1;
                    let (trust, certificate, token) = &certificates;
                    let tls = client::handshake(address, trust, Some(certificate.clone()), &[b"h2"]).await;
                    let Ok(tls) = tls else {
                        sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    let Ok((send, connection)) = h2::client::handshake(tls).await else { continue };
                    let driver = tokio::spawn(connection);
                    let name = format!("{number}/{round}");
                    match manner {
                        Manner::Honest => honest(&send, &name, token, &seen).await,
                        Manner::Fickle => fickle(&send, &name, token, &seen).await,
                    }
                    driver.abort();
                }
            });
        }
        Self { seen, tasks }
    }

    pub async fn stop(&mut self) {
        self.seen.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    pub fn answered(&self) -> usize {
        self.seen.answered.lock().unwrap().len()
    }
}

type Sender = h2::client::SendRequest<bytes::Bytes>;

/// Until the connection breaks.
async fn honest(send: &Sender, name: &str, token: &str, seen: &Seen) {
    for number in 0.. {
        if seen.stop.load(Ordering::SeqCst) {
            return;
        }
        let tag = format!("{name}/{number}");
        let denied = number % 7 == 0;
        let mut headers = vec![("user-agent", tag.as_str())];
        if !denied {
            headers.push(("authorization", token));
        }
        seen.begun.fetch_add(1, Ordering::SeqCst);
        match client::call(send, LIST, &headers).await {
            Ok(reply) => {
                let status = reply.status();
                assert!(status == if denied { 16 } else { 0 } || status == 14, "{status} {}", reply.message());
                // UNAVAILABLE is also what a gateway says that can't record.
                if status != 14 || !reply.message().contains("audit log") {
                    seen.answered.lock().unwrap().insert(tag);
                }
            }
            Err(_) => return,
        }
    }
}

async fn fickle(send: &Sender, name: &str, token: &str, seen: &Seen) {
    for number in 0..20 {
        let tag = format!("{name}/{number}");
        let headers = [("user-agent", tag.as_str()), ("authorization", token), ("x-test", "hang")];
        let Ok(mut send) = send.clone().ready().await else { return };
        seen.begun.fetch_add(1, Ordering::SeqCst);
        let Ok((response, mut stream)) = send.send_request(client::request(LIST, &headers), true) else { return };
        sleep(Duration::from_millis(5)).await;
        if number % 2 == 0 {
            stream.send_reset(h2::Reason::CANCEL);
        } else {
            // Stays open; the end of the connection takes it along.
            std::mem::forget(response);
        }
    }
}
