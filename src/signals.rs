//! Signals of PID 1: blocked before anything else, read in order from one descriptor.
//!
//! The kernel drops a signal that reaches a PID 1 whose disposition is the default one, but never a blocked one.
//! So [`block_all`] stands in the first lines of `main`, before arguments, configuration and logging.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use nix::{
    libc,
    sys::{
        signal::SigSet,
        signalfd::{SfdFlags, SignalFd},
    },
    unistd,
};
use signal_hook::low_level::signal_name;
use tokio::io::unix::AsyncFd;

/// One signal as it was received. A plain number, because real-time signals have no name of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Signal {
    /// Whether it asks for an orderly stop of everything.
    pub fn asks_to_stop(self) -> bool {
        matches!(self.0, libc::SIGTERM | libc::SIGINT)
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// The blocked signals of this process, readable one by one.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// Blocks every signal in this thread (and in those it starts later) and opens the descriptor they are read from.
pub fn block_all() -> io::Result<Signals> {
    let all = SigSet::all();
    all.thread_block()?;
    Ok(Signals(SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
}

impl Signals {
    /// The next pending signal; `None` when there is none.
    pub fn try_next(&self) -> io::Result<Option<Signal>> {
        while let Some(info) = self.0.read_signal()? {
            if let Some(signal) = meant_for_us(info.ssi_signo, info.ssi_code, info.ssi_pid) {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    /// Registers the descriptor with the tokio runtime this is called in.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, which this crate keeps to supervisor/process; SignalFd owns its descriptor"
    )]
    pub fn into_async(self) -> io::Result<AsyncSignals> {
        AsyncFd::new(self).map(AsyncSignals)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// [`Signals`] inside a tokio runtime: sleeps until one arrives.
#[derive(Debug)]
pub struct AsyncSignals(AsyncFd<Signals>);

impl AsyncSignals {
    /// The next signal. Cancel-safe: a signal is taken from the descriptor only when it is returned.
    pub async fn next(&mut self) -> io::Result<Signal> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.get_inner().try_next()? {
                Some(signal) => return Ok(signal),
                None => ready.clear_ready(),
            }
        }
    }
}

/// Writing to a closed pipe raises SIGPIPE in ourselves; forwarded, it would kill a child that did nothing wrong.
fn meant_for_us(number: u32, code: i32, sender: u32) -> Option<Signal> {
    let own_pipe = number == libc::SIGPIPE as u32
        && (code != libc::SI_USER || i32::try_from(sender) == Ok(unistd::getpid().as_raw()));
    if own_pipe { None } else { i32::try_from(number).ok().map(Signal) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_usual_names_and_real_time_ones_their_number() {
        assert_eq!(Signal(libc::SIGTERM).to_string(), "SIGTERM");
        assert_eq!(Signal(40).to_string(), "signal 40");
    }

    #[test]
    fn only_term_and_int_ask_to_stop() {
        let stops: Vec<_> = (1..=64).filter(|n| Signal(*n).asks_to_stop()).collect();
        assert_eq!(stops, [libc::SIGINT, libc::SIGTERM]);
    }

    #[test]
    fn a_sigpipe_of_our_own_is_dropped_and_one_from_outside_is_not() {
        let (pipe, own) = (libc::SIGPIPE as u32, unistd::getpid().as_raw() as u32);
        assert_eq!(meant_for_us(pipe, libc::SI_USER, own), None);
        assert_eq!(meant_for_us(pipe, libc::SI_USER, 0), Some(Signal(libc::SIGPIPE)));
        assert_eq!(meant_for_us(libc::SIGUSR1 as u32, libc::SI_USER, own), Some(Signal(libc::SIGUSR1)));
    }
}
