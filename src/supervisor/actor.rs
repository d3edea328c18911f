//! The one task that owns children: turns signals and requests into events of the table, and its actions into effects.

use std::{
    collections::{HashMap, VecDeque},
    ffi::CString,
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{fcntl::OFlag, libc, unistd};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{sleep_until, timeout},
};

use super::{
    handle::{Command, Ended, Handle, Running},
    launch::{Launch, Role},
    output::{self, Tail},
    process::{self, send},
    reaper::{self, Adoption, Exit, Left},
    rest,
    slot::{Slot, terminate_group},
    spec::{Child, ChildSpec, ChildStatus, Error, Outside},
    state::{Action, Event, Id, Table},
};
use crate::{
    clock, config,
    signals::{AsyncSignals, Signal, Signals},
};

/// How long the last lines of everything may take at the very end.
const LAST_LINES: Duration = Duration::from_millis(100);

/// PID 1's children and what is to become of them.
pub struct Supervisor {
    table: Table,
    slots: Vec<Slot>,
    tasks: HashMap<i32, Task>,
    readers: Vec<JoinHandle<()>>,
    signals: AsyncSignals,
    commands: mpsc::UnboundedReceiver<Command>,
    statuses: watch::Sender<Vec<ChildStatus>>,
    adoption: Adoption,
    null: Arc<OwnedFd>,
    /// More may wait to be reaped right now.
    unreaped: bool,
    killing: bool,
    exit: Option<i32>,
}

struct Task {
    ended: oneshot::Sender<Ended>,
    told_to_stop: bool,
}

impl Supervisor {
    /// The supervisor and the way to it, inside the runtime it will run in. Adopts orphans from now on.
    pub fn new(limits: &config::Supervisor, signals: Signals) -> io::Result<(Self, Handle)> {
        let (sender, commands) = mpsc::unbounded_channel();
        let (statuses, receiver) = watch::channel(Vec::new());
        let supervisor = Self {
            table: Table::new(limits.clone()),
            slots: Vec::new(),
            tasks: HashMap::new(),
            readers: Vec::new(),
            signals: signals.into_async()?,
            commands,
            statuses,
            adoption: reaper::adopt_orphans(),
            null: Arc::new(File::open("/dev/null")?.into()),
            unreaped: false,
            killing: false,
            exit: None,
        };
        Ok((supervisor, Handle { commands: sender, statuses: receiver }))
    }

    /// Who adopts the orphans; for a warning when it is not us by nature.
    pub fn adoption(&self) -> Adoption {
        self.adoption
    }

