//! Where the start is: in `/health` and `status`, in the log at growing intervals, and as a live line on a terminal.

use std::{cell::RefCell, convert::Infallible, rc::Rc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::info;

use super::Warden;
use crate::{admin::status::Starting, gateway::link::Phase, telemetry};

/// Between two looks at the stage.
const TICK: Duration = Duration::from_secs(1);
/// When a stage that goes on is said in the log for the first time.
const FIRST: Duration = Duration::from_secs(5);
/// The longest time between two such lines.
const RAREST: Duration = Duration::from_secs(60);

/// The stage of the start and when it began; `None` before and after.
#[derive(Debug, Default)]
pub(super) struct Stage(RefCell<Option<(String, Instant)>>);

impl Stage {
    /// How long this stage goes on; another one begins now.
    fn enter(&self, name: &str) {
        let mut stage = self.0.borrow_mut();
        if stage.as_ref().is_none_or(|(now, _)| now != name) {
            *stage = Some((name.to_owned(), Instant::now()));
        }
    }

    fn lasts(&self) -> Option<Duration> {
        self.0.borrow().as_ref().map(|(_, since)| since.elapsed())
    }
}

impl Warden {
    /// The start is at `stage`; `detail` is what is known of it beyond its name.
    pub(super) fn starting(&self, stage: &str, detail: Option<&str>) {
        self.stage.enter(stage);
        let doing = detail.map_or_else(|| stage.to_owned(), |detail| format!("{stage}: {detail}"));
        self.parent.phase(Phase::Starting { doing });
    }

    /// All is up.
    pub(super) fn started(&self) {
        self.stage.0.replace(None);
        telemetry::live(None);
        self.parent.phase(Phase::Ready);
    }

    /// Tells what the child of the schema says, until it is dropped.
    pub(super) async fn show_progress(&self, mut heard: watch::Receiver<String>) -> Infallible {
        while heard.changed().await.is_ok() {
            let doing = heard.borrow_and_update().clone();
            self.parent.phase(Phase::Starting { doing });
        }
        std::future::pending().await
    }

    /// For `status`.
    pub(super) fn starting_at(&self) -> Option<Starting> {
        let lasts = self.stage.lasts()?;
        let Phase::Starting { doing } = self.parent.current_phase() else { return None };
        let (step, of) = steps(&doing).unzip();
        Some(Starting { doing, seconds: lasts.as_secs(), step, of })
    }
}

/// Shows the stage until all is up.
pub(super) async fn show(warden: Rc<Warden>) {
    let (mut said, mut stage) = (Duration::ZERO, None);
    loop {
        sleep(TICK).await;
        let Some(now) = warden.starting_at() else { return };
        telemetry::live(Some(&format!("starting, {} s: {}", now.seconds, now.doing)));
        let began = warden.stage.0.borrow().as_ref().map(|(_, since)| *since);
        if stage != began {
            (stage, said) = (began, Duration::ZERO);
        }
        let lasts = Duration::from_secs(now.seconds);
        if lasts >= next(said) {
            said = lasts;
            match (now.step, now.of) {
                (Some(step), Some(of)) => info!(seconds = now.seconds, step, of, "still starting: {}", now.doing),
                _ => info!(seconds = now.seconds, "still starting: {}", now.doing),
            }
        }
    }
}

/// When a stage that was said at `said` is said again: each time after twice as long, up to once a minute.
fn next(said: Duration) -> Duration {
    if said < FIRST { FIRST } else { said + said.min(RAREST) }
}

/// "schema 3/14 temporal: …" is step 3 of 14.
fn steps(doing: &str) -> Option<(u32, u32)> {
    let (step, of) = doing.strip_prefix("schema ")?.split(' ').next()?.split_once('/')?;
    Some((step.parse().ok()?, of.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_from_the_line_and_nothing_else_is_one() {
        assert_eq!(steps("schema 3/14 temporal: version tables"), Some((3, 14)));
        for other in ["schema ready after 4 ms", "waiting for PostgreSQL at a/b:1", "schema x/2", ""] {
            assert_eq!(steps(other), None, "{other}");
        }
    }

    #[test]
    fn a_stage_that_goes_on_is_said_ever_more_rarely_down_to_once_a_minute() {
        let mut said = Duration::ZERO;
        let times: Vec<u64> = std::iter::repeat_with(|| {
            said = next(said);
            said.as_secs()
        })
        .take(7)
        .collect();
        assert_eq!(times, [5, 10, 20, 40, 80, 140, 200]);
    }
}
