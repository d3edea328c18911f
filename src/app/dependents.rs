//! Telling dependents after a rotation, for as long as it takes; what they are told is [`crate::docker`]'s to decide.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{Warden, witness};
use crate::{
    admin::{Reply, Server},
    audit::{Act, By},
    backoff, clock,
    config::Config,
    docker::{self, Acted, Client, Engine, Late, Listed, Need, Plan, Refusal, Terms},
    rotation::Live,
    store,
};

/// A rotation of several parts is told once: this long nothing more may come…
const SETTLE: Duration = Duration::from_secs(2);
/// …but not for longer than this.
const SETTLED: Duration = Duration::from_secs(30);
/// How long a status waits for Docker's list.
const GLANCE: Duration = Duration::from_secs(2);
/// Between two tries of a row that stopped.
const RETRY_BASE: Duration = Duration::from_secs(5);
const RETRY_CAP: Duration = Duration::from_secs(300);

/// Beside the generations: who was told when, for what leaves no trace in a start time.
const NOTE: &str = "dependents.json";

/// Beside it: bundles that came after their generation, while there are such.
const LATE: &str = "late-bundles.json";

const BY_NAME: &str = "by name (WARDEN_DEPENDENTS): labels are not read; of a container that may not be looked at it is not known whether it runs, is healthy, or started after the publication";

/// To whoever asked, a line for each who was told.
type Sender = mpsc::UnboundedSender<String>;

/// What is known of the dependents.
#[derive(Debug)]
pub(super) struct Dependents {
    /// Held while a row is told.
    acted: Mutex<Acted>,
    /// Why the row stopped; `None` = all who had to be told were.
    pending: RefCell<Option<String>>,
    /// Bundles that came after their generation.
    late: RefCell<Late>,
    /// Warnings about labels that were given already.
    warned: RefCell<Vec<String>>,
    /// Held while PostgreSQL is asked for its certificate.
    pub(super) looking: Mutex<()>,
}

impl Dependents {
    /// What the process before knew.
    pub(super) fn recall(config: &Config) -> Self {
        let note = store::read_note(&config.certs.dir, NOTE).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let lines: BTreeMap<String, String> = note.unwrap_or_default();
        let moment = |(name, text): (String, String)| Some((name, OffsetDateTime::parse(&text, &Rfc3339).ok()?));
        let acted = lines.into_iter().filter_map(moment).collect();
        Self {
            acted: Mutex::new(acted),
            pending: RefCell::default(),
            late: RefCell::new(recall_late(config)),
            warned: RefCell::default(),
            looking: Mutex::default(),
        }
    }

    /// Why the row stopped, in one line; `None` = all who had to be told were.
    pub(super) fn pending(&self) -> Option<String> {
        self.pending.borrow().clone()
    }
}

fn recall_late(config: &Config) -> Late {
    let note = store::read_note(&config.certs.dir, LATE).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let lines: BTreeMap<String, Option<String>> = note.unwrap_or_default();
    Late::new(lines.into_iter().map(|(name, at)| (name, at.and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok()))))
}

/// Looks what became of the bundles with `live`. Whether one came that was missing: then whoever was told is told again.
pub(super) fn notice(dependents: &Dependents, config: &Config, live: &Live) -> bool {
    let mut late = dependents.late.borrow().clone();
    late.look(&live.bundles, !live.changed, clock::now());
    let came = late.iter().any(|(_, at)| at.is_some()) && late != *dependents.late.borrow();
    replace_late(dependents, config, late);
    came
}

/// Written down for the next process, like who was told.
fn replace_late(dependents: &Dependents, config: &Config, late: Late) {
    if late == *dependents.late.borrow() {
        return;
    }
    let line =
        |(name, at): (&str, Option<OffsetDateTime>)| (name.to_owned(), at.and_then(|at| at.format(&Rfc3339).ok()));
    let lines: BTreeMap<_, _> = late.iter().map(line).collect();
    if let Err(why) = store::write_note(&config.certs.dir, LATE, &serde_json::to_vec(&lines).unwrap_or_default()) {
        warn!("that bundles come late is not written down, and after a restart nobody may be told of it: {why}");
    }
    dependents.late.replace(late);
}

/// Tells whoever holds older material than is published: at the start, after each generation, and again after a failure.
/// A failure is said once until there is new material; `status` has it all the time.
pub(super) async fn tell(warden: Rc<Warden>, mut changed: watch::Receiver<u64>) {
    let mut failures = 0;
    loop {
        settle(&warden, &mut changed).await;
        match pass(&warden, By::Itself, None).await {
            Ok(()) => {
                failures = 0;
                if changed.changed().await.is_err() {
                    return;
                }
            }
            Err(why) => {
                failures += 1;
                if failures == 1 {
                    warn!("dependents were not told of the new material, and are tried again: {why}");
                }
                let pause = backoff::delay(RETRY_BASE, RETRY_CAP, failures, 0.2);
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = changed.changed() => failures = 0,
                }
            }
        }
    }
}

/// Waits until a rotation of several parts is over, a change of the signing key with both its halves.
async fn settle(warden: &Warden, changed: &mut watch::Receiver<u64>) {
    let quiet = async { while timeout(SETTLE, changed.changed()).await.is_ok_and(|changed| changed.is_ok()) {} };
    let _ = timeout(SETTLED, quiet).await;
    drop(warden.turn.lock().await);
    changed.mark_unchanged();
}

