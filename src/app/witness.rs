//! What others hold now, by what the gateway sees of them: asked before a dependent is believed, and for `status`.

use std::{rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{Warden, dependents};
use crate::{
    clock,
    config::Database,
    docker::{self, Holder, InForce, Proof, Target, Use},
    gateway::link::Served,
    pki::Certificate,
    rotation::{Artefact, BundleState},
};

/// How long the gateway may take to ask PostgreSQL; a status waits for it.
const LIMIT: Duration = Duration::from_secs(3);
/// The certificate made for PostgreSQL.
const POSTGRES: &str = "bundles/postgres/server.crt";
/// Those made for clients of the gateway.
const CLIENTS: [&str; 3] =
    ["temporal-client.crt", "bundles/worker/temporal-client.crt", "bundles/ui/temporal-client.crt"];

/// Who holds what, and who connects by which CA.
#[derive(Default)]
pub(super) struct Sight {
    pub(super) holders: Vec<Holder>,
    pub(super) authorities: Vec<Use>,
}

/// How a dependent is proven to hold the current certificate: PostgreSQL is asked, of others the gateway can only tell
/// when they connect again.
pub(super) fn of(warden: &Rc<Warden>) -> impl Fn(&Target) -> LocalBoxFuture<'static, Proof> + use<> {
    let warden = warden.clone();
    move |target: &Target| {
        let (warden, ours) = (warden.clone(), is_postgres(&warden, target));
        Box::pin(async move {
            let (_, published) = postgres(&warden).filter(|_| ours)?;
            Some(prove(served(&warden).await?, &published))
        })
    }
}

fn prove(served: Result<Served, String>, published: &str) -> Result<(), String> {
    match served {
        Ok(served) if served.sha256 == published => Ok(()),
        Ok(served) => Err(format!("it still serves the certificate with serial {}", served.serial)),
        Err(why) => Err(format!("which certificate it serves is not known: {why}")),
    }
}

/// Everything that is known now.
pub(super) async fn sight(warden: &Warden) -> Sight {
    let ((listed, plan), served) = tokio::join!(dependents::containers(warden), served(warden));
    let clients = warden.parent.clients();
    let (in_force, trusted) = {
        let live = warden.live.borrow();
        let trusted = Certificate::all_from_pem(&live.trust_pem).unwrap_or_default();
        (in_force(&live.artefacts), trusted.into_iter().map(|ca| ca.subject).collect::<Vec<_>>())
    };
    let mut holders = docker::holders(&clients, &in_force, &listed);
    let unseen = plan.targets.iter().filter(|target| !is_postgres(warden, target));
    let unseen = unseen.filter(|target| !holders.iter().any(|holder| holder.name == target.name));
    let unseen: Vec<_> = unseen.map(|target| docker::unseen(target.name.clone())).collect();
    holders.extend(unseen);
    if let (Some(served), Some((address, published))) = (served, postgres(warden)) {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let container = docker::of_service(&listed, docker::own_id().as_deref(), host);
        let name = container.unwrap_or_else(|| format!("PostgreSQL at {address}"));
        holders.insert(0, docker::server(name, served, &published, clock::now()));
    }
    Sight { holders, authorities: docker::uses(&clients, &trusted, &listed) }
}

/// The client certificates in force.
fn in_force(artefacts: &[Artefact]) -> Vec<InForce> {
    let of = |artefact: &Artefact| Some((artefact.sha256.clone()?, artefact.subject.clone()?));
    artefacts.iter().filter(|artefact| CLIENTS.contains(&artefact.name.as_str())).filter_map(of).collect()
}

/// Where PostgreSQL is, and the SHA-256 of the certificate published for it; `None` when it serves none of ours.
fn postgres(warden: &Warden) -> Option<(String, String)> {
    let Database::Postgres(postgres) = &warden.config().temporal.database else { return None };
    let live = warden.live.borrow();
    let mut bundle = live.bundles.iter().filter(|bundle| bundle.name == "postgres");
    let published = bundle.any(|bundle| !matches!(bundle.state, BundleState::Skipped(_)));
    let artefact = live.artefacts.iter().find(|artefact| artefact.name == POSTGRES)?;
    let address = match postgres.host.contains(':') {
        true => format!("[{}]:{}", postgres.host, postgres.port),
        false => format!("{}:{}", postgres.host, postgres.port),
    };
    (postgres.tls.enabled && published).then_some((address, artefact.sha256.clone()?))
}

/// Whether a target is the PostgreSQL of `POSTGRES_SEEDS`.
fn is_postgres(warden: &Warden, target: &Target) -> bool {
    let Database::Postgres(postgres) = &warden.config().temporal.database else { return false };
    target.name == postgres.host || target.service.as_ref() == Some(&postgres.host)
}

/// What PostgreSQL serves; `None` when it is none that we publish for.
async fn served(warden: &Warden) -> Option<Result<Served, String>> {
    let (address, _) = postgres(warden)?;
    if !warden.parent.health().borrow().reported {
        return Some(Err("the gateway, which would ask, does not run".to_owned()));
    }
    let _one_at_a_time = warden.dependents.looking.lock().await;
    Some(warden.parent.served_by(address, LIMIT).await)
}