    /// Supervises until everything has stopped and returns the exit code. Must run on the main thread (in a
    /// `current_thread` runtime's `block_on`), because children end with the thread that started them.
    pub async fn run(mut self, mut on: impl FnMut(Outside)) -> io::Result<ExitCode> {
        let code = loop {
            if let Some(code) = self.exit {
                break code;
            }
            let deadline = self.table.next_deadline();
            tokio::select! {
                biased;
                signal = self.signals.next() => self.signalled(signal?, &mut on),
                Some(command) = self.commands.recv() => self.commanded(command, &mut on),
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    self.handle(Event::Tick, &mut on);
                }
                () = tokio::task::yield_now(), if self.unreaped => self.reap(&mut on),
            }
            self.publish();
        };
        let _ = timeout(LAST_LINES, drained(std::mem::take(&mut self.readers))).await;
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
    }

    /// Resolves when a stop is asked for before [`Self::run`], with nothing started yet.
    pub async fn stop_asked(&mut self) -> io::Result<()> {
        loop {
            match self.signals.next().await? {
                signal if signal.asks_to_stop() => return Ok(()),
                signal => self.unreaped |= signal.0 == libc::SIGCHLD,
            }
        }
    }

    fn signalled(&mut self, signal: Signal, on: &mut impl FnMut(Outside)) {
        match signal.0 {
            libc::SIGCHLD => self.reap(on),
            libc::SIGHUP => on(Outside::Hup),
            _ if signal.asks_to_stop() => {
                let again = if self.table.stopping() { "killing what is left" } else { "stopping" };
                tracing::info!(%signal, "{again}");
                self.handle(Event::Stop, on);
            }
            number => {
                let main = self.slots.iter().find(|s| s.child.policy.main).and_then(|s| s.pid);
                main.into_iter().for_each(|pid| send(-pid, number));
            }
        }
    }

    fn commanded(&mut self, command: Command, on: &mut impl FnMut(Outside)) {
        match command {
            Command::Supervise(child) => self.supervise(child, on),
            Command::Ready(name) => self.about(name, Event::Ready, on),
            Command::ProbeFailed(name, part) => {
                self.slots
                    .iter_mut()
                    .filter(|slot| slot.child.name == name)
                    .for_each(|slot| slot.silent.clone_from(&part));
                self.about(name, Event::ProbeFailed, on);
            }
            Command::Answered(name) => self.about(name, Event::Answered, on),
            Command::Restart(name) => self.about(name, Event::Restart, on),
            Command::Run(spec, reply) => drop(reply.send(self.start_task(spec))),
            Command::KillTask(pid) if self.tasks.contains_key(&pid) => send(-pid, libc::SIGKILL),
            Command::KillTask(_) => {}
            Command::Abandon(why) => {
                tracing::error!("giving up: {why}");
                self.handle(Event::Abandon(1), on);
            }
            Command::Stop(why) => {
                tracing::info!(why, "stopping");
                self.handle(Event::Stop, on);
            }
        }
    }

    fn about(&mut self, name: &str, event: impl FnOnce(Id) -> Event, on: &mut impl FnMut(Outside)) {
        if let Some(id) = self.slots.iter().position(|s| s.child.name == name) {
            self.handle(event(id), on);
        }
    }

    fn supervise(&mut self, child: Child, on: &mut impl FnMut(Outside)) {
        let (_, actions) = self.table.add(child.name, child.policy, child.ask.is_some(), Instant::now());
        self.slots.push(Slot::new(child));
        self.perform_all(actions, on);
    }

    fn handle(&mut self, event: Event, on: &mut impl FnMut(Outside)) {
        let was_stopping = self.table.stopping();
        let actions = self.table.on(event, Instant::now(), random());
        if self.table.stopping() && !was_stopping {
            on(Outside::Stopping);
            for (pid, task) in &mut self.tasks {
                task.told_to_stop = true;
                terminate_group(*pid);
            }
        }
        self.perform_all(actions, on);
    }

    fn perform_all(&mut self, actions: Vec<Action>, on: &mut impl FnMut(Outside)) {
        let follow_ups: VecDeque<Event> = actions.into_iter().filter_map(|action| self.perform(action)).collect();
        for event in follow_ups {
            self.handle(event, on);
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start(id) => return self.start(id),
            Action::Ask(id, why) => self.slots[id].ask(why),
            Action::Terminate(id, why) => self.slots[id].terminate(why),
            Action::Kill(id, waited) => {
                let slot = &self.slots[id];
                match waited {
                    Some(_) => tracing::warn!(child = slot.child.name, ?waited, "did not end in time: killing it"),
                    None => tracing::warn!(child = slot.child.name, "killing it: asked to stop a second time"),
                }
                slot.pid.into_iter().for_each(|pid| send(-pid, libc::SIGKILL));
            }
            // The group can't be another's yet: pids are given in sequence, and its leader was reaped just now.
            Action::KillLeftovers(id) => {
                self.slots[id].pid.take().into_iter().for_each(|pid| send(-pid, libc::SIGKILL))
            }
            Action::Failed(id, delay) => {
                let slot = &self.slots[id];
                let last_exit = slot.last_exit.as_deref();
                tracing::warn!(child = slot.child.name, last_exit, restart_in = ?delay, "ended unasked");
            }
            Action::GiveUp(id, failures) => {
                let slot = &self.slots[id];
                let last_exit = slot.last_exit.as_deref();
                tracing::error!(
                    child = slot.child.name,
                    last_exit,
                    failures,
                    "failed too often (WARDEN_START_LIMIT in WARDEN_START_WINDOW): giving up and stopping everything"
                );
            }
            Action::TerminateRest => {
                rest::terminate(self.adoption);
                self.unreaped = true;
            }
            Action::KillRest => {
                rest::kill(self.adoption);
                (self.killing, self.unreaped) = (true, true);
            }
            Action::Exit(code) => self.exit = self.exit.or(Some(code)),
        }
        None
    }

    fn start(&mut self, id: Id) -> Option<Event> {
        let slot = &mut self.slots[id];
        slot.starts += 1;
        let name = slot.child.name;
        let started = (slot.child.make)().map_err(|e| (e.to_string(), 126)).and_then(|spec| self.launch(spec));
        match started {
            Ok((pid, output, _)) => {
                tracing::info!(child = name, pid, "started");
                self.slots[id].pid = Some(pid);
                self.readers.retain(|r| !r.is_finished());
                self.readers.push(output);
                None
            }
            Err((reason, code)) => {
                tracing::error!(child = name, reason, "cannot be started");
                self.slots[id].last_exit = Some(reason);
                self.slots[id].pid = None;
                Some(Event::Ended(id, Exit::Code(code)))
            }
        }
    }

    fn start_task(&mut self, spec: ChildSpec) -> Result<Running, Error> {
        let (name, program) = (spec.name, spec.program.clone());
        if self.table.stopping() {
            return Err(Error::Stopping(name));
        }
        let (pid, output, tail) = self.launch(spec).map_err(|(reason, _)| Error::Start { name, program, reason })?;
        let (sender, ended) = oneshot::channel();
        self.tasks.insert(pid, Task { ended: sender, told_to_stop: false });
        Ok(Running { pid, ended, tail, output })
    }

    /// A process with its output in our log; or why not, and its exit code as a shell has it.
    fn launch(&self, spec: ChildSpec) -> Result<(i32, JoinHandle<()>, Tail), (String, i32)> {
        let program = spec.program.clone();
        let broken = |e: io::Error| (format!("{}: {e}", program.display()), 126);
        let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| broken(e.into()))?;
        let (name, said) = (spec.name, spec.said.clone());
        let launch = self.prepare(spec, write).map_err(broken)?;
        let pid = process::spawn(&launch).map_err(|e| (format!("{}: {e}", program.display()), e.exit_code()))?;
        drop(launch);
        let (output, tail) = output::follow(name, read, said).map_err(broken)?;
        Ok((pid.as_raw(), output, tail))
    }

    fn prepare(&self, spec: ChildSpec, output: OwnedFd) -> io::Result<Launch> {
        let path = spec.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()).unwrap_or_default();
        let role = Role::Confined { user: spec.user, nofile: spec.nofile };
        let mut launch = Launch::new(spec.program, spec.args, Some(spec.env), path.as_encoded_bytes(), role)?;
        launch.cwd = Some(c_path(spec.cwd)?);
        let output = Arc::new(output);
        let stdin = spec.stdin.unwrap_or_else(|| Arc::clone(&self.null));
        launch.fds = vec![(0, stdin), (1, Arc::clone(&output)), (2, output)];
        launch.fds.extend(spec.fds);
        Ok(launch)
    }

    fn reap(&mut self, on: &mut impl FnMut(Outside)) {
        let known: Vec<i32> = self.slots.iter().filter_map(|s| s.pid).chain(self.tasks.keys().copied()).collect();
        let mut ended = Vec::new();
        let left = reaper::reap(&known, |pid, exit| {
            if known.contains(&pid) {
                ended.push((pid, exit));
            }
        });
        self.unreaped = left == Left::More;
        for (pid, exit) in ended {
            self.process_ended(pid, exit, on);
        }
        if left == Left::Nothing && self.tasks.is_empty() {
            self.handle(Event::Empty, on);
        } else if self.killing && self.adoption != Adoption::Init {
            // What was born during the last round is still to be killed.
            rest::kill(self.adoption);
        }
    }

    fn process_ended(&mut self, pid: i32, exit: Exit, on: &mut impl FnMut(Outside)) {
        if let Some(task) = self.tasks.remove(&pid) {
            send(-pid, libc::SIGKILL);
            let _ = task.ended.send(Ended { exit, by_stop: task.told_to_stop });
        } else if let Some(id) = self.slots.iter().position(|s| s.pid == Some(pid)) {
            tracing::info!(child = self.slots[id].child.name, pid, "ended: {exit}");
            self.slots[id].note_end(exit);
            self.handle(Event::Ended(id, exit), on);
            // A successor, if there is one by now, has another pid.
            self.slots[id].pid.take_if(|p| *p == pid);
        }
    }

    fn publish(&mut self) {
        for (id, slot) in self.slots.iter_mut().enumerate() {
            let state = self.table.state(id);
            if slot.state != state {
                (slot.state, slot.since) = (state, clock::now());
            }
        }
        let now: Vec<_> = self.slots.iter().map(Slot::status).collect();
        self.statuses.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

fn c_path(path: PathBuf) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Enough chance for jitter, without a generator to start.
fn random() -> f64 {
    f64::from(RandomState::new().build_hasher().finish() as u32) / f64::from(u32::MAX)
}

async fn drained(readers: Vec<JoinHandle<()>>) {
    for reader in readers {
        let _ = reader.await;
    }
}
