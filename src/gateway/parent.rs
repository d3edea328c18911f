//! PID 1's end of the link: tells each gateway process what it needs, and keeps what it says.

use std::{io, os::fd::OwnedFd, os::unix::net::UnixStream as StdUnixStream, time::Duration};

use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};

use super::{
    clients::MOST,
    link::{Client, FromGateway, Health, Hello, KeysKept, Material, Phase, Served, Snapshot, ToGateway, receive, send},
};
use crate::secret::Secret;

/// A gateway that does not read its link for this long is as good as dead; its supervisor finds that out.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// What a gateway said of a version of the material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It serves.
    Switched(u64),
    /// It was refused, and why.
    Refused(u64, String),
}

/// The handle: what PID 1 wants the gateway to know, and what it heard.
#[derive(Debug, Clone)]
pub struct Parent {
    material: watch::Sender<Option<Material>>,
    phase: watch::Sender<Phase>,
    snapshot: watch::Sender<Snapshot>,
    health: watch::Sender<Health>,
    heard: watch::Sender<()>,
    answer: watch::Sender<Option<Answer>>,
    question: watch::Sender<Option<(u64, Secret<String>)>>,
    tried: watch::Sender<Option<(u64, Option<String>)>>,
    look: watch::Sender<Option<(u64, String)>>,
    looked: watch::Sender<Option<(u64, Result<Served, String>)>>,
    clients: watch::Sender<Vec<Client>>,
    keys: watch::Sender<Option<KeysKept>>,
    sockets: mpsc::UnboundedSender<StdUnixStream>,
    drain: watch::Sender<bool>,
}

impl Parent {
    /// The handle, and the loop that the caller spawns on PID 1's runtime.
    ///
    /// `hello` is made anew for each gateway process, for the audit chain goes on where the one before ended.
    pub fn new(hello: impl Fn() -> Hello) -> (Self, impl Future<Output = ()>) {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let parent = Self {
            material: watch::Sender::new(None),
            phase: watch::Sender::new(Phase::Starting { doing: "starting".into() }),
            snapshot: watch::Sender::new(Snapshot::default()),
            health: watch::Sender::new(Health::default()),
            heard: watch::Sender::new(()),
            answer: watch::Sender::new(None),
            question: watch::Sender::new(None),
            tried: watch::Sender::new(None),
            look: watch::Sender::new(None),
            looked: watch::Sender::new(None),
            clients: watch::Sender::new(Vec::new()),
            keys: watch::Sender::new(None),
            sockets,
            drain: watch::Sender::new(false),
        };
        let serve = serve(parent.clone(), hello, incoming);
        (parent, serve)
    }

