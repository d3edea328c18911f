//! The desk: answers what people ask over the control socket, one conversation per task.

use std::rc::Rc;

use tokio::{net::UnixListener, sync::mpsc, task::spawn_local};
use tracing::{error, info, warn};

use super::{Warden, dependents, fall_back, new_key, reload, upkeep};
use crate::{
    admin::{Reply, Request, Server},
    audit::{Act, By},
    clock,
    config::Config,
    gateway::{link::Revocations, parent::Answer},
    rotation::{self, Event, Live, Summary},
    secret::Secret,
    tokens::claimed,
};

/// How long a gateway may take to switch to new material before the person who asked is told so.
const SWITCH_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Serves the control socket for ever.
pub(super) async fn serve(warden: Rc<Warden>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let warden = warden.clone();
                spawn_local(async move {
                    if let Some((server, request)) = Server::accept(stream).await {
                        answer(&warden, server, request).await;
                    }
                });
            }
            Err(error) => {
                warn!("the control socket refused a connection: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(warden: &Rc<Warden>, mut server: Server, request: Request) {
    let act = act(&request);
    let reply = match request {
        Request::Health => warden.health_reply(),
        Request::Status => match warden.status().await {
            Ok(status) => Reply::Status(Box::new(status)),
            Err(reason) => Reply::Failed { reason },
        },
        Request::Make { request } => done(make(warden, request, Some(&mut server)).await),
        Request::Revoke { revoked } => done(revoke(warden, revoked, Some(&mut server)).await),
        Request::Install { given } => done(install(warden, given, Some(&mut server)).await),
        Request::Csr { wish } => match requests(warden, wish).await {
            Ok(requests) => Reply::Requests { requests },
            Err(reason) => Reply::Failed { reason },
        },
        Request::Issue { wish } => match issue(warden, wish).await {
            Ok(issued) => Reply::Issued(Box::new(issued)),
            Err(reason) => Reply::Failed { reason },
        },
        Request::Mint { wish } => match mint(warden, wish).await {
            Ok(token) => Reply::Token { token },
            Err(reason) => Reply::Failed { reason },
        },
        Request::Dependents => done(list(warden, &mut server).await),
        Request::TellDependents => done(dependents::now(warden, &mut server).await),
        Request::Reload => done(reload::reload(warden, Some(&mut server)).await),
        Request::IssuerKeys => match warden.parent.keys() {
            Some(kept) => Reply::Keys(kept),
            None => Reply::Failed { reason: "the gateway has fetched no keys of the external issuer yet".to_owned() },
        },
        Request::ConfigDiff => done(tell(reload::diff(warden), &mut server).await),
    };
    match (act, &reply) {
        (None, _) => {}
        (Some((act, what)), Reply::Failed { reason }) => {
            warden.audit.journal.failed(act, server.by(), &format!("{what}{reason}"));
        }
        (Some((act, what)), Reply::Token { token }) => {
            let claims = claimed(token.expose()).unwrap_or_default();
            warden.audit.journal.note(act, server.by(), &format!("{what}{}", rotation::minted(&claims)));
        }
        (Some((act, what)), Reply::Issued(issued)) => {
            warden.audit.journal.note(act, server.by(), &format!("{what}{issued}"));
        }
        (Some((act, what)), _) => warden.audit.journal.note(act, server.by(), what.trim_end_matches("; ")),
    }
    server.reply(&reply).await;
}

/// What a request is on record as, and what it is about; `None` for one that changes nothing.
fn act(request: &Request) -> Option<(Act, String)> {
    match request {
        Request::Health | Request::Status | Request::Dependents | Request::ConfigDiff | Request::IssuerKeys => None,
        Request::Reload => Some((Act::Reload, String::new())),
        Request::Make { request } => Some((request.act(), String::new())),
        Request::Revoke { revoked } => Some((Act::Revoke, format!("{revoked}; "))),
        Request::Install { given } => Some((Act::InstallCertificates, given.to_string())),
        Request::Csr { wish } => Some((Act::RequestCertificates, wish.to_string())),
        Request::Issue { wish } => Some((Act::IssueCertificate, format!("{}; ", wish.name))),
        Request::Mint { .. } => Some((Act::MintToken, String::new())),
        Request::TellDependents => Some((Act::TellDependents, String::new())),
    }
}

fn by(asker: &Option<&mut Server>) -> By {
    asker.as_ref().map_or(By::Itself, |server| server.by())
}

fn done(result: Result<(), String>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(reason) => Reply::Failed { reason },
    }
}

