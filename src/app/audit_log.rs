//! Keeps the audit log's files: rotates by size, notices a file that somebody else renamed, and hands each new one to
//! the running gateway, which switches between two batches. The warden's own records follow.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
    sendmsg, socketpair, sockopt,
};
use tokio::{sync::Mutex, task::spawn_blocking};
use tracing::{info, warn};

use super::{Warden, doors};
use crate::{
    audit::{self, Act, By, GATEWAY, Journal, Series, last_link},
    config::{self, Config},
    gateway::link::{AUDIT_FD, AUDIT_FILES_FD},
    supervisor::State,
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the gateway may take to switch to a new file; it finishes a batch first.
const SWITCH_LIMIT: Duration = Duration::from_secs(10);

/// The log as PID 1 holds it.
pub(super) struct AuditLog {
    /// Takes the warden's own records.
    pub(super) journal: Journal,
    files: Files,
    /// What the next gateway process writes to.
    current: RefCell<Arc<OwnedFd>>,
    /// To the gateway that runs now.
    handover: RefCell<Option<Arc<OwnedFd>>>,
    /// One change of files at a time; holds what was last complained about.
    changing: Mutex<String>,
}

/// The part that goes to other threads.
#[derive(Clone)]
struct Files {
    series: Series,
    group: Option<u32>,
    limits: config::Audit,
}

/// Why lines must go to another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It is full.
    Rotate,
    /// It is no longer where it was: somebody renamed or removed it.
    Reopen,
}

/// The next file, open once for each writer.
struct Next {
    change: Change,
    gateways: File,
    own: File,
}

impl AuditLog {
    /// Opens the log; nothing is written yet.
    pub(super) fn open(config: &Config) -> Result<Self, doors::DoorError> {
        let path = &config.audit.file;
        let series = Series::of(path);
        let current = doors::audit(config)?;
        let journal = Journal::start(doors::audit(config)?, &series);
        let journal = journal.map_err(|source| doors::DoorError::Audit { path: path.clone(), source })?;
        Ok(Self {
            journal,
            files: Files { series, group: doors::audit_group(config), limits: config.audit.clone() },
            current: RefCell::new(Arc::new(current.into())),
            handover: RefCell::new(None),
            changing: Mutex::new(String::new()),
        })
    }

    /// What a gateway process about to start gets: the file, and the socket on which later ones follow.
    pub(super) fn descriptors(&self) -> io::Result<[(i32, Arc<OwnedFd>); 2]> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&ours, sockopt::Timeout::Recv, Some(SWITCH_LIMIT))?;
        sockopt::set_socket_timeout(&ours, sockopt::Timeout::Send, Some(SWITCH_LIMIT))?;
        self.handover.replace(Some(Arc::new(ours)));
        Ok([(AUDIT_FD, self.current.borrow().clone()), (AUDIT_FILES_FD, Arc::new(theirs))])
    }

    /// Looks whether lines must go to another file, and sees to it.
    pub(super) async fn look(&self) {
        let mut complaint = self.changing.lock().await;
        match self.change().await {
            Ok(None) => {}
            Ok(Some(next)) => {
                complaint.clear();
                self.hand_over(next).await;
            }
            Err(error) => {
                let error = error.to_string();
                if *complaint != error {
                    warn!("{}: no new audit file ({error}); lines stay in the old one", self.path().display());
                }
                *complaint = error;
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.files.series.current().to_owned()
    }

    /// The next file, if one is due; off PID 1's only thread, for it waits for the disk.
    async fn change(&self) -> io::Result<Option<Next>> {
        let (files, current) = (self.files.clone(), self.current.borrow().clone());
        let work = spawn_blocking(move || {
            let due = files.due(&File::from(current.try_clone()?))?;
            due.map(|change| files.next(change)).transpose()
        });
        work.await.map_err(io::Error::other)?
    }

    async fn hand_over(&self, Next { change, gateways, own }: Next) {
        self.journal.switch(own);
        let file = Arc::new(OwnedFd::from(gateways));
        self.current.replace(file.clone());
        let gateway = self.handover.borrow().clone();
        let switched = match gateway {
            Some(gateway) => spawn_blocking(move || hand(&gateway, &file)).await.map_err(io::Error::other),
            None => Ok(Ok(())),
        };
        let (act, what) = match change {
            Change::Rotate => (Act::RotateAudit, "the file was full and is now number 1"),
            Change::Reopen => (Act::ReopenAudit, "the file was renamed or removed by somebody else"),
        };
        match switched.and_then(|sent| sent) {
            Ok(()) => info!("the audit log goes on in a new file: {what}"),
            // A gateway that has ended gets the new file when it starts again.
            Err(error) => warn!("the audit log goes on in a new file, but the gateway did not take it over: {error}"),
        }
        self.journal.note(act, By::Itself, what);
    }
}

impl Files {
    fn due(&self, current: &File) -> io::Result<Option<Change>> {
        let ours = current.metadata()?;
        let there = match fs::symlink_metadata(self.series.current()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Change::Reopen)),
            there => there?,
        };
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return Ok(Some(Change::Reopen));
        }
        Ok(self.limits.max_size.filter(|max| ours.len() >= *max).map(|_| Change::Rotate))
    }

    fn next(&self, change: Change) -> io::Result<Next> {
        if change == Change::Rotate {
            self.series.rotate(self.limits.keep)?;
        }
        let open = || audit::open(self.series.current(), self.group);
        let next = Next { change, gateways: open()?, own: open()? };
        self.series.sync_folder()?;
        Ok(next)
    }
}

/// Sends the file and waits until the gateway writes to it.
fn hand(gateway: &OwnedFd, file: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(gateway, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    let mut answer = [0_u8];
    match recv(gateway, &mut answer, RecvFlags::empty())? {
        (_, 0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended")),
        _ => Ok(()),
    }
}

/// Where the gateway's hash chain stands; `None` starts a new one, and says so where that can't be read.
pub(super) fn gateway_link(config: &Config) -> Option<(u64, String)> {
    last_link(&Series::of(&config.audit.file), GATEWAY).unwrap_or_else(|error| {
        warn!("{}: cannot be read ({error}); the audit chain starts anew", config.audit.file.display());
        None
    })
}

/// Looks after the files for ever.
pub(super) async fn keep(warden: Rc<Warden>) {
    loop {
        tokio::time::sleep(LOOK).await;
        warden.audit.look().await;
    }
}

/// Puts each restart of a child on record.
pub(super) async fn restarts(warden: Rc<Warden>) {
    let mut statuses = warden.supervisor.watch();
    let mut seen: Vec<u32> = Vec::new();
    while statuses.changed().await.is_ok() {
        let now = statuses.borrow_and_update().clone();
        for (id, child) in now.iter().enumerate().filter(|(_, child)| child.state != State::Waiting) {
            seen.resize(now.len().max(seen.len()), 0);
            if child.restarts > seen[id] {
                let ended = child.last_exit.as_deref().unwrap_or("it was asked to");
                let detail = format!("{} started again (start {}): {ended}", child.name, child.restarts + 1);
                warden.audit.journal.note(Act::RestartChild, By::Itself, &detail);
            }
            seen[id] = child.restarts;
        }
    }
}
