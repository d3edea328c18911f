//! The only reader of the clocks. Decisions take `now` as an argument; only effects ask for it here.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use time::OffsetDateTime;

/// The current wall-clock time in UTC.
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Milliseconds of Unix time.
pub fn ms(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// Time since the boot of the machine, sleep included (`CLOCK_BOOTTIME`); nobody sets it.
pub fn since_boot() -> Duration {
    // The kernel refuses only clocks it does not have; this one is older than any that runs this.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
