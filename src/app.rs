//! Builds every part in flow order and wires them; the only place that knows every module.
//!
//! Start: doors (sockets, audit file) → control socket → material → gateway, schema, engine, namespaces
//! ([`bring_up`]); `cli::run` has read the configuration and dropped capabilities before. Stop: gateway drains, then Temporal, then everything else.

mod audit_log;
mod bring_up;
mod children;
mod dependents;
mod desk;
mod doors;
mod engine;
mod fall_back;
mod handover;
mod new_key;
mod policy;
mod reload;
mod report;
mod stage;
mod upkeep;
mod witness;

use std::{cell::RefCell, io, path::PathBuf, process::ExitCode, rc::Rc, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    task::{LocalSet, spawn_local},
};
use tracing::{error, info, warn};

use self::{audit_log::AuditLog, engine::ThisBoot};
use crate::{
    admin,
    audit::{Act, By, Journal},
    clock,
    config::{
        Config,
        load::{Loaded, Source},
    },
    gateway::{link::Rule, parent::Parent},
    pki::Boot,
    rotation::{self, Glance, Live, Request, Summary, Watch},
    signals::Signals,
    supervisor::{Adoption, Handle, Supervisor},
    telemetry,
    tokens::SigningKey,
};

/// Log name of the gateway.
const GATEWAY: &str = "gateway";
/// Log name of the engine.
const TEMPORAL: &str = "temporal";
/// How long the last log lines may take to get out.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Between two probes of the upstream.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Why PID 1 could not start; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket, folder or file that must be open from the start.
    #[error(transparent)]
    Door(#[from] doors::DoorError),
    /// The policy file.
    #[error(transparent)]
    Policy(#[from] policy::PolicyError),
    /// Certificates, keys or tokens.
    #[error(transparent)]
    Material(#[from] rotation::Error),
    /// The per-boot internal certificates.
    #[error("failed to make the internal certificates: {0}")]
    Boot(#[from] crate::pki::Error),
    /// The per-boot internal signing key.
    #[error("failed to make the internal signing key: {0}")]
    InternalKey(#[from] crate::tokens::Error),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] admin::ControlError),
    /// The engine's files.
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    /// A stop was asked for first.
    #[error("stopped before anything was started")]
    Stopped,
    /// The runtime itself.
    #[error("failed to set up PID 1: {0}")]
    Io(#[from] io::Error),
}

/// What is in force now; replaced whole by a reload.
struct Current<T>(RefCell<Rc<T>>);

impl<T> Current<T> {
    fn new(value: T) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Rc::new(value))))
    }

    fn get(&self) -> Rc<T> {
        self.0.borrow().clone()
    }

    fn set(&self, value: Rc<T>) {
        self.0.replace(value);
    }
}

/// All that the tasks of PID 1 share; one thread, so no locks but the one that orders rotations.
struct Warden {
    source: Source,
    loaded: Rc<Current<Loaded>>,
    boot: Rc<Current<ThisBoot>>,
    /// Why the newest configuration is not in force, if it is not.
    rolled_back: RefCell<Option<String>>,
    /// Why a generation that fails is in force all the same, if one is.
    stays: RefCell<Option<String>>,
    reloads: reload::Reloads,
    /// Gone once a stop begins: then a new connection is refused instead of waiting in the backlog for nobody.
    doors: RefCell<Option<doors::Doors>>,
    own_program: PathBuf,
    parent: Parent,
    supervisor: Handle,
    adoption: Adoption,
    audit: AuditLog,
    live: RefCell<Live>,
    /// Where the start is.
    stage: stage::Stage,
    /// What the policy file opens.
    rules: RefCell<Vec<Rule>>,
    clock: RefCell<Watch>,
    /// One wish for material after the other, a change of the signing key with both its halves.
    turn: Mutex<()>,
    dependents: dependents::Dependents,
    /// The generation in force, for whoever waits for another.
    changed: watch::Sender<u64>,
    /// One publication after the other. A revocation waits for this only.
    making: Mutex<()>,
}

/// Runs as PID 1 until told to stop.
pub fn run(source: Source, loaded: Loaded, signals: Signals) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => return fail(&Error::Io(cause)),
    };
    let code = LocalSet::new().block_on(&runtime, async {
        match start(source, loaded, signals).await {
            Ok((warden, supervisor)) => {
                let ended = supervisor.run(|outside| upkeep::outside(&warden, outside)).await;
                warden.audit.journal.flush(LAST_LINES);
                ended.unwrap_or_else(|cause| fail(&Error::Io(cause)))
            }
            Err(Error::Stopped) => ExitCode::SUCCESS,
            Err(cause) => fail(&cause),
        }
    });
    telemetry::live(None);
    info!("all processes have ended");
    telemetry::flush(LAST_LINES);
    // A blocking task may wait for a lock or a disk; the kernel ends it with us.
    runtime.shutdown_background();
    code
}

fn fail(cause: &Error) -> ExitCode {
    for line in cause.to_string().lines() {
        error!("{line}");
    }
    telemetry::flush(LAST_LINES);
    ExitCode::FAILURE
}

