//! Accepts connections and deals them to the workers in turn; one single-threaded runtime per worker.

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    beats::{Beat, Beats, Stuck},
    connection, running,
    service::Worker,
    serving::{Place, Shared},
    unread,
};

/// Pause after an error of `accept` that is not the client's, such as no free descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// Time for the last answers to leave at the end of a drain.
const LAST: Duration = Duration::from_millis(500);

/// An accepted socket on its way to its worker.
pub(super) struct Socket {
    tcp: std::net::TcpStream,
    address: SocketAddr,
    plaintext: bool,
    place: Place,
}

/// What a worker gets through its queue.
pub(super) enum Dealt {
    /// To serve.
    Socket(Socket),
    /// To answer: the number of a round.
    Ask(u64),
}

/// A worker's queue.
pub(super) type Queue = mpsc::UnboundedSender<Dealt>;

/// The worker threads.
pub(super) struct Workers {
    queues: Vec<Queue>,
    beats: Beats,
    ended: Vec<oneshot::Receiver<()>>,
}

impl Workers {
    /// How many there are to be: one per core, or as many as PID 1 said.
    pub(super) fn count(threads: usize) -> usize {
        match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }

    /// The name of its thread.
    pub(super) fn name(number: usize) -> String {
        format!("worker-{number}")
    }

    /// Starts them.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let mut workers = Self { queues: Vec::new(), beats: Beats::default(), ended: Vec::new() };
        for number in 0..shared.pools.len() {
            let (queue, dealt) = mpsc::unbounded_channel();
            let beat = workers.beats.add();
            let (end, ended) = oneshot::channel();
            let (pool, tally) = (shared.pools[number].clone(), shared.tallies[number].clone());
            let (recorder, bell) = shared.recorder.at_worker();
            let (shared, running, unread) = (shared.clone(), Arc::default(), Arc::default());
            let worker = Arc::new(Worker { shared, pool, running, recorder, tally, unread });
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            thread::Builder::new().name(Self::name(number)).spawn(move || {
                runtime.spawn(bell.clone().tell());
                runtime.block_on(work(worker, dealt, beat));
                // Dropping the runtime drops what is left of calls, and so writes their records.
                drop(runtime);
                bell.queue();
                let _ = end.send(());
            })?;
            workers.queues.push(queue);
            workers.ended.push(ended);
        }
        Ok(workers)
    }

    /// Where accepted sockets go.
    pub(super) fn queues(&self) -> Vec<Queue> {
        self.queues.clone()
    }

    /// Asks each for a sign of life; who gave none since the last time.
    pub(super) fn ask(&mut self) -> Option<Stuck> {
        let (round, stuck) = self.beats.next();
        self.queues.iter().for_each(|queue| drop(queue.send(Dealt::Ask(round))));
        stuck
    }

    /// Waits until every worker has ended; they do when all acceptors are gone and connections are over.
    pub(super) async fn end(self) {
        drop(self.queues);
        for ended in self.ended {
            let _ = ended.await;
        }
    }
}

/// One worker: serves what it is dealt; after the last socket it waits as long as the drain may take.
async fn work(worker: Arc<Worker>, mut dealt: mpsc::UnboundedReceiver<Dealt>, beat: Beat) {
    let mut connections = JoinSet::new();
    tokio::spawn(running::attend(worker.running.clone(), worker.shared.clone()));
    tokio::spawn(unread::attend(worker.unread.clone()));
    loop {
        tokio::select! {
            dealt = dealt.recv() => match dealt {
                Some(Dealt::Socket(socket)) => {
                    connections.spawn(serve(worker.clone(), socket));
                }
                Some(Dealt::Ask(round)) => beat.answer(round),
                None => break,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    let limit = Duration::from_millis(worker.shared.hello.drain_timeout_ms);
    if timeout(limit, all(&mut connections)).await.is_err() {
        tracing::warn!(
            ?limit,
            left = connections.len(),
            "drain: calls still open at the limit are ended, then connections"
        );
        // Without an upstream every call ends as UNAVAILABLE, which clients try again; a cut connection tells them less.
        worker.pool.close();
        let _ = timeout(LAST, all(&mut connections)).await;
    }
}

async fn all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

async fn serve(worker: Arc<Worker>, socket: Socket) {
    if let Ok(tcp) = TcpStream::from_std(socket.tcp) {
        connection::run(worker, tcp, socket.address, socket.plaintext).await;
    }
    drop(socket.place);
}

/// Accepts until it is dropped.
pub(super) async fn accept(
    listener: std::net::TcpListener,
    plaintext: bool,
    shared: Arc<Shared>,
    workers: Vec<Queue>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let tally = shared.tallies.last();
    for worker in workers.iter().cycle() {
        let (tcp, address) = next(&listener).await;
        // Over a limit the socket is closed at once: cheaper for both sides than a handshake.
        let place = match Place::take(&shared, address.ip()) {
            Ok(place) => place,
            Err(limit) => {
                tally.iter().for_each(|tally| tally.hit(limit));
                continue;
            }
        };
        if let Ok(tcp) = tcp.into_std() {
            let _ = worker.send(Dealt::Socket(Socket { tcp, address, plaintext, place }));
        }
    }
    Ok(())
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed; trying again in {PAUSE:?}");
                sleep(PAUSE).await;
            }
        }
    }
}
