//! Starts a process: `fork`, then everything the child needs by system calls alone, then `execve`.
//!
//! Between fork and exec only async-signal-safe calls are made, on memory prepared before the fork: another thread
//! (the log writer) may have held any lock at that instant. A failure travels back through a close-on-exec pipe, never
//! through memory: an emulator (qemu-user) makes a plain fork of CLONE_VM, and a failed start would pass for a good one.

mod confine;
mod first;

use std::{
    ffi::CString,
    fs::{self, File},
    io::Read,
    mem::MaybeUninit,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{errno::Errno, fcntl::OFlag, libc, unistd};

use self::confine::{confine, keep_only};
use super::launch::{Launch, Role};
use crate::signals::Signals;

/// A start that failed, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub(super) struct SpawnError {
    step: Step,
    errno: Errno,
}

impl SpawnError {
    /// As a shell says it: 127 not found, 126 found but not executable.
    pub(super) fn exit_code(self) -> i32 {
        match (self.step, self.errno) {
            (Step::Exec, Errno::ENOENT | Errno::ENOTDIR) => 127,
            _ => 126,
        }
    }
}

macro_rules! steps {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// Where a start can fail.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Step { $($name),* }
        const STEPS: &[Step] = &[$(Step::$name),*];
        impl std::fmt::Display for Step {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Step::$name => $text),* })
            }
        }
    };
}

steps! {
    Fork = "cannot fork",
    Fds = "cannot place the child's descriptors",
    Limits = "cannot set the child's limits",
    Groups = "cannot set the child's groups",
    Gid = "cannot set the child's gid",
    Uid = "cannot set the child's uid",
    Capabilities = "cannot empty the child's capabilities",
    Cwd = "cannot enter the child's working directory",
    Parent = "the parent ended during the start",
    Exec = "cannot execute the program",
}

/// Starts the process in a group of its own and returns once it runs its program (or could not).
///
/// Must be called on the main thread: the parent-death signal fires when the *thread* that forked ends.
pub(super) fn spawn(launch: &Launch) -> Result<unistd::Pid, SpawnError> {
    let fork_failed = |errno| SpawnError { step: Step::Fork, errno };
    let argv = pointers(&launch.argv);
    let above = launch.fds.iter().map(|(target, _)| target + 1).max().unwrap_or(3).max(3);
    let parent = unistd::getpid().as_raw();
    let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(fork_failed)?;
    let mut start = Start {
        launch,
        shell: [c"/bin/sh".as_ptr()].into_iter().chain(argv.iter().copied()).collect(),
        argv,
        env: launch.env.as_deref().map(pointers),
        above,
        moved: vec![-1; launch.fds.len()],
        parent,
        report: write.as_raw_fd(),
    };
    let mut stack = [MaybeUninit::<u128>::uninit(); STACK / size_of::<u128>()];
    // SAFETY: the child runs `child` alone, on a stack of its own that grows down from its end, and never returns. `start`
    // and the stack outlive it where memory is shared (CLONE_VFORK: this thread sleeps until the child is its program).
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end;
        libc::clone(child, top.cast(), start.launch.role.sharing() | libc::SIGCHLD, (&raw mut start).cast())
    };
    drop(write);
    let pid = Errno::result(pid).map_err(fork_failed)?;
    match read_failure(File::from(read)) {
        Some(error) => Err(error),
        None => Ok(unistd::Pid::from_raw(pid)),
    }
}

/// Bytes of the child's stack, which is a part of ours; it calls nothing deep, and each page of it is one more to map.
const STACK: usize = 8 << 10;

unsafe extern "C" {
    /// The environment this process was started with (environ(7)), which nobody changes.
    static environ: *const *const libc::c_char;
}