    /// The gateway's end of a new socket pair, for a process about to start; ours is served from now on.
    pub fn new_end(&self) -> io::Result<OwnedFd> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        self.sockets.send(ours).map_err(|_| io::Error::other("the link's loop has ended"))?;
        Ok(theirs.into())
    }

    /// Gives new material its version, sends it, and waits up to `limit` for the gateway's answer.
    pub async fn publish(&self, mut material: Material, limit: Duration) -> Option<Answer> {
        let version = self.material.borrow().as_ref().map_or(1, |m| m.version + 1);
        material.version = version;
        let mut answers = self.answer.subscribe();
        self.material.send_replace(Some(material));
        let ours = |a: &Option<Answer>| matches!(a, Some(Answer::Switched(v) | Answer::Refused(v, _)) if *v >= version);
        let found = timeout(limit, answers.wait_for(ours)).await.ok()?.ok()?;
        found.clone()
    }

    /// Has the gateway ask the upstream with `token`; why that was refused, or was not possible within `limit`.
    pub async fn attempt(&self, token: Secret<String>, limit: Duration) -> Result<(), String> {
        let id = self.question.borrow().as_ref().map_or(1, |(id, _)| id + 1);
        let mut tried = self.tried.subscribe();
        self.question.send_replace(Some((id, token)));
        let ours = |t: &Option<(u64, Option<String>)>| t.as_ref().is_some_and(|(of, _)| *of == id);
        let found = match timeout(limit, tried.wait_for(ours)).await {
            Ok(Ok(found)) => found.clone(),
            _ => return Err(format!("the gateway did not answer within {limit:?}")),
        };
        found.and_then(|(_, failure)| failure).map_or(Ok(()), Err)
    }

    /// Has the gateway ask the PostgreSQL at `address` which certificate it serves. One question at a time: a second
    /// one takes the place of the first.
    pub async fn served_by(&self, address: String, limit: Duration) -> Result<Served, String> {
        let id = self.look.borrow().as_ref().map_or(1, |(id, _)| id + 1);
        let mut looked = self.looked.subscribe();
        self.look.send_replace(Some((id, address)));
        let ours = |l: &Option<(u64, Result<Served, String>)>| l.as_ref().is_some_and(|(of, _)| *of == id);
        let found = match timeout(limit, looked.wait_for(ours)).await {
            Ok(Ok(found)) => found.clone(),
            _ => None,
        };
        found.map_or_else(|| Err(format!("the gateway did not answer within {limit:?}")), |(_, served)| served)
    }

    /// The gateway's word on the newest material, if it has said one.
    pub fn answered(&self) -> Option<Answer> {
        let newest = self.material.borrow().as_ref().map(|material| material.version)?;
        let answer = self.answer.borrow().clone();
        answer.filter(|answer| matches!(answer, Answer::Switched(of) | Answer::Refused(of, _) if *of == newest))
    }

    /// Wakes at each such word.
    pub fn answers(&self) -> watch::Receiver<Option<Answer>> {
        self.answer.subscribe()
    }

    /// Who connects, and who did since PID 1 started, by which certificate.
    pub fn clients(&self) -> Vec<Client> {
        self.clients.borrow().clone()
    }

    /// The keys of the external issuer that a gateway fetched last, as they came.
    pub fn keys(&self) -> Option<KeysKept> {
        self.keys.borrow().clone()
    }

    /// Puts material in place for the first gateway process, without waiting for one.
    pub fn prepare(&self, mut material: Material) {
        material.version = 1;
        self.material.send_replace(Some(material));
    }

    /// Tells where the start is.
    pub fn phase(&self, phase: Phase) {
        self.phase.send_if_modified(|old| {
            let changed = *old != phase;
            *old = phase;
            changed
        });
    }

    /// Tells what the metrics show of PID 1.
    pub fn snapshot(&self, snapshot: Snapshot) {
        self.snapshot.send_if_modified(|old| {
            let changed = *old != snapshot;
            *old = snapshot;
            changed
        });
    }

    /// Where the start is.
    pub fn current_phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Asks the gateway to finish.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Wakes at each word of a gateway; one that is well says something every [`Hello::health_interval_ms`].
    pub fn heard(&self) -> watch::Receiver<()> {
        self.heard.subscribe()
    }

    /// What the gateway last said of itself, and a way to wait for more.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

/// Serves one gateway process after the other.
async fn serve(parent: Parent, hello: impl Fn() -> Hello, mut incoming: mpsc::UnboundedReceiver<StdUnixStream>) {
    while let Some(socket) = incoming.recv().await {
        if let Err(error) = converse(&parent, Hello { keys_kept: parent.keys().map(Box::new), ..hello() }, socket).await
        {
            info!("the link to the gateway ended: {error}");
        }
        parent.health.send_replace(Health { reason: "the gateway is not running".into(), ..Health::default() });
        parent.clients.send_modify(|rows| rows.iter_mut().for_each(|row| row.open = 0));
    }
}

/// One gateway process: everything it must know first, then changes, until it goes.
async fn converse(parent: &Parent, hello: Hello, socket: StdUnixStream) -> io::Result<()> {
    let (mut reading, mut writing) = UnixStream::from_std(socket)?.into_split();
    let mut material = parent.material.subscribe();
    let mut phase = parent.phase.subscribe();
    let mut snapshot = parent.snapshot.subscribe();
    let mut drain = parent.drain.subscribe();
    let mut question = parent.question.subscribe();
    let mut look = parent.look.subscribe();
    look.mark_unchanged();
    tell(&mut writing, &ToGateway::Hello(hello)).await?;
    tell_material(&mut writing, &mut material).await?;
    tell_phase(&mut writing, &mut phase).await?;
    tell_snapshot(&mut writing, &mut snapshot).await?;
    let listen = async { listen(parent, &mut reading).await };
    tokio::pin!(listen);
    loop {
        tokio::select! {
            ended = &mut listen => return ended,
            Ok(()) = material.changed() => tell_material(&mut writing, &mut material).await?,
            Ok(()) = phase.changed() => tell_phase(&mut writing, &mut phase).await?,
            Ok(()) = snapshot.changed() => tell_snapshot(&mut writing, &mut snapshot).await?,
            Ok(()) = question.changed() => tell_question(&mut writing, &mut question).await?,
            Ok(()) = look.changed() => tell_look(&mut writing, &mut look).await?,
            Ok(()) = drain.changed() => tell(&mut writing, &ToGateway::Drain).await?,
        }
    }
}