/// Tells each who has to be told, and keeps why that stopped.
async fn pass(warden: &Rc<Warden>, by: By, asker: Option<Sender>) -> Result<(), String> {
    let done = row(warden, by, asker).await.map_err(|why| one_line(&why));
    warden.dependents.pending.replace(done.clone().err());
    done
}

async fn row(warden: &Rc<Warden>, by: By, asker: Option<Sender>) -> Result<(), String> {
    if warden.live.borrow().published.is_empty() {
        return Ok(());
    }
    let began = clock::now();
    let (client, plan, _) = look(warden).await?;
    for warning in &plan.warnings {
        if !warden.dependents.warned.borrow().contains(warning) {
            warn!("{warning}");
        }
    }
    warden.dependents.warned.replace(plan.warnings.clone());
    let mut acted = warden.dependents.acted.lock().await;
    let config = warden.config();
    let mut told = |line: String, acted: &Acted| {
        info!("dependent {line}");
        if let Some(asker) = &asker {
            // Whoever asked may have gone; the row goes on.
            let _ = asker.send(line.clone());
        }
        keep(&config, acted);
        warden.audit.journal.note(Act::TellDependents, by, &line);
    };
    let held = witness::of(warden);
    let terms = Terms { limit: config.docker.timeout, now: &clock::now, held: &held };
    docker::roll(&client, &plan, &mut acted, &terms, &mut told).await.map_err(|failure| failure.to_string())?;
    let mut late = warden.dependents.late.borrow().clone();
    late.told(began);
    replace_late(&warden.dependents, &config, late);
    Ok(())
}

/// Written down for the next process. Losing it costs a second signal, so it stops nothing.
fn keep(config: &Config, acted: &Acted) {
    let lines = acted.iter().filter_map(|(name, at)| Some((name.as_str(), at.format(&Rfc3339).ok()?)));
    let lines: BTreeMap<_, _> = lines.collect();
    let bytes = serde_json::to_vec(&lines).unwrap_or_default();
    if let Err(why) = store::write_note(&config.certs.dir, NOTE, &bytes) {
        warn!("who was told is not written down, and may be told once more after a restart: {why}");
    }
}

/// Docker's words may be of several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Who is to be told, by labels or by configured names; and every container, where that may be seen.
async fn look(warden: &Warden) -> Result<(Client, Plan, Vec<Listed>), String> {
    let config = warden.config();
    let client = Client::new(&config.docker.host).map_err(without)?;
    let published = warden.live.borrow().published.clone();
    let named = &config.docker.named;
    let own_id = docker::own_id();
    let (mut plan, listed) = if named.is_empty() {
        let listed = client.list().await.map_err(without)?;
        (docker::plan(&listed, own_id.as_deref(), &published)?, listed)
    } else {
        (docker::by_name(named, &published), Vec::new())
    };
    warden.dependents.late.borrow().postpone(&mut plan, &listed, own_id.as_deref(), &config.certs.publish_dir);
    Ok((client, plan, listed))
}

/// Every container, for their names and addresses; none where Docker does not answer soon or lists nothing.
pub(super) async fn containers(warden: &Warden) -> (Vec<Listed>, Plan) {
    match timeout(GLANCE, look(warden)).await {
        Ok(Ok((_, plan, listed))) => (listed, plan),
        _ => (Vec::new(), Plan::default()),
    }
}

/// A rotation is complete without Docker; what that leaves to do is said.
fn without(refusal: Refusal) -> String {
    let forbidden = match refusal {
        Refusal::Forbidden { .. } => " (GET containers/json), or name the containers in WARDEN_DEPENDENTS",
        _ => "",
    };
    format!(
        "{refusal}{forbidden}; the rotation itself is complete, and services that read their files only at a start need a restart by you"
    )
}

/// What would be done and why each other container is left alone, a line each.
pub(super) async fn list(warden: &Warden) -> Result<Vec<String>, String> {
    let (client, plan, _) = look(warden).await?;
    let told = warden.dependents.acted.try_lock();
    let acted = told.as_deref().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    if told.is_err() {
        lines.push("they are being told just now, one after the other".to_owned());
    }
    drop(told);
    if plan.by_name {
        lines.push(BY_NAME.to_owned());
    }
    for target in &plan.targets {
        let seen = docker::look(&client, &plan, &target.name).await?;
        let (wish, name) = (&target.wish, &target.name);
        lines.push(match docker::need(target, seen.as_ref(), &acted) {
            Need::Due => format!("{name}: {} is due, it holds what was replaced on {}", wish.action, target.since),
            Need::Done => {
                format!("{name}: {} is not needed, it started or was told after {}", wish.action, target.since)
            }
        });
        let advice = seen.and_then(|seen| docker::advice(target, &seen));
        lines.extend(advice.map(|advice| format!("  warning: {advice}")));
    }
    lines.extend(plan.skips.iter().map(|skip| format!("{}: skipped, it {}", skip.name, skip.why)));
    lines.extend(warden.dependents.pending().map(|why| format!("pending: {why}")));
    Ok(lines)
}

/// Tells now whoever holds older material, instead of at the next try; what stops is tried again like any other.
pub(super) async fn now(warden: &Rc<Warden>, server: &mut Server) -> Result<(), String> {
    let idle = warden.dependents.pending().is_none();
    let (asker, mut lines) = mpsc::unbounded_channel();
    let by = server.by();
    let say = async {
        while let Some(text) = lines.recv().await {
            server.reply(&Reply::Line { text }).await;
        }
    };
    let (done, ()) = tokio::join!(pass(warden, by, Some(asker)), say);
    if done.is_err() && idle {
        warden.changed.send_modify(|_| {});
    }
    done
}
