//! What the rest of the warden holds of the supervisor.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    output::Tail,
    reaper::Exit,
    spec::{Child, ChildSpec, ChildStatus, Error, Finished},
    state::LAST_WAIT,
};

/// How long the rest of a task's output may take after its end; a grandchild may hold the pipe for ever.
const LAST_LINES: Duration = Duration::from_millis(200);

/// A message to the actor.
pub(super) enum Command {
    Supervise(Child),
    Ready(&'static str),
    ProbeFailed(&'static str, Option<String>),
    Answered(&'static str),
    Restart(&'static str),
    Run(ChildSpec, oneshot::Sender<Result<Running, Error>>),
    KillTask(i32),
    Stop(String),
    Abandon(String),
}

/// A task that has started.
pub(super) struct Running {
    pub(super) pid: i32,
    pub(super) ended: oneshot::Receiver<Ended>,
    pub(super) tail: Tail,
    pub(super) output: JoinHandle<()>,
}

/// The end of a task.
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// It was told to end because everything was.
    pub(super) by_stop: bool,
}

/// The way to the supervisor; cheap to clone. Requests after its end are ignored.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) statuses: watch::Receiver<Vec<ChildStatus>>,
}

impl Handle {
    /// Starts a child and keeps it alive until everything stops.
    pub fn supervise(&self, child: Child) {
        self.send(Command::Supervise(child));
    }

    /// Tells that the child serves.
    pub fn ready(&self, name: &'static str) {
        self.send(Command::Ready(name));
    }

    /// Tells that a probe of the child failed: of this part of it, or of the whole.
    pub fn failed_probe(&self, name: &'static str, part: Option<&str>) {
        self.send(Command::ProbeFailed(name, part.map(str::to_owned)));
    }

    /// Tells that a probe of the child succeeded, after some had failed.
    pub fn answered(&self, name: &'static str) {
        self.send(Command::Answered(name));
    }

    /// Stops the child as at a stop of everything, and starts it anew.
    pub fn restart(&self, name: &'static str) {
        self.send(Command::Restart(name));
    }

    /// Stops everything; the second time, kills.
    pub fn stop(&self, why: impl Into<String>) {
        self.send(Command::Stop(why.into()));
    }

    /// Stops everything and exits with code 1: the start cannot succeed, so the container's restart policy decides.
    pub fn abandon(&self, why: impl Into<String>) {
        self.send(Command::Abandon(why.into()));
    }

    /// Every supervised child, in the order they were added.
    pub fn statuses(&self) -> Vec<ChildStatus> {
        self.statuses.borrow().clone()
    }

    /// Wakes at each change of [`Self::statuses`].
    pub fn watch(&self) -> watch::Receiver<Vec<ChildStatus>> {
        self.statuses.clone()
    }

    /// Runs a task to its end, its output in our log. It is killed at the limit, at a stop of everything, and when
    /// the returned future is dropped.
    pub async fn run(&self, spec: ChildSpec, limit: Duration) -> Result<Finished, Error> {
        let name = spec.name;
        let (reply, started) = oneshot::channel();
        self.send(Command::Run(spec, reply));
        let mut task = started.await.map_err(|_| Error::Stopping(name))??;
        let guard = KillOnDrop(self, task.pid);
        let ended = match timeout(limit, &mut task.ended).await {
            Ok(ended) => ended.map_err(|_| Error::Stopping(name))?,
            Err(_) => {
                tracing::warn!(child = name, limit = ?limit, "the task did not finish in time: killing it");
                drop(guard);
                let _ = timeout(LAST_WAIT, &mut task.ended).await;
                let _ = timeout(LAST_LINES, task.output).await;
                return Err(Error::Limit { name, limit, tail: task.tail.lines() });
            }
        };
        std::mem::forget(guard);
        let _ = timeout(LAST_LINES, task.output).await;
        if ended.by_stop {
            return Err(Error::Stopping(name));
        }
        Ok(Finished { exit: ended.exit, tail: task.tail.lines() })
    }

    fn send(&self, command: Command) {
        // The actor is gone only when everything has stopped; then nothing is left to be done.
        let _ = self.commands.send(command);
    }
}

/// Kills a task that nobody waits for any more.
struct KillOnDrop<'a>(&'a Handle, i32);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send(Command::KillTask(self.1));
    }
}
