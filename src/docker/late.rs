//! Bundles that came after their generation: who was told before read what was there before, and is told again. Pure.

use std::{collections::BTreeMap, path::Path};

use time::OffsetDateTime;

use super::{engine::Listed, plan::Plan};
use crate::rotation::{BundleReport, BundleState};

/// Bundles that could not be written when their generation was published, by name; since when each is, if it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Late(BTreeMap<String, Option<OffsetDateTime>>);

impl Late {
    /// What was written down: bundles, and since when each is there.
    pub fn new(noted: impl IntoIterator<Item = (String, Option<OffsetDateTime>)>) -> Self {
        Self(noted.into_iter().collect())
    }

    /// To be written down.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<OffsetDateTime>)> {
        self.0.iter().map(|(name, at)| (name.as_str(), *at))
    }

    /// What became of the bundles at `now`. One that was written though the set is the one before (`same_set`) was missing
    /// until now, whoever saw that.
    pub fn look(&mut self, bundles: &[BundleReport], same_set: bool, now: OffsetDateTime) {
        for BundleReport { name, state, .. } in bundles {
            let was_missing = self.0.get(*name) == Some(&None);
            match state {
                BundleState::Failed(_) => drop(self.0.insert((*name).to_owned(), None)),
                BundleState::Published(_) if same_set || was_missing => {
                    self.0.insert((*name).to_owned(), Some(now));
                }
                BundleState::Current if was_missing => drop(self.0.insert((*name).to_owned(), Some(now))),
                _ => {}
            }
        }
    }

    /// Everybody was told by a row that began at `began`.
    pub fn told(&mut self, began: OffsetDateTime) {
        self.0.retain(|_, at| at.is_none_or(|at| at > began));
    }

    /// Who has such a bundle mounted holds what was replaced until the bundle came. Where mounts are not known (`by_name`)
    /// that is everybody. `publish_dir`: where bundles are mounted in our own container.
    pub fn postpone(&self, plan: &mut Plan, listed: &[Listed], own_id: Option<&str>, publish_dir: &Path) {
        let own = listed.iter().find(|container| own_id.is_some_and(|id| id == container.id));
        for (name, at) in self.iter() {
            let Some(at) = at else { continue };
            let path = publish_dir.join(name);
            let volume = own.and_then(|own| own.mounts.iter().find(|mount| Path::new(&mount.at) == path));
            for target in &mut plan.targets {
                let container = listed.iter().find(|container| container.name == target.name);
                let has_it = match (container, volume) {
                    (Some(container), Some(volume)) => container.mounts.iter().any(|mount| mount.of == volume.of),
                    _ => true,
                };
                if has_it {
                    target.since = target.since.max(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::{
        config::Action,
        docker::{Mount, Target, Wish},
    };

    const PUBLISHED: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const LATER: OffsetDateTime = datetime!(2026-11-24 12:09 UTC);

    fn report(state: BundleState) -> [BundleReport; 1] {
        [BundleReport { name: "client", path: "/published/client".into(), state }]
    }

    fn seen(states: &[(BundleState, bool)]) -> Late {
        let mut late = Late::default();
        states.iter().for_each(|(state, same_set)| late.look(&report(state.clone()), *same_set, LATER));
        late
    }

    #[test]
    fn a_bundle_is_late_once_it_failed_or_came_without_a_new_set() {
        let failed = || (BundleState::Failed("full".to_owned()), false);
        let waits = Late::new([("client".to_owned(), None)]);
        let came = Late::new([("client".to_owned(), Some(LATER))]);
        assert_eq!(seen(&[(BundleState::Published(3), false), (BundleState::Current, true)]), Late::default());
        assert_eq!(seen(&[failed()]), waits);
        assert_eq!(seen(&[failed(), (BundleState::Published(3), true), (BundleState::Current, true)]), came);
        // With the next set, of which its consumer may want to know nothing.
        assert_eq!(seen(&[failed(), (BundleState::Published(3), false)]), came);
        // Written by a process that ended before it could say so; or the failure was never seen.
        assert_eq!(seen(&[failed(), (BundleState::Current, true)]), came);
        assert_eq!(seen(&[(BundleState::Published(3), true)]), came);
    }

    #[test]
    fn it_is_late_until_a_row_that_began_after_it_came_has_told_everybody() {
        let mut late = Late::new([("client".to_owned(), Some(LATER)), ("ui".to_owned(), None)]);
        late.told(PUBLISHED);
        assert_eq!(late.iter().count(), 2);
        late.told(LATER);
        assert_eq!(late.iter().collect::<Vec<_>>(), [("ui", None)]);
    }

    fn container(name: &str, mounts: &[(&str, &str)]) -> Listed {
        let mounts = mounts.iter().map(|(of, at)| Mount { of: (*of).to_owned(), at: (*at).to_owned() });
        Listed {
            id: name.to_owned(),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            state: "running".to_owned(),
            addresses: Vec::new(),
            mounts: mounts.collect(),
        }
    }

    #[test]
    fn only_who_mounts_it_is_told_again_and_everybody_where_that_is_not_known() {
        let listed = [
            container("warden", &[("v_client", "/published/client"), ("v_ui", "/published/ui")]),
            container("app", &[("v_client", "/etc/temporal/certs")]),
            container("ui", &[("v_ui", "/etc/temporal/certs")]),
        ];
        let wish = Wish { action: Action::Restart, changes: Vec::new(), order: 1 };
        let target = |name: &str| Target { name: name.to_owned(), service: None, wish: wish.clone(), since: PUBLISHED };
        let since = |listed: &[Listed]| {
            let mut plan = Plan { targets: vec![target("app"), target("ui")], ..Plan::default() };
            seen(&[(BundleState::Published(3), true)]).postpone(
                &mut plan,
                listed,
                Some("warden"),
                Path::new("/published"),
            );
            plan.targets.iter().map(|target| target.since).collect::<Vec<_>>()
        };
        assert_eq!(since(&listed), [LATER, PUBLISHED]);
        assert_eq!(since(&[]), [LATER, LATER]);
    }
}
