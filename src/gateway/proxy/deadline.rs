//! `grpc-timeout`: at most 8 digits and a unit. It is passed on unchanged; this is for the gateway's own timer.

use std::time::Duration;

use http::HeaderMap;

/// The time a call gives itself; `None` without a valid header (the upstream judges invalid ones).
pub(in crate::gateway) fn of(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_counts() {
        let read: Vec<_> = ["2H", "3M", "70S", "500m", "7u", "9n"].map(parse).into_iter().flatten().collect();
        let expected = [7_200_000_000_000, 180_000_000_000, 70_000_000_000, 500_000_000, 7_000, 9_u128];
        assert_eq!(read.iter().map(Duration::as_nanos).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn malformed_ones_are_none() {
        for text in ["", "S", "1", "123456789S", "1s", "-1S", "1.5S", " 1S", "é"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