/// Everything up to the point where only the supervisor's loop is needed.
async fn start(source: Source, loaded: Loaded, signals: Signals) -> Result<(Rc<Warden>, Supervisor), Error> {
    let config = (*loaded.config).clone();
    let (mut supervisor, handle) = Supervisor::new(&config.supervisor, signals)?;
    announce(&config, supervisor.adoption());
    doors::runtime_dir(&config.runtime_dir)?;
    let doors = doors::Doors::open(&config)?;
    let rules = policy::read(&config)?;
    policy::say(&config, &rules);
    let audit = AuditLog::open(&config)?;
    audit.journal.note(Act::Start, By::Itself, &format!("temporal-warden {}", env!("CARGO_PKG_VERSION")));
    let control = admin::bind(&config.runtime_dir)?;
    let made = tokio::select! {
        made = first_material(&config, &audit.journal) => made,
        // Another warden may hold the folder for long.
        asked = supervisor.stop_asked() => {
            asked?;
            audit.journal.note(Act::Stop, By::Itself, "before anything was started");
            audit.journal.flush(LAST_LINES);
            return Err(Error::Stopped);
        }
    };
    let (live, clock) = match made {
        Ok(made) => made,
        Err(cause) => {
            audit.journal.failed(Act::Publish, By::Itself, &cause.to_string());
            audit.journal.flush(LAST_LINES);
            return Err(cause);
        }
    };
    doors::data_dir(&config)?;
    let boot = Boot::create(clock::now())?;
    let boot = ThisBoot::prepare(&config, boot, SigningKey::generate()?, &live.postgres_password)?;
    let dependents = dependents::Dependents::recall(&config);
    dependents::notice(&dependents, &config, &live);
    let (loaded, boot) = (Current::new(loaded), Current::new(boot));
    let (hello_loaded, hello_boot) = (loaded.clone(), boot.clone());
    let (parent, link) = Parent::new(move || handover::hello(&hello_loaded.get().config, &hello_boot.get()));
    let own_program = std::env::current_exe()?;
    let (changed, changes) = watch::channel(live.generation);
    let warden = Rc::new(Warden {
        source,
        reloads: reload::Reloads::new(loaded.get(), boot.get()),
        loaded,
        boot,
        rolled_back: RefCell::new(None),
        stays: RefCell::new(None),
        doors: RefCell::new(Some(doors)),
        own_program,
        parent,
        supervisor: handle,
        adoption: supervisor.adoption(),
        audit,
        live: RefCell::new(live),
        stage: stage::Stage::default(),
        rules: RefCell::new(rules),
        clock: RefCell::new(clock),
        turn: Mutex::new(()),
        dependents,
        changed,
        making: Mutex::new(()),
    });
    warden.parent.prepare(warden.material());
    spawn_local(link);
    spawn_local(desk::serve(warden.clone(), control));
    spawn_local(bring_up::bring_up(warden.clone()));
    spawn_local(upkeep::watch_health(warden.clone()));
    spawn_local(upkeep::watch_gateway(warden.clone()));
    spawn_local(upkeep::renew(warden.clone()));
    spawn_local(fall_back::watch(warden.clone()));
    spawn_local(audit_log::keep(warden.clone()));
    spawn_local(audit_log::restarts(warden.clone()));
    spawn_local(upkeep::tell_metrics(warden.clone()));
    spawn_local(dependents::tell(warden.clone(), changes));
    Ok((warden, supervisor))
}

/// What the log says first: who we are, and everything that is less safe than it could be.
fn announce(config: &Config, adoption: Adoption) {
    let engine = admin::status::engine_name(config.engine);
    info!("temporal-warden {} starts (engine {engine})", env!("CARGO_PKG_VERSION"));
    for warning in warnings(config, adoption) {
        warn!("{warning}");
    }
}

/// What is less safe than it could be; also in `status`.
fn warnings(config: &Config, adoption: Adoption) -> Vec<String> {
    let mut all = config.notices.clone();
    if adoption != Adoption::Init {
        all.push(
            "this is not PID 1: in a container remove `init: true`, for nothing may stand above the warden".into(),
        );
    }
    if !nix::unistd::geteuid().is_root() {
        all.push("not root: Temporal and the gateway run as this user too and can read its keys".to_owned());
    }
    all
}

/// The set as it must be to start, and whether the clock is believed. A start waits for no second look: it serves what
/// is there.
async fn first_material(config: &Config, journal: &Journal) -> Result<(Live, Watch), Error> {
    let config = config.clone();
    let work = tokio::task::spawn_blocking(move || {
        let doubt = rotation::doubt_at_start(&config, clock::now())?;
        if let Some(doubt) = &doubt {
            warn!("{doubt} Nothing is renewed or retired before a second look in a minute");
        }
        let request = if doubt.is_some() { Request::Timeless } else { Request::MakeMissing };
        let mut summary = Summary::default();
        let mut hear = |event: rotation::Event| {
            summary.hear(&event);
            event.log();
        };
        let live = rotation::at_start(&config, clock::now(), request, &mut hear)?;
        Ok::<_, rotation::Error>((live, Watch::new(glance(), doubt.is_some()), summary))
    });
    let (live, watch, summary) = work.await.map_err(io::Error::other)??;
    summary.put_on_record(journal, By::Itself);
    Ok((live, watch))
}

/// Both clocks now.
fn glance() -> Glance {
    Glance { wall: clock::now(), steady: clock::since_boot() }
}

impl Warden {
    fn config(&self) -> Rc<Config> {
        self.loaded.get().config.clone()
    }

    fn boot(&self) -> Rc<ThisBoot> {
        self.boot.get()
    }
}
