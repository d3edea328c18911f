//! SIGHUP and `temporal-warden reload`: everything is read again, what changed comes into force, and what keeps a child
//! from becoming healthy is put back.
//!
//! Only settings are ever put back. Certificates, trust and revocations stay those of the newest generation.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    sync::Mutex,
    task::{AbortHandle, spawn_local},
    time::timeout,
};
use tracing::{error, info, warn};

use super::{GATEWAY, TEMPORAL, ThisBoot, Warden, desk, policy};
use crate::{
    admin::Server,
    audit::{Act, By},
    config::{
        change::{self, Change, Effect},
        load::Loaded,
    },
    rotation::Request,
    supervisor::{ChildStatus, State},
    telemetry,
};

/// How long a gateway may take to become ready; Temporal has WARDEN_ENGINE_START_TIMEOUT.
const GATEWAY_LIMIT: Duration = Duration::from_secs(30);

/// A configuration and what was made of it.
#[derive(Clone)]
pub(super) struct InForce {
    loaded: Rc<Loaded>,
    boot: Rc<ThisBoot>,
}

/// Reloads, one after the other.
pub(super) struct Reloads {
    turn: Mutex<Course>,
    /// One waits for its turn: it will read all that is new by then.
    waits: Cell<bool>,
}

/// What a reload begins with.
struct Course {
    /// What every child was last healthy with.
    healthy: InForce,
    /// Waits for the health of what the last reload restarted.
    watch: Option<AbortHandle>,
}

impl Reloads {
    /// What PID 1 started with counts as healthy: there is nothing before it.
    pub(super) fn new(loaded: Rc<Loaded>, boot: Rc<ThisBoot>) -> Self {
        let turn = Mutex::new(Course { healthy: InForce { loaded, boot }, watch: None });
        Self { turn, waits: Cell::new(false) }
    }

    /// Whether one is under way, or what it restarted is not healthy yet.
    pub(super) fn settling(&self) -> bool {
        self.turn.try_lock().map_or(true, |course| course.watch.is_some())
    }
}

/// What a reload would change, a line each.
pub(super) fn diff(warden: &Warden) -> Result<Vec<String>, String> {
    let next = warden.source.load().map_err(|errors| errors.to_string())?;
    let changes = change::between(&warden.loaded.get(), &next);
    match changes.is_empty() {
        true => Ok(vec!["what is in force is what is configured".to_owned()]),
        false => Ok(changes.iter().map(Change::to_string).collect()),
    }
}

/// SIGHUP. While one waits for its turn another has nothing to add, so that a storm of them costs two reloads.
pub(super) async fn hang_up(warden: &Rc<Warden>) {
    if !warden.reloads.waits.replace(true) {
        let _ = reload(warden, None).await;
    }
}

/// Reads everything again. Certificates and the audit log are looked at whatever comes of the configuration.
pub(super) async fn reload(warden: &Rc<Warden>, mut asker: Option<&mut Server>) -> Result<(), String> {
    info!(
        "reload: configuration, certificates, tokens, the policy file and the place of the audit log are looked at again"
    );
    let mut course = warden.reloads.turn.lock().await;
    warden.reloads.waits.set(false);
    let changes = take_over(warden);
    let made = desk::make(warden, Request::MakeMissing, None).await;
    let done = match changes {
        Ok(changes) => in_force(warden, &mut course, changes, &mut asker).await.and(made),
        Err(why) => {
            policy::reload(warden).await;
            let why = format!("{why}\nthe configuration before stays in force");
            why.lines().for_each(|line| warn!("{line}"));
            Err(why)
        }
    };
    warden.audit.look().await;
    done
}

/// The newest configuration as the one in force, if it can be used; what changed. Nothing is touched otherwise.
fn take_over(warden: &Warden) -> Result<Vec<Change>, String> {
    let next = warden.source.load().map_err(|errors| errors.to_string())?;
    let now = warden.loaded.get();
    let changes = change::between(&now, &next);
    let adopted = change::adopt(&now, &next).map_err(|errors| {
        format!("{errors}\nthis comes of settings that need a restart of the container: docker restart")
    })?;
    telemetry::check_level(&adopted.config.log.level).map_err(|error| error.to_string())?;
    policy::read(&adopted.config).map_err(|error| error.to_string())?;
    let boot = warden.boot().by(&adopted.config, &warden.live.borrow().postgres_password);
    boot.map_err(|error| error.to_string())?;
    warden.loaded.set(Rc::new(adopted));
    Ok(changes)
}

/// Brings what [`take_over`] took into force, and watches the health of what that restarts.
async fn in_force(
    warden: &Rc<Warden>,
    course: &mut Course,
    changes: Vec<Change>,
    asker: &mut Option<&mut Server>,
) -> Result<(), String> {
    for change in &changes {
        info!("{change}");
        desk::say(asker, change.to_string()).await;
    }
    policy::reload(warden).await;
    if !changes.iter().any(|change| change.effect != Effect::Container) {
        return Ok(());
    }
    course.watch.take().iter().for_each(AbortHandle::abort);
    warden.rolled_back.replace(None);
    let set = settle(warden);
    let switched = match set {
        Ok(()) => desk::publish_again(warden).await.map(drop),
        Err(why) => Err(why),
    };
    if let Err(why) = switched {
        return Err(roll_back(warden, &course.healthy, &[], &why).await);
    }
    let children = children(&changes);
    let before: Vec<_> = children.iter().map(|name| (*name, starts(warden, name))).collect();
    children.iter().for_each(|name| warden.supervisor.restart(name));
    let watched = spawn_local(watch(warden.clone(), before)).abort_handle();
    course.watch = Some(watched);
    Ok(())
}

