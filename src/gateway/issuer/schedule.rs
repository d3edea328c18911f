//! When keys are fetched, and when those at hand are too old. Pure.

use std::time::Duration;

use crate::{backoff, gateway::link::KeysFrom};

/// From the last fetch to the next: the usual time after one that succeeded, longer and longer after failures.
pub(super) fn pause(from: &KeysFrom, failures: u32, jitter: f64) -> Duration {
    let (refresh, retry) = (Duration::from_millis(from.refresh_ms), Duration::from_millis(from.retry_ms));
    match failures {
        0 => refresh,
        failures => backoff::delay(retry, refresh, failures, jitter),
    }
}

/// How long keys that were fetched at `fetched_ms` are still good for; zero = no longer.
pub(super) fn left(from: &KeysFrom, fetched_ms: i64, now_ms: i64) -> Duration {
    // A clock that was put back must not make old keys younger than new ones.
    let age = u64::try_from(now_ms.saturating_sub(fetched_ms)).unwrap_or(0);
    Duration::from_millis(from.stale_ms.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> KeysFrom {
        KeysFrom {
            issuer: String::new(),
            url: String::new(),
            discovery: false,
            allow_http: false,
            trust_pem: None,
            refresh_ms: 300_000,
            retry_ms: 10_000,
            stale_ms: 3_600_000,
        }
    }

    #[test]
    fn an_issuer_that_is_away_is_asked_less_and_less_but_never_less_than_usual() {
        let pauses: Vec<_> = (0..8).map(|failures| pause(&from(), failures, 0.0).as_secs()).collect();
        assert_eq!(pauses, [300, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn keys_are_good_for_the_stated_time_whatever_the_clock_does() {
        assert_eq!(left(&from(), 1000, 1000), Duration::from_secs(3600));
        assert_eq!(left(&from(), 1000, 3_600_999), Duration::from_millis(1));
        assert_eq!(left(&from(), 1000, 3_601_000), Duration::ZERO);
        assert_eq!(left(&from(), 1000, 0), Duration::from_secs(3600));
    }
}