/// Everything the child uses, made before it exists.
struct Start<'a> {
    launch: &'a Launch,
    /// Null-terminated, as are the two others.
    argv: Vec<*const libc::c_char>,
    /// `/bin/sh` and then `argv`, whose first the child replaces by the script's path.
    shell: Vec<*const libc::c_char>,
    /// `None`: our own.
    env: Option<Vec<*const libc::c_char>>,
    /// First descriptor number above every target.
    above: RawFd,
    moved: Vec<RawFd>,
    /// Our pid.
    parent: i32,
    /// Where a failure is told.
    report: RawFd,
}

impl Role {
    /// Nobody's secrets are in the memory of `run -- COMMAND`, which shares it until the exec: nothing is copied, so it
    /// starts sooner. A child with another user must not, because its change of user would touch our dumpable flag.
    fn sharing(self) -> libc::c_int {
        match self {
            Self::Confined { .. } => 0,
            Self::Guest => libc::CLONE_VM | libc::CLONE_VFORK,
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Nothing arrives when `execve` closed the pipe: then the program runs.
fn read_failure(mut pipe: File) -> Option<SpawnError> {
    let mut report = [0; 5];
    pipe.read_exact(&mut report).ok()?;
    let [step, errno @ ..] = report;
    Some(SpawnError {
        step: STEPS.get(usize::from(step)).copied().unwrap_or(Step::Fork),
        errno: Errno::from_raw(i32::from_ne_bytes(errno)),
    })
}

/// The forked child: becomes the program or reports why not.
extern "C" fn child(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes a `Start` that lives until this process has another program or is gone; system calls on
    // prepared memory; `report` is our own descriptor, moved out of the targets' way first.
    unsafe {
        let start = &mut *start.cast::<Start<'_>>();
        let high = libc::fcntl(start.report, libc::F_DUPFD_CLOEXEC, start.above);
        let (step, errno) = match become_program(start) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let mut message = [step as u8; 5];
        message[1..].copy_from_slice(&errno.to_ne_bytes());
        libc::write(high, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// Every step from a copy of PID 1 to the program, in the one order that works.
///
/// # Safety
/// Only in [`child`], with a [`Start`] whose arrays are null-terminated and hold valid C strings.
unsafe fn become_program(start: &mut Start<'_>) -> Result<std::convert::Infallible, (Step, i32)> {
    let launch = start.launch;
    // SAFETY: async-signal-safe system calls on memory that lives in `start`.
    unsafe {
        libc::setpgid(0, 0);
        if launch.role == Role::Guest {
            // SIGTTOU is blocked, so a background process may do this; without a terminal it fails, as it should.
            libc::tcsetpgrp(0, libc::getpid());
        }
        default_dispositions();
        place(&launch.fds, start.above, &mut start.moved)?;
        if let Role::Confined { user, nofile } = launch.role {
            keep_only(&launch.fds, start.above);
            confine(user, nofile, start.parent)?;
        }
        if let Some(cwd) = &launch.cwd {
            check(Step::Cwd, libc::chdir(cwd.as_ptr()))?;
        }
        mask(0);
        Err((Step::Exec, execute(start)))
    }
}

/// Sets the mask of blocked signals. By the raw call: the C library keeps two or three signals of its own out of
/// pthread_sigmask's reach.
///
/// # Safety
/// Only where no other thread of this process needs the C library's own signals.
unsafe fn mask(blocked: u64) {
    // SAFETY: the kernel reads eight bytes.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const blocked, ptr::null_mut::<u64>(), 8);
    }
}

fn check<T: PartialOrd + From<i8>>(step: Step, result: T) -> Result<T, (Step, i32)> {
    if result < T::from(0_i8) { Err((step, Errno::last_raw())) } else { Ok(result) }
}

/// Ignored signals stay ignored over `execve`, and the Rust runtime ignores SIGPIPE. By the raw call, because the C
/// library keeps two signals of its own out of reach, which a parent may have left ignored.
///
/// # Safety
/// As [`become_program`].
unsafe fn default_dispositions() {
    // The kernel's sigaction, all zero: SIG_DFL, no flags, no mask. At most four words on any architecture of ours.
    let default = [0_u64; 4];
    for number in 1..=64 {
        // SAFETY: `default` is at least as long as the kernel reads; SIGKILL and SIGSTOP are refused without effect.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), ptr::null_mut::<u64>(), 8) };
    }
}

/// First all sources above every target, then each to its target: so no target overwrites a source.
///
/// # Safety
/// As [`become_program`].
unsafe fn place(fds: &[(RawFd, Arc<OwnedFd>)], above: RawFd, moved: &mut [RawFd]) -> Result<(), (Step, i32)> {
    // SAFETY: duplicates descriptors that `fds` owns.
    unsafe {
        for (slot, (_, source)) in moved.iter_mut().zip(fds) {
            *slot = check(Step::Fds, libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above))?;
        }
        for (slot, (target, _)) in moved.iter().zip(fds) {
            check(Step::Fds, libc::dup2(*slot, *target))?;
        }
    }
    Ok(())
}

/// A descriptor that [`place`] put there, seen from the child: to be taken first thing in the process, before it opens
/// any of its own. `None` when there is none, or when it was taken before.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let place = u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number))?;
    let is_open = fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    if !is_open || TAKEN.fetch_or(place, Ordering::Relaxed) & place != 0 {
        return None;
    }
    // SAFETY: the number is open, it was left open by PID 1 for this purpose, and nobody took it before.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Tries each candidate as `execvp` does: an unreadable one does not hide a later one, but is remembered; a script that
/// names no interpreter is the shell's.
///
/// # Safety
/// As [`become_program`].
unsafe fn execute(start: &mut Start<'_>) -> i32 {
    let mut refused = libc::ENOENT;
    // SAFETY: set by the C library before `main`, and never written to after.
    let env = start.env.as_ref().map_or(unsafe { environ }, |env| env.as_ptr());
    for program in &start.launch.programs {
        // SAFETY: three null-terminated strings or arrays prepared before the fork.
        unsafe { libc::execve(program.as_ptr(), start.argv.as_ptr(), env) };
        match Errno::last_raw() {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => refused = libc::EACCES,
            libc::ENOEXEC if start.launch.role == Role::Guest => {
                start.shell[1] = program.as_ptr();
                // SAFETY: as above.
                unsafe { libc::execve(start.shell[0], start.shell.as_ptr(), env) };
                return libc::ENOEXEC;
            }
            other => return other,
        }
    }
    refused
}

/// Sends any signal number, real-time ones included; `pid` as for `kill(2)`. A target that is gone is no failure.
pub(super) fn send(pid: i32, signal: i32) {
    // SAFETY: kill takes two integers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// For a command that is no init: signals that were blocked before `main` get through again.
pub fn unblock_signals() {
    first::unblock();
}

/// Blocks the real-time signals that the C library keeps to itself (SIGRTMIN of others among them) and lets `signals`
/// read them. Only for a process of one thread, for which the library never uses them.
pub(super) fn block_real_time(signals: &Signals) {
    let all = u64::MAX;
    // SAFETY: one thread, see above; the kernel reads eight bytes and keeps the descriptor.
    unsafe {
        mask(all);
        libc::syscall(libc::SYS_signalfd4, signals.as_raw_fd(), &raw const all, 8, 0);
    }
}

/// Closes what a stand-in for tini inherited beyond stdio, so that it keeps nobody's pipe or socket open.
pub(super) fn close_inherited(except: RawFd) {
    let close = |first: RawFd, last: libc::c_uint| {
        // SAFETY: called by the init loop, which owns no descriptor but stdio and `except`.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    };
    if except > 3 {
        close(3, (except - 1).unsigned_abs());
    }
    close(except + 1, libc::c_uint::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_is_not_there_is_127() {
        let code = |step, errno| SpawnError { step, errno }.exit_code();
        assert_eq!(code(Step::Exec, Errno::ENOENT), 127);
        assert_eq!(code(Step::Exec, Errno::EACCES), 126);
        assert_eq!(code(Step::Cwd, Errno::ENOENT), 126);
    }
}
