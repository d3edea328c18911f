//! The desk: answers what people ask over the control socket, one conversation per task.

use std::rc::Rc;

use tokio::{net::UnixListener, sync::mpsc, task::spawn_local};
use tracing::{error, info, warn};

use super::{Warden, new_key, upkeep};
use crate::{
    admin::{Reply, Request, Server},
    audit::{Act, By},
    clock,
    gateway::parent::Answer,
    rotation::{self, Live, Summary},
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
        Request::Make { request } => match make(warden, request, Some(&mut server)).await {
            Ok(()) => Reply::Done,
            Err(reason) => Reply::Failed { reason },
        },
    };
    match (act, &reply) {
        (None, _) => {}
        (Some(act), Reply::Failed { reason }) => warden.audit.journal.failed(act, server.by(), reason),
        (Some(act), _) => warden.audit.journal.note(act, server.by(), ""),
    }
    server.reply(&reply).await;
}

/// What a request is on record as; `None` for one that changes nothing.
fn act(request: &Request) -> Option<Act> {
    match request {
        Request::Health | Request::Status => None,
        Request::Make { request } => Some(request.act()),
    }
}

fn by(asker: &Option<&mut Server>) -> By {
    asker.as_ref().map_or(By::Itself, |server| server.by())
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
    let _one_at_a_time = warden.making.lock().await;
    if request.mints() && warden.live.borrow().behind {
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
    let before = warden.live.borrow().generation;
    let live = apply(warden, request, asker).await?;
    let generation = live.generation;
    warden.live.replace(live);
    if generation != before {
        let line = match in_force(warden, by(asker)).await? {
            true => format!("the gateway serves generation {generation}"),
            false => format!("generation {generation} is published; the gateway takes it when it is back"),
        };
        info!("{line}");
        warden.audit.journal.note(Act::SwitchMaterial, by(asker), &line);
        say(asker, line).await;
    }
    Ok(())
}

/// Runs `rotation::apply` off PID 1's only thread, for it waits for locks and disks. What it published, or why it could
/// not, is put on record here, whoever asked for whatever.
async fn apply(warden: &Warden, request: rotation::Request, asker: &mut Option<&mut Server>) -> Result<Live, String> {
    let mut summary = Summary::default();
    let (events, mut heard) = mpsc::unbounded_channel();
    let config = warden.config.clone();
    let work = tokio::task::spawn_blocking(move || {
        rotation::apply(&config, clock::now(), request, &mut |event| {
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

/// Hands the live generation to the gateway; whether it serves it already.
pub(super) async fn in_force(warden: &Warden, by: By) -> Result<bool, String> {
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

async fn say(asker: &mut Option<&mut Server>, text: String) {
    if let Some(server) = asker {
        server.reply(&Reply::Line { text }).await;
    }
}