/// Makes anew what follows from the configuration in force.
fn settle(warden: &Warden) -> Result<(), String> {
    let config = warden.config();
    telemetry::set_level(&config.log.level);
    let boot = warden.boot().by(&config, &warden.live.borrow().postgres_password).map_err(|e| e.to_string())?;
    boot.write_files(&config).map_err(|e| e.to_string())?;
    warden.boot.set(Rc::new(boot));
    Ok(())
}

/// Who has to be started again; the gateway first, for its calls wait while Temporal restarts.
fn children(changes: &[Change]) -> Vec<&'static str> {
    let of = |wanted| changes.iter().any(|change| change.effect == wanted);
    let all = [(Effect::Gateway, GATEWAY), (Effect::Temporal, TEMPORAL)];
    all.into_iter().filter(|(effect, _)| of(*effect)).map(|(_, name)| name).collect()
}

fn starts(warden: &Warden, name: &str) -> u32 {
    warden.supervisor.statuses().iter().find(|child| child.name == name).map_or(0, ChildStatus::starts)
}

/// Waits until all are healthy; puts the last healthy configuration back when one does not get there.
async fn watch(warden: Rc<Warden>, before: Vec<(&'static str, u32)>) {
    let limit = match before.iter().any(|(name, _)| *name == TEMPORAL) {
        true => warden.config().temporal.start_timeout.max(GATEWAY_LIMIT),
        false => GATEWAY_LIMIT,
    };
    let tries = warden.config().supervisor.tries();
    let mut statuses = warden.supervisor.watch();
    let settled = timeout(limit, statuses.wait_for(|all| verdict(all, &before, tries).is_some())).await;
    let failed = match settled {
        Ok(Ok(all)) => verdict(&all, &before, tries).flatten(),
        // Everything is being stopped.
        Ok(Err(_)) => return,
        Err(_) => Some(format!("not every process was healthy within {limit:?}")),
    };
    let mut course = warden.reloads.turn.lock().await;
    // From here on a new reload waits for us instead of ending us.
    course.watch = None;
    match failed {
        None => course.healthy = InForce { loaded: warden.loaded.get(), boot: warden.boot() },
        Some(why) => {
            let names: Vec<_> = before.iter().map(|(name, _)| *name).collect();
            roll_back(&warden, &course.healthy, &names, &why).await;
        }
    }
}

/// `Some(None)` when all are healthy again, `Some(why)` when one will not be, `None` while that is open.
///
/// `before` has the starts of each until then.
fn verdict(all: &[ChildStatus], before: &[(&str, u32)], tries: u32) -> Option<Option<String>> {
    let mut healthy = true;
    for (name, starts) in before {
        let child = all.iter().find(|child| child.name == *name)?;
        let vain = child.vain_starts(*starts);
        if child.state == State::GaveUp || (vain >= tries && child.state != State::Ready) {
            let last = child.last_exit.as_deref().unwrap_or("no exit");
            return Some(Some(format!("{name} was started {vain} times and never healthy (last exit: {last})")));
        }
        healthy &= child.starts() > *starts && child.state == State::Ready;
    }
    healthy.then_some(None)
}

/// Puts the last healthy configuration back, as loudly as can be; returns what was said.
async fn roll_back(warden: &Rc<Warden>, healthy: &InForce, restart: &[&'static str], why: &str) -> String {
    let changes = change::between(&healthy.loaded, &warden.loaded.get());
    let names: Vec<_> = changes.iter().map(|change| change.name.as_str()).collect();
    let said = format!(
        "ROLLED BACK: the new configuration ({}) is not in force: {why}. The one before is; correct the file and reload, \
         for the next start of the container reads it as it is",
        names.join(", ")
    );
    error!("{said}");
    warden.audit.journal.failed(Act::Reload, By::Itself, &said);
    warden.loaded.set(healthy.loaded.clone());
    warden.boot.set(healthy.boot.clone());
    warden.rolled_back.replace(Some(said.clone()));
    telemetry::set_level(&warden.config().log.level);
    if let Err(error) = warden.boot().write_files(&warden.config()) {
        error!("{error}");
    }
    policy::reload(warden).await;
    if let Err(reason) = desk::make(warden, Request::MakeMissing, None).await {
        warn!("{reason}");
    }
    if let Err(reason) = desk::publish_again(warden).await {
        warn!("{reason}");
    }
    restart.iter().for_each(|name| warden.supervisor.restart(name));
    said
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn child(state: State, restarts: u32) -> ChildStatus {
        let since = OffsetDateTime::UNIX_EPOCH;
        ChildStatus { name: TEMPORAL, state, pid: None, restarts, since, last_exit: Some("exit code 1".to_owned()) }
    }

    #[test]
    fn only_a_process_that_was_started_since_vouches_for_a_configuration() {
        let verdict_on = |child: ChildStatus| verdict(&[child], &[(TEMPORAL, 4)], 3);
        assert_eq!(verdict_on(child(State::Ready, 3)), None, "it is still the one before");
        assert_eq!(verdict_on(child(State::Starting, 4)), None);
        assert_eq!(verdict_on(child(State::Ready, 4)), Some(None));
        assert_eq!(verdict_on(child(State::Backoff, 4)), None, "a first failure may have another cause");
        assert_eq!(verdict_on(child(State::Starting, 6)), None, "the third start may still succeed");
        let failed = verdict_on(child(State::Backoff, 6)).unwrap().unwrap();
        assert!(failed.contains("started 3 times and never healthy (last exit: exit code 1)"), "{failed}");
    }
}