/// What would be done to dependents, a line each.
async fn list(warden: &Warden, server: &mut Server) -> Result<(), String> {
    tell(dependents::list(warden).await, server).await
}

async fn tell(lines: Result<Vec<String>, String>, server: &mut Server) -> Result<(), String> {
    for text in lines? {
        server.reply(&Reply::Line { text }).await;
    }
    Ok(())
}

/// Makes material and brings it into force; `asker` hears what happens.
///
/// Tokens by a new signing key are published only when all who check them know it: a change of the key is two
/// publications, and what breaks off between them is taken up by [`super::upkeep`].
pub(super) async fn make(
    warden: &Warden,
    request: rotation::Request,
    mut asker: Option<&mut Server>,
) -> Result<(), String> {
    let _one_at_a_time = warden.turn.lock().await;
    if request.mints(warden.config().tokens.binding) && is_behind(warden) {
        new_key::accepted(warden).await?;
    }
    publish(warden, request, &mut asker).await?;
    if request == rotation::Request::RotateKey {
        say(&mut asker, "the new signing key is published; waiting until Temporal has taken it".to_owned()).await;
        new_key::accepted(warden).await?;
        publish(warden, rotation::Request::FinishKey, &mut asker).await?;
    }
    Ok(())
}

async fn publish(warden: &Warden, request: rotation::Request, asker: &mut Option<&mut Server>) -> Result<(), String> {
    let in_doubt = request == rotation::Request::MakeMissing && !upkeep::look_at_the_clock(warden);
    let request = if in_doubt { rotation::Request::Timeless } else { request };
    bring_about(warden, move |config, say| rotation::apply(config, clock::now(), request, say), asker).await
}

/// Revokes, and brings that into force: also between the two halves of a change of the signing key, for it waits for
/// neither Temporal nor a turn.
async fn revoke(warden: &Warden, revoked: Revocations, mut asker: Option<&mut Server>) -> Result<(), String> {
    bring_about(warden, move |config, say| rotation::revoke(config, clock::now(), &revoked, say), &mut asker).await
}

/// Installs what somebody else signed. Tokens bound to it are made with it, so the same holds as for [`make`].
async fn install(warden: &Warden, given: rotation::Installation, mut asker: Option<&mut Server>) -> Result<(), String> {
    let _one_at_a_time = warden.turn.lock().await;
    if rotation::Request::Install.mints(warden.config().tokens.binding) && is_behind(warden) {
        new_key::accepted(warden).await?;
    }
    bring_about(warden, move |config, say| rotation::install(config, clock::now(), &given, say), &mut asker).await
}

