//! When and which: the two marks every record has.

use time::{OffsetDateTime, UtcOffset, macros::format_description};

/// RFC 3339 with microseconds, UTC.
pub(crate) fn timestamp(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    at.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}

/// A UUIDv7 of `at`.
pub(crate) fn id(at: OffsetDateTime) -> String {
    let seconds = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    let moment = uuid::Timestamp::from_unix(uuid::NoContext, seconds, at.nanosecond());
    uuid::Uuid::new_v7(moment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds_and_end_in_z() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_764_000_000_123_456_789).unwrap();
        assert_eq!(timestamp(at), "2025-11-24T16:00:00.123456Z");
        assert!(id(at).starts_with("019ab697-e87b-7"), "{}", id(at));
    }
}
