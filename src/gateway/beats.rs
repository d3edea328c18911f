//! Whether every worker still turns. Each is asked through the queue its sockets come by, so its own runtime has to turn
//! for an answer, which is the number of the round.
//!
//! A thread that hangs in a system call or spins is seen by nothing else: the control loop goes on, and so do the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Between two rounds; a worker has as long for its answer. One wake-up of each, and nothing else while all is idle.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// A worker's end.
#[derive(Debug, Clone, Default)]
pub(super) struct Beat(Arc<AtomicU64>);

impl Beat {
    /// Answers `round`.
    pub(super) fn answer(&self, round: u64) {
        self.0.store(round, Ordering::Relaxed);
    }
}

/// The worker that has been silent for longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stuck {
    /// Its number.
    pub(super) worker: usize,
    /// Rounds in a row without an answer.
    pub(super) rounds: u32,
}

/// The asking end.
#[derive(Debug, Default)]
pub(super) struct Beats {
    round: u64,
    workers: Vec<(Beat, u32)>,
}

impl Beats {
    /// One more worker.
    pub(super) fn add(&mut self) -> Beat {
        let beat = Beat::default();
        self.workers.push((beat.clone(), 0));
        beat
    }

    /// Ends a round and begins the next: its number, and who has been silent.
    pub(super) fn next(&mut self) -> (u64, Option<Stuck>) {
        for (beat, silent) in &mut self.workers {
            *silent = if beat.0.load(Ordering::Relaxed) == self.round { 0 } else { silent.saturating_add(1) };
        }
        self.round += 1;
        let all = self.workers.iter().enumerate().map(|(worker, (_, rounds))| Stuck { worker, rounds: *rounds });
        (self.round, all.filter(|stuck| stuck.rounds > 0).max_by_key(|stuck| stuck.rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_silent_from_its_first_missed_round_until_it_answers_the_last_one() {
        let mut beats = Beats::default();
        let workers = [beats.add(), beats.add(), beats.add()];
        let mut round = |answering: &[usize]| {
            let (round, stuck) = beats.next();
            answering.iter().for_each(|worker| workers[*worker].answer(round));
            stuck.map(|stuck| (stuck.worker, stuck.rounds))
        };
        assert_eq!(round(&[0, 1, 2]), None, "nobody was asked yet");
        assert_eq!(round(&[0, 2]), None);
        assert_eq!(round(&[0]), Some((1, 1)));
        assert_eq!(round(&[0, 2]), Some((1, 2)), "the one that is silent for longest");
        assert_eq!(round(&[0, 1, 2]), Some((1, 3)));
        assert_eq!(round(&[0, 1, 2]), None, "it turns again");
    }
}