/// Hears the gateway out; apart from telling, so that no frame is ever cut by the other arm of a `select!`.
async fn listen(parent: &Parent, from: &mut OwnedReadHalf) -> io::Result<()> {
    while let Some(said) = receive(from).await? {
        hear(parent, said);
    }
    Ok(())
}

fn hear(parent: &Parent, said: FromGateway) {
    parent.heard.send_replace(());
    match said {
        FromGateway::Switched { version } => {
            parent.answer.send_replace(Some(Answer::Switched(version)));
        }
        FromGateway::Refused { version, reason } => {
            warn!("the gateway refused new material and keeps the old: {reason}");
            parent.answer.send_replace(Some(Answer::Refused(version, reason)));
        }
        FromGateway::Tried { id, failure } => {
            parent.tried.send_replace(Some((id, failure)));
        }
        FromGateway::Looked { id, served } => {
            parent.looked.send_replace(Some((id, served)));
        }
        FromGateway::Keys(kept) => drop(parent.keys.send_replace(Some(kept))),
        FromGateway::Clients { rows } => parent.clients.send_modify(|known| *known = merged(rows, known)),
        FromGateway::Health(health) => {
            parent.health.send_if_modified(|old| {
                let changed = *old != health;
                *old = health;
                changed
            });
        }
    }
}

/// What a gateway process says, and what those before it said of others; the latest, as many as a gateway keeps.
fn merged(mut rows: Vec<Client>, known: &[Client]) -> Vec<Client> {
    let is = |a: &Client, b: &Client| (&a.sha256, a.address) == (&b.sha256, b.address);
    let gone: Vec<_> = known.iter().filter(|old| !rows.iter().any(|row| is(row, old))).cloned().collect();
    rows.extend(gone.into_iter().map(|old| Client { open: 0, ..old }));
    rows.sort_by_key(|row| std::cmp::Reverse((row.open > 0, row.seen_ms)));
    rows.truncate(MOST);
    rows
}

async fn tell_material(to: &mut OwnedWriteHalf, material: &mut watch::Receiver<Option<Material>>) -> io::Result<()> {
    let now = material.borrow_and_update().clone();
    match now {
        Some(material) => tell(to, &ToGateway::Material(Box::new(material))).await,
        None => Ok(()),
    }
}

async fn tell_question(
    to: &mut OwnedWriteHalf,
    question: &mut watch::Receiver<Option<(u64, Secret<String>)>>,
) -> io::Result<()> {
    let now = question.borrow_and_update().clone();
    match now {
        Some((id, token)) => tell(to, &ToGateway::Try { id, token }).await,
        None => Ok(()),
    }
}

async fn tell_look(to: &mut OwnedWriteHalf, look: &mut watch::Receiver<Option<(u64, String)>>) -> io::Result<()> {
    let now = look.borrow_and_update().clone();
    match now {
        Some((id, address)) => tell(to, &ToGateway::Look { id, address }).await,
        None => Ok(()),
    }
}

async fn tell_phase(to: &mut OwnedWriteHalf, phase: &mut watch::Receiver<Phase>) -> io::Result<()> {
    let now = phase.borrow_and_update().clone();
    tell(to, &ToGateway::Phase(now)).await
}

async fn tell_snapshot(to: &mut OwnedWriteHalf, snapshot: &mut watch::Receiver<Snapshot>) -> io::Result<()> {
    let now = snapshot.borrow_and_update().clone();
    tell(to, &ToGateway::Snapshot(now)).await
}

async fn tell(to: &mut OwnedWriteHalf, message: &ToGateway) -> io::Result<()> {
    match timeout(SEND_LIMIT, send(to, message)).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("the gateway read nothing for {SEND_LIMIT:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sha256: &str, open: u32, seen_ms: i64) -> Client {
        let text = || String::new();
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        Client { sha256: sha256.to_owned(), serial: text(), subject: text(), issuer: text(), address, open, seen_ms }
    }

    #[test]
    fn who_was_here_before_a_gateway_restart_is_not_forgotten_and_not_counted_as_here() {
        let known = [row("a", 2, 1), row("b", 1, 2)];
        let now = merged(vec![row("b", 3, 9)], &known);
        assert_eq!(now, [row("b", 3, 9), row("a", 0, 1)]);
        let many: Vec<_> = (0..2 * MOST).map(|n| row(&n.to_string(), 0, n as i64)).collect();
        let kept = merged(vec![row("here", 1, 0)], &many);
        assert_eq!((kept.len(), kept[0].sha256.as_str(), kept[1].seen_ms), (MOST, "here", 2 * MOST as i64 - 1));
    }
}
