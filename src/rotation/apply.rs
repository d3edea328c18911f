//! Doing what is due, in order: lock, read, judge, plan, make, publish, bundles.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::{
    BundleState, Error, Event, Live, Problem, Request,
    artefact::{CA_CERT, FLAT, TokenId},
    bundles, doubt,
    inputs::{self, OwnCaFiles},
    install::{self, Installation},
    judge::{Judged, Scene, judge},
    make::{GIVEN, Maker},
    plan::{Item, Plan, plan},
    put_back::{self, Case, PutBack},
    state::State,
};
use crate::{
    config::Config,
    gateway::link::Revocations,
    pki::Vault,
    store::{self, Generations, Mounts, Set, Snapshot},
};

/// Brings the material to what the request and the time ask, and answers with the live set.
///
/// When nothing is due nothing is written. When something can't be used nothing is written either, and every
/// reason comes back at once.
pub fn apply(
    config: &Config,
    now: OffsetDateTime,
    request: Request,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    apply_with(config, now, request, &Mounts::read()?, say)
}

/// [`apply`] where nothing serves: a new signing key need not be seen by anyone before its tokens come, and a clock in
/// doubt has no second look.
pub fn make_alone(
    config: &Config,
    now: OffsetDateTime,
    request: Request,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    let doubt = if request == Request::MakeMissing { doubt::at_start(config, now)? } else { None };
    if let Some(doubt) = doubt {
        say(Event::Warning(format!("{doubt}; nothing is renewed by it, a running warden looks again")));
        return apply(config, now, Request::Timeless, say);
    }
    let live = apply(config, now, request, say)?;
    let by_age = request == Request::MakeMissing && live.changed && live.behind;
    if by_age || request == Request::RotateKey { apply(config, now, Request::FinishKey, say) } else { Ok(live) }
}

/// [`apply`] at a start. What is only due by time is left for later when the volume can't be written: what is there serves
/// until it expires, and a warden that does not start serves nobody.
pub fn at_start(
    config: &Config,
    now: OffsetDateTime,
    request: Request,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    match apply(config, now, request, say) {
        Err(Error::Store(cause)) if cause.is_of_the_volume() && request == Request::MakeMissing => {
            let Ok(live) = apply(config, now, Request::Timeless, say) else { return Err(Error::Store(cause)) };
            say(Event::Warning(format!("nothing could be renewed, what is there is served: {cause}")));
            Ok(live)
        }
        result => result,
    }
}

/// [`apply`], told what is a mount.
pub fn apply_with(
    config: &Config,
    now: OffsetDateTime,
    request: Request,
    mounts: &Mounts,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    bring_about(config, now, request, Given::Nothing, mounts, say)
}

/// Adds to what is revoked. A token or client certificate of the warden's own that is hit is replaced at once.
pub fn revoke(
    config: &Config,
    now: OffsetDateTime,
    revoked: &Revocations,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    for own in TokenId::ALL.iter().map(|id| id.sub()).filter(|sub| revoked.subjects.contains(*sub)) {
        let what = "is one of the warden's own: its tokens, new ones too, are refused from now on";
        say(Event::Warning(format!("the subject {own} {what}")));
    }
    bring_about(config, now, Request::Revoke, Given::Revoked(revoked), &Mounts::read()?, say)
}

/// Puts certificates that somebody else signed in their places, all of them or none.
pub fn install(
    config: &Config,
    now: OffsetDateTime,
    given: &Installation,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    bring_about(config, now, Request::Install, Given::Signed(given), &Mounts::read()?, say)
}

/// Puts the last healthy generation in the place of `failed`, as a new one; why it failed is written down with it.
pub fn put_back(
    config: &Config,
    now: OffsetDateTime,
    failed: u64,
    why: &str,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    // What was put back is said with its reason already.
    let mut say = |event: Event| match &event {
        Event::Made { name, .. } if name == GIVEN => {}
        _ => say(event),
    };
    bring_about(config, now, Request::Install, Given::Failed(failed, why), &Mounts::read()?, &mut say)
}

/// Notes that everything is healthy with the generation that is live, if that is this one.
pub fn note_healthy(config: &Config, generation: u64) -> Result<(), Error> {
    let folder = Generations::open_existing(&config.certs.dir)?;
    if folder.healthy()? == Some(generation) {
        return Ok(());
    }
    let lock = folder.lock(config.certs.lock_timeout)?;
    if lock.is_read_only() || folder.current()? != Some(generation) {
        return Ok(());
    }
    Ok(folder.note_healthy(generation)?)
}

