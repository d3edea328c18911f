//! `temporal-warden run -- COMMAND…`: the init of somebody else's command, in the place of tini.
//!
//! No runtime, no logging and no configuration: as little as possible before the command runs, and 0 wake-ups after.

use std::{
    env,
    ffi::OsString,
    io::{Write, stderr, stdin},
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd,
};

use super::{
    launch::{Launch, Role},
    process::{self, send},
    reaper::{self, Adoption, Left, adopt_orphans},
    rest,
    state::LAST_WAIT,
};
use crate::signals::{Signal, Signals};

/// How long what the command left behind may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the command to its end and returns the exit code: its own, 128 + n for a signal, 127 not found, 126 not
/// executable, 2 without a command.
pub fn init_command(signals: Signals, argv: Vec<OsString>) -> i32 {
    let mut argv = argv.into_iter();
    let Some(program) = argv.next() else {
        say("run -- needs a command, such as: temporal-warden run -- bash");
        return 2;
    };
    process::block_real_time(&signals);
    let adoption = adopt_orphans();
    // The environment is handed on as it is; the only thing looked at is where programs are.
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let launch = Launch::new(program.clone().into(), argv.collect(), None, path.as_encoded_bytes(), Role::Guest);
    let started = launch
        .map_err(|e| (e.to_string(), 126))
        .and_then(|launch| process::spawn(&launch).map_err(|e| (e.to_string(), e.exit_code())));
    match started {
        Ok(child) => Init::new(child.as_raw(), adoption).run(&signals),
        Err((reason, code)) => {
            say(&format!("{}: {reason}", program.display()));
            code
        }
    }
}

/// A line on standard error, unless that would block: a full pipe or a halted terminal must not hold signals up.
fn say(line: &str) {
    let writable = |ready: &PollFd<'_>| ready.revents().is_some_and(|r| r.contains(PollFlags::POLLOUT));
    let out = stderr();
    let mut ready = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok() && writable(&ready[0]) {
        let _ = writeln!(&out, "temporal-warden: {line}");
    }
}

struct Init {
    child: i32,
    adoption: Adoption,
    /// The command's exit code, once it has ended; then only what it left behind is waited for.
    code: Option<i32>,
    killed: bool,
    deadline: Option<Instant>,
    /// More orphans may wait to be reaped right now.
    unreaped: bool,
}

impl Init {
    fn new(child: i32, adoption: Adoption) -> Self {
        match adoption {
            Adoption::Init => {}
            Adoption::SubReaper => {
                say("not PID 1: adopting orphans as sub-reaper (drop `init: true` or the outer init)");
            }
            Adoption::None => say("not PID 1 and no sub-reaper: orphans are not reaped"),
        }
        Self { child, adoption, code: None, killed: false, deadline: None, unreaped: false }
    }

    fn run(mut self, signals: &Signals) -> i32 {
        process::close_inherited(signals.as_raw_fd());
        // Whoever unmounts the folder we were started in is not held up.
        let _ = env::set_current_dir("/");
        loop {
            self.sleep(signals);
            while let Ok(Some(signal)) = signals.try_next() {
                if signal.0 != libc::SIGCHLD {
                    self.forward(signal);
                }
            }
            if let Some(code) = self.reap().or_else(|| self.deadline_passed()) {
                return code;
            }
            self.stop_with_the_child();
        }
    }

    fn sleep(&self, signals: &Signals) {
        if self.unreaped {
            return;
        }
        let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up: waking a little early would turn the last millisecond into a busy loop.
        let limit = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], limit);
    }

    /// One round of reaping, so that a signal never waits for 20,000 orphans. The exit code, once no process is left.
    fn reap(&mut self) -> Option<i32> {
        let (child, mut ended) = (self.child, None);
        let known = if self.code.is_none() { &[child][..] } else { &[] };
        let left = reaper::reap(known, |pid, exit| {
            if pid == child {
                ended = Some(exit.code());
            }
        });
        self.unreaped = left == Left::More;
        self.code = self.code.or(ended);
        if left == Left::Nothing {
            return Some(self.code.unwrap_or(126));
        }
        if ended.is_some() {
            rest::terminate(self.adoption);
            self.deadline = Some(Instant::now() + GRACE);
        } else if self.killed {
            // As sub-reaper, what was born during the last round is still to be killed.
            rest::kill(self.adoption);
        }
        None
    }

    fn deadline_passed(&mut self) -> Option<i32> {
        self.deadline.filter(|at| *at <= Instant::now())?;
        if self.killed {
            return self.code;
        }
        self.kill_rest();
        None
    }

    fn kill_rest(&mut self) {
        self.killed = true;
        self.deadline = Some(Instant::now() + LAST_WAIT);
        rest::kill(self.adoption);
    }

    fn forward(&mut self, signal: Signal) {
        if self.code.is_some() {
            if signal.asks_to_stop() {
                self.kill_rest();
            }
            return;
        }
        if signal.0 == libc::SIGCONT {
            self.hand_terminal_on();
        }
        send(-self.child, signal.0);
        if signal.asks_to_stop() {
            // A stopped process does not hear it otherwise.
            send(-self.child, libc::SIGCONT);
        }
    }

    /// When the command is stopped, as by ^Z, the shell above us waits for us to stop, too. PID 1 can't be stopped.
    fn stop_with_the_child(&self) {
        if self.adoption != Adoption::Init && self.code.is_none() && reaper::is_stopped(self.child) {
            send(unistd::getpid().as_raw(), libc::SIGSTOP);
        }
    }

    /// A shell that brings us back to the foreground gives the terminal to our group; the command needs it.
    fn hand_terminal_on(&self) {
        if unistd::tcgetpgrp(stdin()).is_ok_and(|group| group == unistd::getpgrp()) {
            let _ = unistd::tcsetpgrp(stdin(), unistd::Pid::from_raw(self.child));
        }
    }
}
