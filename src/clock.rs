//! The only reader of the wall clock. Decisions take `now` as an argument; only effects ask for it here.

use time::OffsetDateTime;

/// The current wall-clock time in UTC.
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
