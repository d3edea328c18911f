//! The desk: answers what people ask over the control socket, one conversation per task.

use std::rc::Rc;

use tokio::{net::UnixListener, sync::mpsc, task::spawn_local};
use tracing::{error, info, warn};

use super::Warden;
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

async fn answer(warden: &Warden, mut server: Server, request: Request) {
    let act = act(&request);
    let reply = match request {
        Request::Health => warden.health_reply(),
        Request::Status => match warden.status().await {
            Ok(status) => Reply::Status(Box::new(status)),
            Err(reason) => Reply::Failed { reason },
        },
        Request::Make { request } => done(make(warden, request, Some(&mut server)).await),
        Request::Revoke { revoked } => done(revoke(warden, revoked, Some(&mut server)).await),
        Request::Mint { wish } => match mint(warden, wish).await {
            Ok(token) => Reply::Token { token },
            Err(reason) => Reply::Failed { reason },
        },
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
        (Some((act, what)), _) => warden.audit.journal.note(act, server.by(), what.trim_end_matches("; ")),
    }
    server.reply(&reply).await;
}

/// What a request is on record as, and what it is about; `None` for one that changes nothing.
fn act(request: &Request) -> Option<(Act, String)> {
    match request {
        Request::Health | Request::Status => None,
        Request::Make { request } => Some((request.act(), String::new())),
        Request::Revoke { revoked } => Some((Act::Revoke, format!("{revoked}; "))),
        Request::Mint { .. } => Some((Act::MintToken, String::new())),
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

/// Makes material and brings it into force; `asker` hears what happens.
pub(super) async fn make(
    warden: &Warden,
    request: rotation::Request,
    asker: Option<&mut Server>,
) -> Result<(), String> {
    bring_about(warden, move |config, say| rotation::apply(config, clock::now(), request, say), asker).await
}

/// Revokes, and brings that into force.
async fn revoke(warden: &Warden, revoked: Revocations, asker: Option<&mut Server>) -> Result<(), String> {
    bring_about(warden, move |config, say| rotation::revoke(config, clock::now(), &revoked, say), asker).await
}

/// Mints off PID 1's only thread, for it reads the disk.
async fn mint(warden: &Warden, wish: rotation::Wish) -> Result<Secret<String>, String> {
    let (config, wished) = (warden.config.clone(), wish.clone());
    let work = tokio::task::spawn_blocking(move || rotation::mint(&config, clock::now(), &wished));
    let token = work.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    info!("minted a token: scope {:?}, subject {:?}, namespaces {:?}", wish.scope, wish.subject, wish.namespaces);
    Ok(Secret::new(token))
}

/// Changes the material and brings it into force.
async fn bring_about(warden: &Warden, change: impl Change, mut asker: Option<&mut Server>) -> Result<(), String> {
    let _one_at_a_time = warden.making.lock().await;
    let before = warden.live.borrow().generation;
    let live = apply(warden, change, &mut asker).await?;
    let generation = live.generation;
    warden.live.replace(live);
    if generation != before {
        let line = in_force(warden, generation, by(&asker)).await?;
        say(&mut asker, line).await;
    }
    Ok(())
}

/// A change of the material.
trait Change: FnOnce(&Config, &mut dyn FnMut(Event)) -> Result<Live, rotation::Error> + Send + 'static {}

impl<F: FnOnce(&Config, &mut dyn FnMut(Event)) -> Result<Live, rotation::Error> + Send + 'static> Change for F {}

/// Runs a change off PID 1's only thread, for it waits for locks and disks. What it published, or why it could not, is
/// put on record here, whoever asked for whatever.
async fn apply(warden: &Warden, change: impl Change, asker: &mut Option<&mut Server>) -> Result<Live, String> {
    let mut summary = Summary::default();
    let (events, mut heard) = mpsc::unbounded_channel();
    let config = warden.config.clone();
    let work = tokio::task::spawn_blocking(move || {
        change(&config, &mut |event| {
            let _ = events.send(event);
        })
    });
    while let Some(event) = heard.recv().await {
        summary.hear(&event);
        let line = event.to_string();
        info!("{line}");
        say(asker, line).await;
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
    let generation = warden.live.borrow().generation;
    in_force(warden, generation, By::Hangup).await
}

/// Hands the live generation to the gateway and waits until it serves it.
async fn in_force(warden: &Warden, generation: u64, by: By) -> Result<String, String> {
    let line = match warden.parent.publish(warden.material(), SWITCH_LIMIT).await {
        Some(Answer::Switched(_)) => format!("the gateway serves generation {generation}"),
        Some(Answer::Refused(_, reason)) => {
            warden.audit.journal.failed(Act::SwitchMaterial, by, &format!("generation {generation}: {reason}"));
            return Err(format!("the gateway keeps the old material: {reason}"));
        }
        None => format!("generation {generation} is published; the gateway takes it when it is back"),
    };
    info!("{line}");
    warden.audit.journal.note(Act::SwitchMaterial, by, &line);
    Ok(line)
}

async fn say(asker: &mut Option<&mut Server>, text: String) {
    if let Some(server) = asker {
        server.reply(&Reply::Line { text }).await;
    }
}
