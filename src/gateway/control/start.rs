//! Before the runtime: the first message, the walls, signals and the log, in this order.

use std::{io, os::unix::net::UnixStream as StdUnixStream};

use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
};
use tokio::sync::oneshot;

use super::Error;
use crate::{
    gateway::{
        confine::{Wall, confine},
        descriptors::Descriptors,
        link::{self, Hello, ToGateway},
    },
    telemetry,
};

/// What there is when the runtime starts.
pub(super) struct Start {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) descriptors: Descriptors,
    pub(super) signals: StopSignal,
    pub(super) hello: Hello,
}

/// Shut in before the first thread: those that are there when the walls come up would stay outside.
pub(super) fn start() -> Result<Start, Error> {
    let mut descriptors = Descriptors::take().map_err(Error::Start)?;
    let hello = hello(&mut descriptors.link)?;
    let walls = shut_in(&hello);
    // Blocked before any thread starts, so that all of them inherit it and only the waiting one gets them.
    let signals = stop_signals().map_err(Error::Start)?;
    start_log(&hello, walls)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    Ok(Start { runtime, descriptors, signals, hello })
}

fn hello(from: &mut StdUnixStream) -> Result<Hello, Error> {
    match link::receive_now(from).map_err(|source| Error::Io { what: "reading Hello", source })? {
        Some(ToGateway::Hello(hello)) => Ok(hello),
        Some(_) => Err(Error::Protocol { expected: "Hello" }),
        None => Err(Error::Silent("Hello")),
    }
}

/// Its keys are in no core dump, and it reaches little. PID 1 has given it a user of its own before.
fn shut_in(hello: &Hello) -> Vec<Wall> {
    let dumps = prctl::set_dumpable(false).err();
    let dumps =
        dumps.map(|cause| Wall::Missing(format!("core dumps of the gateway could not be switched off: {cause}")));
    dumps.into_iter().chain(confine(hello.connect.as_deref())).collect()
}

/// Starts the log, first with what could not be said before.
fn start_log(hello: &Hello, walls: Vec<Wall>) -> Result<(), Error> {
    telemetry::init_within(&hello.log).map_err(|error| Error::Start(io::Error::other(error)))?;
    for wall in walls {
        match wall {
            Wall::Stands(what) => tracing::info!("{what}"),
            Wall::Missing(what) => tracing::warn!("{what}"),
        }
    }
    Ok(())
}

/// Resolves at SIGTERM or SIGINT; SIGHUP means nothing here.
pub(super) type StopSignal = oneshot::Receiver<()>;

fn stop_signals() -> io::Result<StopSignal> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block()?;
    let (stop, stopped) = oneshot::channel();
    let wait = move || {
        while matches!(signals.wait(), Ok(Signal::SIGHUP)) {}
        let _ = stop.send(());
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_| stopped)
}
