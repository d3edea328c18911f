//! The gateway process: takes what PID 1 hands over, swaps material, reports health, drains.

mod start;

use std::{io, process::ExitCode, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use self::start::{StopSignal, start};
use super::{
    audit::{Recorder, Settings, receive_files},
    beats,
    clients::Clients,
    descriptors::Descriptors,
    health::Parts,
    issuer::{self, Issuer, News},
    knocks::{self, Knocks},
    link::{self, FromGateway, Hello, Material, Phase, Snapshot, ToGateway},
    listener::{Workers, accept},
    lookup::Ids,
    metrics, narrow, probe, served,
    serving::{Places, Serving, Shared},
    upstream::Pool,
};
use crate::{clock, secret::Secret, telemetry};

/// How long the audit log may take to be flushed when PID 1 is gone.
const FLUSH: Duration = Duration::from_secs(2);

/// How long beyond the drain's limit a worker may take to end; one that hangs never does.
const STUCK: Duration = Duration::from_secs(2);

/// Why the gateway ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("gateway: {0}")]
    Start(#[source] io::Error),
    #[error("gateway: {what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("gateway: PID 1 closed the link before it said {0}")]
    Silent(&'static str),
    #[error("gateway: PID 1 is gone")]
    Orphaned,
    #[error("gateway: a worker did not end within {0:?}: leaving without it, its calls are cut off")]
    Stuck(Duration),
    #[error("gateway: expected {expected} on the link")]
    Protocol { expected: &'static str },
}

/// Runs the hidden sub-command `gateway` to its end: exit code 0 after a drain, 1 for everything else.
///
/// To be called before any thread exists and before any descriptor is opened.
pub fn run() -> ExitCode {
    let ended = start().and_then(|start| start.runtime.block_on(serve(start.descriptors, start.signals, start.hello)));
    if let Err(error) = &ended {
        match telemetry::is_up() {
            true => tracing::error!("{error}"),
            false => eprintln!("{error}"),
        }
    }
    telemetry::flush(FLUSH);
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn serve(descriptors: Descriptors, signals: StopSignal, hello: Hello) -> Result<(), Error> {
    let io = |what| move |source| Error::Io { what, source };
    descriptors.link.set_nonblocking(true).map_err(io("the link to PID 1"))?;
    let (mut from, mut to) = UnixStream::from_std(descriptors.link).map_err(io("the link to PID 1"))?.into_split();
    let mut phase = Phase::Starting { doing: "starting".to_owned() };
    let Some(serving) = first_material(&mut from, &mut to, &hello, &mut phase).await? else { return Ok(()) };
    let settings = Settings {
        sync: hello.audit_sync,
        fail: hello.audit_fail,
        stdout: hello.audit_stdout,
        last: hello.audit_last.clone(),
    };
    let recorder = Recorder::start(descriptors.audit, settings).map_err(io("the audit writer"))?;
    if let Some(files) = descriptors.audit_files {
        receive_files(files, recorder.clone()).map_err(io("the next audit files"))?;
    }
    let (control, shared) = Control::new(hello, serving, recorder, phase, to);
    let workers = Workers::start(&shared).map_err(io("the workers"))?;
    let mut acceptors = vec![tokio::spawn(accept(descriptors.listen, false, shared.clone(), workers.queues()))];
    if let Some(plaintext) = descriptors.plaintext.filter(|_| shared.hello.plaintext) {
        acceptors.push(tokio::spawn(accept(plaintext, true, shared.clone(), workers.queues())));
    }
    if let Some(door) = descriptors.metrics.filter(|_| shared.hello.metrics) {
        metrics::open(door, shared.clone()).map_err(io("the metrics"))?;
    }
    let acceptors = acceptors.iter().map(|task| task.abort_handle()).collect();
    let probes = tokio::spawn(probes(shared.clone(), control.health.clone()));
    tokio::spawn(knocks::attend(shared.clone()));
    let ended = control.run(from, signals, acceptors, workers).await;
    probes.abort();
    if ended.is_err() {
        // Without PID 1 there is no one to wait for, but what was answered is put on record.
        let _ = timeout(FLUSH, shared.recorder.close()).await;
    }
    ended
}

/// The first material that can be used; `None` when PID 1 wants a stop before there was one.
async fn first_material(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    hello: &Hello,
    phase: &mut Phase,
) -> Result<Option<Serving>, Error> {
    loop {
        match link::receive(from).await.map_err(|source| Error::Io { what: "reading Material", source })? {
            Some(ToGateway::Material(material)) => match build(&material, (None, None), hello, to).await? {
                Some(serving) => return Ok(Some(serving)),
                None => continue,
            },
            Some(ToGateway::Phase(new)) => *phase = new,
            // PID 1 sends it after the material.
            Some(ToGateway::Snapshot(_)) => {}
            // Without material there is no upstream to ask; PID 1 asks again.
            Some(ToGateway::Try { .. } | ToGateway::Look { .. }) => {}
            Some(ToGateway::Drain) => return Ok(None),
            Some(ToGateway::Hello(_)) => return Err(Error::Protocol { expected: "Material" }),
            None => return Err(Error::Silent("Material")),
        }
    }
}

/// Builds a version and refuses it in words when it can't be used. Accepting is said after the switch.
async fn build(
    material: &Material,
    (before, issuer): (Option<&Serving>, Option<&Issuer>),
    hello: &Hello,
    to: &mut OwnedWriteHalf,
) -> Result<Option<Serving>, Error> {
    match Serving::new(material, hello.engine, before, issuer) {
        Ok(serving) => Ok(Some(serving)),
        Err(reason) => {
            tracing::error!(version = material.version, reason, "material refused");
            tell(to, &FromGateway::Refused { version: material.version, reason }).await.map(|()| None)
        }
    }
}

async fn tell(to: &mut OwnedWriteHalf, message: &FromGateway) -> Result<(), Error> {
    link::send(to, message).await.map_err(|_| Error::Orphaned)
}

/// The control loop's own ends of what the workers share.
struct Control {
    shared: Arc<Shared>,
    to: OwnedWriteHalf,
    version: watch::Sender<u64>,
    health: Arc<watch::Sender<Parts>>,
    snapshot: watch::Sender<Snapshot>,
    draining: watch::Sender<bool>,
}

impl Control {
    fn new(
        hello: Hello,
        serving: Serving,
        recorder: Recorder,
        phase: Phase,
        to: OwnedWriteHalf,
    ) -> (Self, Arc<Shared>) {
        let (version_sender, version) = watch::channel(serving.version);
        let (health_sender, health) = watch::channel(Parts { phase, ..Parts::unknown(hello.audit_fail) });
        let (draining_sender, draining) = watch::channel(false);
        let (snapshot_sender, snapshot) = watch::channel(Snapshot::default());
        let workers = Workers::count(hello.threads);
        let hello_issuer = hello.keys_from.as_deref().cloned().map(Issuer::new);
        let shared = Arc::new(Shared {
            serving: ArcSwap::from_pointee(serving),
            version,
            health,
            draining,
            snapshot,
            recorder,
            hello,
            places: Places::default(),
            knocks: Knocks::default(),
            clients: Arc::new(Clients::default()),
            tallies: (0..=workers).map(|_| Arc::default()).collect(),
            pools: (0..workers).map(|_| Arc::default()).collect(),
            ids: Ids::default(),
            issuer: hello_issuer,
            room: narrow::room(),
        });
        let control = Self {
            shared: shared.clone(),
            to,
            version: version_sender,
            health: Arc::new(health_sender),
            snapshot: snapshot_sender,
            draining: draining_sender,
        };
        (control, shared)
    }

    /// Serves PID 1 until it wants a stop or is gone.
    async fn run(
        mut self,
        from: OwnedReadHalf,
        signals: StopSignal,
        acceptors: Vec<AbortHandle>,
        mut workers: Workers,
    ) -> Result<(), Error> {
        let version = self.shared.serving.load().version;
        tell(&mut self.to, &FromGateway::Switched { version }).await?;
        let mut messages = messages(from);
        let mut asked = signals;
        let mut health = self.health.subscribe();
        let mut audit = self.shared.recorder.failing();
        let period = Duration::from_millis(self.shared.hello.health_interval_ms.max(1));
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut rounds = interval(beats::PERIOD);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (answer, mut answers) = mpsc::channel(4);
        let mut keys = self.keys();
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(ToGateway::Material(material)) => self.switch(&material).await?,
                    Some(ToGateway::Phase(phase)) => {
                        self.health.send_if_modified(|parts| std::mem::replace(&mut parts.phase, phase) != parts.phase);
                    }
                    Some(ToGateway::Snapshot(snapshot)) => drop(self.snapshot.send_replace(snapshot)),
                    Some(ToGateway::Try { id, token }) => {
                        tokio::spawn(attempt(self.shared.serving.load_full(), id, token, answer.clone()));
                    }
                    Some(ToGateway::Look { id, address }) => {
                        let answer = answer.clone();
                        tokio::spawn(async move {
                            let served = served::by_postgres(&address).await;
                            let _ = answer.send(FromGateway::Looked { id, served }).await;
                        });
                    }
                    Some(ToGateway::Drain) => break,
                    Some(ToGateway::Hello(_)) => {
                        return Err(Error::Protocol { expected: "Material, Phase, Snapshot or Drain" });
                    }
                    None => return Err(Error::Orphaned),
                },
                Some(news) = keys.recv() => self.take_keys(news).await?,
                Some(said) = answers.recv() => tell(&mut self.to, &said).await?,
                _ = &mut asked => break,
                Ok(()) = audit.changed() => {
                    let failing = audit.borrow_and_update().clone();
                    self.health.send_modify(|parts| parts.audit = failing);
                }
                _ = rounds.tick() => {
                    let stuck = workers.ask();
                    self.health.send_if_modified(|parts| std::mem::replace(&mut parts.stuck, stuck) != parts.stuck);
                }
                Ok(()) = health.changed() => self.report(&mut health).await?,
                _ = ticks.tick() => {
                    self.report(&mut health).await?;
                    if let Some(rows) = self.shared.clients.news() {
                        tell(&mut self.to, &FromGateway::Clients { rows }).await?;
                    }
                }
            }
        }
        self.drain(acceptors, workers).await
    }

    async fn report(&mut self, health: &mut watch::Receiver<Parts>) -> Result<(), Error> {
        let report = health.borrow_and_update().report(&self.shared);
        tell(&mut self.to, &FromGateway::Health(report)).await
    }

    /// Everything new is built first; then one store switches all workers.
    async fn switch(&mut self, material: &Material) -> Result<(), Error> {
        let before = self.shared.serving.load_full();
        let built =
            build(material, (Some(&before), self.shared.issuer.as_deref()), &self.shared.hello, &mut self.to).await?;
        let Some(serving) = built else { return Ok(()) };
        self.shared.serving.store(Arc::new(serving));
        self.version.send_replace(material.version);
        tracing::info!(version = material.version, "material switched");
        tell(&mut self.to, &FromGateway::Switched { version: material.version }).await
    }

    /// What comes of the external issuer; nothing ever where there is none.
    fn keys(&self) -> mpsc::Receiver<News> {
        let (sender, news) = mpsc::channel(1);
        if let Some(issuer) = &self.shared.issuer {
            tokio::spawn(issuer::keep(issuer.clone(), self.shared.hello.keys_kept.as_deref().cloned(), sender));
        }
        news
    }

    /// Brings keys into force, and then lets the calls go on that wait for them.
    async fn take_keys(&mut self, news: News) -> Result<(), Error> {
        let (keys, kept) = match news {
            News::Same => (None, None),
            News::Gone => (Some(None), None),
            News::Keys(keys, kept) => (Some(Some(keys)), Some(kept)),
        };
        let Some(issuer) = self.shared.issuer.clone() else { return Ok(()) };
        if let Some(keys) = keys {
            issuer.hold(keys);
            let before = self.shared.serving.load_full();
            self.shared.serving.store(Arc::new(before.with_keys(&issuer)));
            // The same version, but calls under way are looked at: their key may be gone.
            self.version.send_replace(before.version);
        }
        issuer.settle();
        match kept {
            Some(kept) => tell(&mut self.to, &FromGateway::Keys(kept)).await,
            None => Ok(()),
        }
    }

    /// Health fails first, then no new connections, GOAWAY, calls in flight finish, the audit log is flushed.
    async fn drain(mut self, acceptors: Vec<AbortHandle>, workers: Workers) -> Result<(), Error> {
        self.health.send_modify(|parts| parts.phase = Phase::Stopping);
        let report = self.health.borrow().report(&self.shared);
        // PID 1 may be gone already; the drain goes on without it.
        let _ = tell(&mut self.to, &FromGateway::Health(report)).await;
        acceptors.iter().for_each(AbortHandle::abort);
        self.draining.send_replace(true);
        let limit = Duration::from_millis(self.shared.hello.drain_timeout_ms) + STUCK;
        let all_ended = timeout(limit, workers.end()).await.is_ok();
        let rest = async {
            self.shared.knocks.sum_up(&self.shared.recorder).await;
            self.shared.recorder.close().await;
        };
        if all_ended {
            rest.await;
            return Ok(());
        }
        // A worker that hangs may hold what the rest waits for.
        let _ = timeout(FLUSH, rest).await;
        Err(Error::Stuck(limit))
    }
}

/// Frames of PID 1, read in a task of their own: reading one can't be interrupted halfway.
fn messages(mut from: OwnedReadHalf) -> mpsc::Receiver<ToGateway> {
    let (sender, messages) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            match link::receive(&mut from).await {
                Ok(Some(message)) => {
                    if sender.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::error!(%error, "the link to PID 1 broke"),
            }
        }
    });
    messages
}

/// Asks the upstream once with a token of PID 1's, on a connection of its own.
async fn attempt(serving: Arc<Serving>, id: u64, token: Secret<String>, answer: mpsc::Sender<FromGateway>) {
    let failure = probe::probe_with(&Arc::new(Pool::default()), &serving, &token).await.err();
    let _ = answer.send(FromGateway::Tried { id, failure }).await;
}

/// Probes the upstream at each interval, on connections of its own.
async fn probes(shared: Arc<Shared>, health: Arc<watch::Sender<Parts>>) {
    let pool = Arc::new(Pool::default());
    let mut ticks = interval(Duration::from_millis(shared.hello.health_interval_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let serving = shared.serving.load_full();
        let began = clock::now();
        let result = probe::probe(&pool, &serving).await;
        // A frontend that is starting is not silent yet, and one whose database is away still answers this.
        let is_up = health.borrow().phase == Phase::Ready;
        let silent = result.is_err() && is_up && !probe::answers(&pool, &serving).await;
        health.send_modify(|parts| {
            parts.silent = if silent { parts.silent.saturating_add(1) } else { 0 };
            if result.is_ok() {
                parts.probed_ms = clock::ms(began);
            }
            parts.probe = result;
        });
    }
}