/// What somebody brings to a change.
#[derive(Clone, Copy)]
enum Given<'a> {
    Nothing,
    Revoked(&'a Revocations),
    Signed(&'a Installation),
    /// This generation failed, and why.
    Failed(u64, &'a str),
}

fn bring_about(
    config: &Config,
    now: OffsetDateTime,
    request: Request,
    given: Given<'_>,
    mounts: &Mounts,
    say: &mut dyn FnMut(Event),
) -> Result<Live, Error> {
    let own_ca = inputs::own_ca(config)?;
    let folder = Generations::open(&config.certs.dir)?;
    let lock = folder.lock(config.certs.lock_timeout)?;
    if lock.is_read_only() {
        // Nothing is said to be made that can't be: a start and a timer serve what is there.
        if !matches!(request, Request::MakeMissing | Request::Timeless) {
            return Err(Error::Store(store::Error::read_only(&config.certs.dir)));
        }
        let what =
            "is mounted read-only: what is there is served, nothing can be renewed; mount it writable for the server";
        say(Event::Warning(format!("{} {what}", config.certs.dir.display())));
    } else {
        folder.open_up()?.into_iter().for_each(|done| say(Event::Repaired(done)));
    }
    let snapshot = folder.snapshot(&FLAT)?;
    let foreign = inputs::problems(&config.certs.dir, &snapshot);
    refuse(foreign)?;
    let found = inputs::to_set(&snapshot);
    let run = Run { config, now, own_ca: own_ca.as_ref(), folder: &folder, vault: vault(config) };
    let (set, replaced) = run.given(&found, given, say)?;
    // What is installed already is not published again.
    let request = if request == Request::Install && set == found { Request::Timeless } else { request };
    let judged = judge(&set, &run.scene());
    if let (Given::Failed(generation, _), Some((_, broken))) =
        (given, judged.each().find(|(_, j)| j.problem().is_some()))
    {
        let reason = broken.problem().map(ToString::to_string).unwrap_or_default();
        return Err(Error::Stays { generation, reason });
    }
    let plan = plan(&judged, request, now).map_err(Error::Refused)?;
    plan.warnings.iter().for_each(|warning| say(Event::Warning(warning.clone())));

    let adopted = run.adopt(&snapshot, &found, say)?;
    let (set, published) = run.carry_out(set, replaced, &judged, &plan, say)?;
    if adopted.is_none() && published.is_none() && !lock.is_read_only() {
        folder.repair(&snapshot, &set, now)?.into_iter().for_each(|done| say(Event::Repaired(done)));
    }
    let bundles = bundles::publish(config, &set, mounts, now);
    for bundle in bundles.iter().filter(|b| matches!(b.state, BundleState::Published(_) | BundleState::Failed(_))) {
        say(Event::Bundle(bundle.clone()));
    }
    let generation = published.or(adopted).or(snapshot.generation).unwrap_or(0);
    let judged = judge(&set, &run.scene());
    Live::new(config, generation, published.or(adopted).is_some(), &set, &judged, bundles, now)
}

/// The generation that is live; cheap enough to be asked every second.
pub fn current_generation(config: &Config) -> Result<Option<u64>, Error> {
    Ok(Generations::open_existing(&config.certs.dir)?.current()?)
}

/// The generation with which everything was last healthy.
pub fn healthy_generation(config: &Config) -> Result<Option<u64>, Error> {
    Ok(Generations::open_existing(&config.certs.dir)?.healthy()?)
}

/// What opens the CA key.
pub(super) fn vault(config: &Config) -> Vault {
    Vault::new(config.certs.ca_key_passphrase.clone())
}

fn refuse(problems: Vec<Problem>) -> Result<(), Error> {
    if problems.is_empty() { Ok(()) } else { Err(Error::Refused(problems)) }
}

struct Run<'a> {
    config: &'a Config,
    now: OffsetDateTime,
    own_ca: Option<&'a OwnCaFiles>,
    folder: &'a Generations,
    vault: Vault,
}

impl Run<'_> {
    fn scene(&self) -> Scene<'_> {
        Scene { config: self.config, own_ca: self.own_ca, now: self.now, vault: &self.vault }
    }

    /// The set with what was brought, and what of it is another now.
    fn given(
        &self,
        found: &Set,
        given: Given<'_>,
        say: &mut dyn FnMut(Event),
    ) -> Result<(Set, BTreeSet<&'static str>), Error> {
        match given {
            Given::Nothing => Ok((found.clone(), BTreeSet::new())),
            Given::Revoked(revoked) => Ok((inputs::with_revoked(found, revoked), BTreeSet::new())),
            Given::Signed(given) => {
                let accepted = install::accept(found, given, &self.scene())?;
                accepted.events.into_iter().for_each(say);
                Ok((accepted.set, accepted.replaced))
            }
            Given::Failed(failed, why) => {
                let stays = |reason| Error::Stays { generation: failed, reason };
                let (set, note) = self.earlier(found, failed, why)?.map_err(stays)?;
                say(Event::PutBack(note));
                let replaced = put_back::replaced(found, &set);
                Ok((set, replaced))
            }
        }
    }

    /// The set to put in the place of the one that failed, or why there is none.
    fn earlier(&self, newest: &Set, failed: u64, why: &str) -> Result<Result<(Set, PutBack), String>, Error> {
        let state = State::of(newest);
        let (current, healthy) = (self.folder.current()?, self.folder.healthy()?);
        let chosen = put_back::choose(Case { current, failed, healthy, put_back: state.put_back.as_ref() });
        let healthy = match chosen {
            Ok(healthy) => healthy,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(set) = self.folder.earlier(healthy)? else {
            return Ok(Err(format!("generation {healthy}, the last healthy one, is gone or altered")));
        };
        if self.own_ca.is_some() && set.get(CA_CERT) != newest.get(CA_CERT) {
            return Ok(Err("WARDEN_CA_CERT_FILE names another CA than before".to_owned()));
        }
        let note = PutBack { generation: failed + 1, refused: failed, healthy, why: why.to_owned() };
        Ok(put_back::compose(&set, newest, note.clone()).map(|set| (set, note)))
    }

    /// Flat files become a generation of exactly their content first, so that a reader sees the same bytes at every
    /// moment; what is due comes after.
    fn adopt(&self, snapshot: &Snapshot, set: &Set, say: &mut dyn FnMut(Event)) -> Result<Option<u64>, Error> {
        if snapshot.flat.is_empty() {
            return Ok(None);
        }
        let absent = absent(&judge(set, &self.scene()));
        let generation = self.folder.publish(set, self.now, &|staged| self.check(staged, &absent))?;
        say(Event::Adopted(snapshot.flat.iter().cloned().collect()));
        Ok(Some(generation))
    }

    fn carry_out(
        &self,
        set: Set,
        replaced: BTreeSet<&'static str>,
        judged: &Judged,
        plan: &Plan,
        say: &mut dyn FnMut(Event),
    ) -> Result<(Set, Option<u64>), Error> {
        if plan.makes.is_empty() {
            return Ok((set, None));
        }
        let certificates = plan.makes.iter().any(|make| make.item.is_certificate());
        let tokens = plan.makes.iter().any(|make| make.item.is_token());
        let mut maker = Maker::new(&self.scene(), judged, set, replaced);
        let mut made = BTreeSet::new();
        for (wanted, first, is) in [
            (certificates, Event::GeneratingCertificates, Item::is_certificate as fn(Item) -> bool),
            (tokens, Event::GeneratingTokens, |item: Item| !item.is_certificate()),
        ] {
            if wanted {
                say(first);
            }
            for make in plan.makes.iter().filter(|make| is(make.item)) {
                let name = maker.make(make.item)?;
                made.insert(name);
                say(Event::Made { name: name.to_owned(), reason: make.reason.clone() });
            }
        }
        let absent = absent(judged).into_iter().filter(|name| !made.contains(name)).collect();
        let generation = self.folder.publish(&maker.set, self.now, &|staged| self.check(staged, &absent))?;
        say(Event::Published { generation });
        if certificates {
            say(Event::CertificatesGenerated);
        }
        if tokens {
            say(Event::TokensGenerated);
        }
        Ok((maker.set, Some(generation)))
    }

    /// The staged set as read back: whatever was usable or was made must be usable now.
    fn check(&self, staged: &Set, absent: &BTreeSet<&'static str>) -> Result<(), String> {
        let judged = judge(staged, &self.scene());
        let bad = judged.each().find(|(name, judgement)| !judgement.is_there() && !absent.contains(name));
        match bad {
            None => Ok(()),
            Some((name, judgement)) => {
                Err(judgement.problem().map_or_else(|| format!("{name} is missing"), ToString::to_string))
            }
        }
    }
}

/// What is missing or broken before anything is made.
fn absent(judged: &Judged) -> BTreeSet<&'static str> {
    judged.each().filter(|(_, judgement)| !judgement.is_there()).map(|(name, _)| name).collect()
}
