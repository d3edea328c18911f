//! Log lines: text by default, JSON with `WARDEN_LOG_FORMAT=json`.
//!
//! Lines go through a bounded queue to a thread that writes them: a reader of our standard output that stands still
//! costs lines, which are counted, and never PID 1's time.

mod filter;
mod lines;
mod writer;

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
    time::Duration,
};

use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt};

pub use self::filter::parse as parse_filter;
use self::lines::Lines;
pub(crate) use self::writer::ERASE;
use crate::config;

static LOG: OnceLock<Lines> = OnceLock::new();
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error(
        "cannot read WARDEN_LOG_LEVEL={level:?}: {why}; write a level such as \"info\" or a filter such as \"info,h2=warn\""
    )]
    Filter {
        /// As configured.
        level: String,
        /// The parser's words.
        why: String,
    },
    /// No thread for the writer.
    #[error("cannot start the log writer: {0}")]
    Writer(#[from] io::Error),
    /// Called twice.
    #[error("the log is already set up")]
    Twice,
}

/// Starts logging to standard output. Call it once, after signals are blocked.
pub fn init(config: &config::Log) -> Result<(), Error> {
    start(config, filter(&config.level, &config.level)?)
}

/// The same in the gateway. What its HTTP/2 library says of each frame comes only when asked for by name (`h2=debug`):
/// a level alone is about the warden.
pub fn init_within(config: &config::Log) -> Result<(), Error> {
    start(config, filter(&format!("h2=warn,{}", config.level), &config.level)?)
}

/// Whether `level` is one.
pub fn check_level(level: &str) -> Result<(), Error> {
    filter(level, level).map(drop)
}

/// Another level from now on; one that is no filter changes nothing.
pub fn set_level(level: &str) {
    match filter(level, level) {
        Ok(filter) => drop(FILTER.get().map(|handle| handle.reload(filter))),
        Err(error) => tracing::warn!("{error}"),
    }
}

/// Whether a log was started in this process.
pub fn is_up() -> bool {
    LOG.get().is_some()
}

fn filter(text: &str, level: &str) -> Result<Targets, Error> {
    parse_filter(text).map_err(|why| Error::Filter { level: level.to_owned(), why })
}

fn start(config: &config::Log, filter: Targets) -> Result<(), Error> {
    let lines = Lines::start(config.format, io::stdout().is_terminal(), io::stdout())?;
    LOG.set(lines.clone()).map_err(|_| Error::Twice)?;
    let (filter, handle) = reload::Layer::new(filter);
    let _ = FILTER.set(handle);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| Error::Twice)
}

/// Logs one line that a child wrote. Before [`init`] it goes nowhere.
pub fn child_line(child: &str, line: &str) {
    if let Some(log) = LOG.get() {
        log.child_line(child, line);
    }
}

/// Keeps `text` as the last line of the terminal, below the log, until it is told another; `None` takes it away. Where
/// standard output is no terminal nothing is shown.
pub fn live(text: Option<&str>) {
    if let Some(log) = LOG.get() {
        log.live(text);
    }
}

/// Waits until everything logged so far is written, at most this long. Call it last.
pub fn flush(limit: Duration) {
    if let Some(log) = LOG.get() {
        log.flush(limit);
    }
}

/// Lines lost because nobody read our standard output fast enough.
pub fn lost_lines() -> u64 {
    LOG.get().map_or(0, Lines::lost)
}
