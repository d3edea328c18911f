//! Whether the wall clock can be believed: before anything is renewed or retired by a time that jumped, there is a
//! warning and a second look.

use std::time::Duration as StdDuration;

use time::{Duration, OffsetDateTime};

use super::{Error, artefact::FLAT, inputs, report::inspect, state::State};
use crate::{config::Config, store::Generations};

/// A clock may be corrected by this much without anyone asking why.
const JUMP: Duration = Duration::DAY;
/// Until the second look: time enough for a clock that was set wrong at boot to be set right over the network.
const SECOND_LOOK: StdDuration = StdDuration::from_secs(60);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// The wall clock.
    pub wall: OffsetDateTime,
    /// Time since the boot, sleep included: nobody sets it.
    pub steady: StdDuration,
}

impl Glance {
    /// How far the wall clock ran ahead (or fell back) since `before`, by the steady clock.
    fn ahead_of(&self, before: &Self) -> Duration {
        let passed = Duration::try_from(self.steady.saturating_sub(before.steady)).unwrap_or(Duration::MAX);
        (self.wall - before.wall).saturating_sub(passed)
    }
}

/// What a look shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The clock can be believed.
    Sure,
    /// It has just jumped by this much, or was not believed from the start: time to warn.
    Jumped(Duration),
    /// The second look is still ahead.
    Doubtful,
    /// The second look agrees with the first: it is believed again.
    Settled,
}

/// Watches the wall clock against the steady one.
#[derive(Debug, Clone)]
pub struct Watch {
    last: Glance,
    /// When doubt began, by the steady clock.
    doubt: Option<StdDuration>,
}

impl Watch {
    /// Begins, in doubt or not.
    pub fn new(first: Glance, in_doubt: bool) -> Self {
        Self { last: first, doubt: in_doubt.then_some(first.steady) }
    }

    /// Whether time may decide now.
    pub fn is_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// One more look. Small steps between two looks are the clock's own business.
    pub fn look(&mut self, now: Glance) -> Sight {
        let jump = now.ahead_of(&self.last);
        self.last = now;
        if jump.abs() > JUMP {
            self.doubt = Some(now.steady);
            return Sight::Jumped(jump);
        }
        match self.doubt {
            None => Sight::Sure,
            Some(since) if now.steady.saturating_sub(since) < SECOND_LOOK => Sight::Doubtful,
            Some(_) => {
                self.doubt = None;
                Sight::Settled
            }
        }
    }
}

/// Why the clock is not believed at a start: it is more than a day from where the last writer saw it, and something
/// would be renewed or retired for that. After a long rest that is in order; the second look costs a minute.
pub fn at_start(config: &Config, now: OffsetDateTime) -> Result<Option<String>, Error> {
    if !config.certs.dir.exists() {
        return Ok(None);
    }
    let folder = Generations::open_existing(&config.certs.dir)?;
    // Said and completed by the start itself, which reads the same files under the lock.
    let _ = folder.open_up();
    let snapshot = folder.snapshot_unlocked(&FLAT)?;
    let Some(seen) = State::of(&inputs::to_set(&snapshot)).last_seen else { return Ok(None) };
    let due = || inspect(config, now).map(|r| r.artefacts.iter().any(|a| a.renew_at.is_some_and(|at| at <= now)));
    if (now - seen).abs() <= JUMP || !due()? {
        return Ok(None);
    }
    Ok(Some(format!(
        "the clock says {now}, the last certificates or tokens were made on {seen}: was it set, or was this off for so long?"
    )))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: Glance = Glance { wall: datetime!(2026-11-24 12:00 UTC), steady: StdDuration::from_secs(1000) };

    /// `steady` seconds later, with the wall clock off by `off`.
    fn at(steady: u64, off: Duration) -> Glance {
        let passed = StdDuration::from_secs(steady);
        Glance { wall: START.wall + passed + off, steady: START.steady + passed }
    }

    #[test]
    fn a_clock_that_goes_as_it_should_or_is_corrected_a_little_is_believed() {
        let mut watch = Watch::new(START, false);
        for (steady, off) in [(5, 0), (10, 3600), (15, -3600), (86_400 * 40, -3600)] {
            assert_eq!(watch.look(at(steady, Duration::seconds(off))), Sight::Sure);
        }
    }

    #[test]
    fn a_jump_either_way_is_told_once_and_believed_after_a_minute() {
        for off in [Duration::days(400), Duration::days(-400)] {
            let mut watch = Watch::new(START, false);
            assert_eq!(watch.look(at(5, off)), Sight::Jumped(off));
            assert_eq!(watch.look(at(10, off)), Sight::Doubtful);
            assert!(!watch.is_sure());
            assert_eq!(watch.look(at(64, off)), Sight::Doubtful);
            assert_eq!(watch.look(at(65, off)), Sight::Settled);
            assert_eq!(watch.look(at(70, off)), Sight::Sure);
        }
    }

    #[test]
    fn a_jump_that_is_taken_back_begins_the_minute_anew() {
        let mut watch = Watch::new(START, false);
        assert_eq!(watch.look(at(5, Duration::days(400))), Sight::Jumped(Duration::days(400)));
        assert_eq!(watch.look(at(60, Duration::ZERO)), Sight::Jumped(Duration::days(-400)));
        assert_eq!(watch.look(at(65, Duration::ZERO)), Sight::Doubtful);
        assert_eq!(watch.look(at(120, Duration::ZERO)), Sight::Settled);
    }

    #[test]
    fn doubt_from_the_start_lasts_a_minute_too() {
        let mut watch = Watch::new(START, true);
        assert_eq!(watch.look(at(59, Duration::ZERO)), Sight::Doubtful);
        assert_eq!(watch.look(at(60, Duration::ZERO)), Sight::Settled);
    }

    #[test]
    fn a_long_sleep_of_the_machine_is_no_jump() {
        let mut watch = Watch::new(START, false);
        assert_eq!(watch.look(at(86_400 * 300, Duration::ZERO)), Sight::Sure);
    }
}
