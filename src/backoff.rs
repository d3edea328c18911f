//! Exponential back-off with full determinism: the caller brings the jitter.

use std::time::Duration;

/// Delay before attempt `failures` (1 = after the first failure): `base · 2^(failures−1)`, at most `cap`, plus up
/// to a tenth of itself for `jitter` in `0.0..1.0`.
pub fn delay(base: Duration, cap: Duration, failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let plain = base.saturating_mul(1 << doublings).min(cap);
    plain + plain.mul_f64(jitter.clamp(0.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(5);

    #[test]
    fn delays_double_until_the_cap() {
        let seen: Vec<_> = (1..=8).map(|n| delay(BASE, CAP, n, 0.0).as_millis()).collect();
        assert_eq!(seen, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn jitter_adds_at_most_a_tenth() {
        assert_eq!(delay(BASE, CAP, 1, 1.0), Duration::from_millis(110));
        assert_eq!(delay(BASE, CAP, u32::MAX, 9.0), Duration::from_millis(5500));
    }
}