/// Makes requests off PID 1's only thread. Keys that were published for them are taken over as any generation is that
/// another process published.
async fn requests(warden: &Warden, wish: rotation::CsrWish) -> Result<Vec<rotation::Csr>, String> {
    let _one_at_a_time = warden.making.lock().await;
    let config = (*warden.config()).clone();
    let work = tokio::task::spawn_blocking(move || rotation::requests(&config, clock::now(), &wish));
    work.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// Issues off PID 1's only thread. A token beside it waits as every other does.
async fn issue(warden: &Warden, wish: rotation::IssueWish) -> Result<rotation::Issued, String> {
    let _one_at_a_time = warden.turn.lock().await;
    if wish.token.is_some() && is_behind(warden) {
        new_key::accepted(warden).await.map_err(|why| format!("nothing is issued yet: {why}"))?;
    }
    let config = (*warden.config()).clone();
    let work = tokio::task::spawn_blocking(move || rotation::issue(&config, clock::now(), &wish));
    work.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// Mints off PID 1's only thread, for it reads the disk. By a new signing key only when all who check it know it.
async fn mint(warden: &Warden, wish: rotation::Wish) -> Result<Secret<String>, String> {
    let _one_at_a_time = warden.turn.lock().await;
    if is_behind(warden) {
        new_key::accepted(warden).await.map_err(|why| format!("nothing is minted yet: {why}"))?;
    }
    let (config, wished) = ((*warden.config()).clone(), wish.clone());
    let work = tokio::task::spawn_blocking(move || rotation::mint(&config, clock::now(), &wished));
    let token = work.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    info!("minted a token: scope {:?}, subject {:?}, namespaces {:?}", wish.scope, wish.subject, wish.namespaces);
    Ok(Secret::new(token))
}

/// Whether a new signing key still waits for its tokens.
fn is_behind(warden: &Warden) -> bool {
    warden.live.borrow().behind
}

/// Changes the material and brings it into force.
async fn bring_about(warden: &Warden, change: impl Change, asker: &mut Option<&mut Server>) -> Result<(), String> {
    let _one_at_a_time = warden.making.lock().await;
    let before = warden.live.borrow().generation;
    let live = apply(warden, change, asker).await?;
    let generation = live.generation;
    let bundle_came = dependents::notice(&warden.dependents, &warden.config(), &live);
    warden.live.replace(live);
    if generation != before {
        let line = match in_force(warden, by(asker)).await {
            Ok(line) => line,
            Err(why) => return Err(format!("{why}\n{}", fall_back::fall_back(warden, generation, &why, asker).await)),
        };
        say(asker, line).await;
    }
    if generation != before || bundle_came {
        warden.changed.send_replace(generation);
    }
    Ok(())
}

/// A change of the material.
pub(super) trait Change:
    FnOnce(&Config, &mut dyn FnMut(Event)) -> Result<Live, rotation::Error> + Send + 'static
{
}

impl<F: FnOnce(&Config, &mut dyn FnMut(Event)) -> Result<Live, rotation::Error> + Send + 'static> Change for F {}

/// Runs a change off PID 1's only thread, for it waits for locks and disks. What it published, or why it could not, is
/// put on record here, whoever asked for whatever.
pub(super) async fn apply(
    warden: &Warden,
    change: impl Change,
    asker: &mut Option<&mut Server>,
) -> Result<Live, String> {
    let mut summary = Summary::default();
    let (events, mut heard) = mpsc::unbounded_channel();
    let config = (*warden.config()).clone();
    let work = tokio::task::spawn_blocking(move || {
        change(&config, &mut |event| {
            let _ = events.send(event);
        })
    });
    while let Some(event) = heard.recv().await {
        summary.hear(&event);
        event.log();
        say(asker, event.to_string()).await;
    }
    match work.await {
        Ok(Ok(live)) => {
            summary.put_on_record(&warden.audit.journal, by(asker));
            Ok(live)
        }
        Ok(Err(error)) => {
            error!("{error}");
            warden.audit.journal.failed(Act::Publish, by(asker), &error.to_string());
            Err(error.to_string())
        }
        Err(error) => Err(format!("the rotation broke off: {error}")),
    }
}

/// Brings what SIGHUP found changed beside the generation into force.
pub(super) async fn publish_again(warden: &Warden) -> Result<String, String> {
    let _one_at_a_time = warden.making.lock().await;
    in_force(warden, By::Hangup).await
}

/// Whether the gateway serves the live generation; it is handed over once more.
pub(super) async fn is_in_force(warden: &Warden) -> Result<bool, String> {
    let _one_at_a_time = warden.making.lock().await;
    hand_over(warden, By::Itself).await
}

/// Hands the live generation to the gateway, waits until it serves it, and puts that on record.
pub(super) async fn in_force(warden: &Warden, by: By) -> Result<String, String> {
    let generation = warden.live.borrow().generation;
    let line = match hand_over(warden, by).await? {
        true => format!("the gateway serves generation {generation}"),
        false => format!("generation {generation} is published; the gateway takes it when it is back"),
    };
    info!("{line}");
    warden.audit.journal.note(Act::SwitchMaterial, by, &line);
    Ok(line)
}

/// Whether the gateway serves the live generation already.
async fn hand_over(warden: &Warden, by: By) -> Result<bool, String> {
    match warden.parent.publish(warden.material(), SWITCH_LIMIT).await {
        Some(Answer::Switched(_)) => Ok(true),
        Some(Answer::Refused(_, reason)) => {
            let generation = warden.live.borrow().generation;
            warden.audit.journal.failed(Act::SwitchMaterial, by, &format!("generation {generation}: {reason}"));
            Err(format!("the gateway keeps the old material: {reason}"))
        }
        None => Ok(false),
    }
}

pub(super) async fn say(asker: &mut Option<&mut Server>, text: String) {
    if let Some(server) = asker {
        server.reply(&Reply::Line { text }).await;
    }
}
