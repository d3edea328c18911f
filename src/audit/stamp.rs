//! When and which: the two marks every record has.

use time::{OffsetDateTime, UtcOffset};

/// RFC 3339 with microseconds, UTC. By hand, for it runs at each record.
pub(crate) fn timestamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, micros) = at.to_hms_micro();
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put(&mut text[..4], year.unsigned_abs());
    for (place, number) in [(5, u8::from(month)), (8, day), (11, hour), (14, minute), (17, second)] {
        put(&mut text[place..place + 2], number.into());
    }
    put(&mut text[20..26], micros);
    text.map(char::from).iter().collect()
}

/// `number` in decimal, as far as it fits.
fn put(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
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
