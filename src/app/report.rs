//! What PID 1 says of itself: health, and the document of `status`.

use super::{Warden, fall_back, warnings, witness};
use crate::{
    admin::{
        self, Reply,
        status::{Bundle, Status},
    },
    clock,
    gateway::link::{Health, Phase},
    rotation, supervisor, telemetry,
};

impl Warden {
    pub(super) fn health_reply(&self) -> Reply {
        let health = self.parent.health().borrow().clone();
        Reply::Health { serving: health.serving, reason: self.reason(&health) }
    }

    /// The gateway's reason, or where the start is when no gateway has spoken yet.
    pub(super) fn reason(&self, health: &Health) -> String {
        match self.parent.current_phase() {
            Phase::Starting { doing } if !health.reported => doing,
            _ => health.reason.clone(),
        }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let back = self.rolled_back.borrow().clone();
        let generation = self.live.borrow().put_back.as_ref().map(fall_back::words);
        let stays = self.stays.borrow().clone();
        back.into_iter().chain(generation).chain(stays).chain(warnings(&self.config(), self.adoption)).collect()
    }

    pub(super) fn bundles(&self) -> Vec<Bundle> {
        let line = |b: &rotation::BundleReport| Bundle {
            name: b.name.to_owned(),
            state: b.to_string(),
            failed: matches!(b.state, rotation::BundleState::Failed(_)),
        };
        self.live.borrow().bundles.iter().map(line).collect()
    }

    pub(super) async fn status(&self) -> Result<Status, String> {
        let sight = witness::sight(self).await;
        let config = (*self.config()).clone();
        let look = tokio::task::spawn_blocking(move || rotation::inspect(&config, clock::now()));
        let report = look.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let health = self.parent.health().borrow().clone();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serving: health.serving,
            reason: self.reason(&health),
            starting: self.starting_at(),
            engine: self.config().engine,
            warnings: self.warnings(),
            generation: self.live.borrow().generation,
            children: self.supervisor.statuses().into_iter().map(child_row).collect(),
            gateway: health,
            artefacts: report.artefacts,
            dependents_pending: self.dependents.pending(),
            holders: sight.holders,
            authorities: sight.authorities,
            bundles: self.bundles(),
            lost_log_lines: telemetry::lost_lines(),
        })
    }
}

fn child_row(child: supervisor::ChildStatus) -> admin::status::Child {
    admin::status::Child {
        name: child.name.to_owned(),
        state: child.state.as_str().to_owned(),
        pid: child.pid,
        restarts: child.restarts,
        since: child.since,
        last_exit: child.last_exit,
    }
}
