//! Landlock: no file but a few that are looked up for names and cores, no port but the upstream's, no other process.

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, NetPort, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::Wall;

/// The newest version whose rights were looked at one by one; older kernels enforce what they know of it.
const KNOWN: ABI = ABI::V6;

/// All that may be read: how names are resolved, what cores this container has, and what describes this process.
/// Of a file that is replaced by another only the old one may be read: Docker writes those in `/etc` in place.
const READABLE: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/dev/urandom",
    "/proc/self",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
];

/// Restricts this thread and those it will start.
pub(super) fn restrict(ports: Option<&[u16]>) -> Wall {
    match enforce(ports) {
        Ok(status) => words(&status),
        Err(error) => missing(&error.to_string()),
    }
}

fn enforce(ports: Option<&[u16]>) -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.handle_access(AccessNet::BindTcp)?;
    let ruleset = match ports {
        Some(_) => ruleset.handle_access(AccessNet::ConnectTcp)?,
        None => ruleset,
    };
    let ports =
        ports.unwrap_or_default().iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp)));
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    ruleset
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(ports)?
        .restrict_self()
}

fn words(status: &RestrictionStatus) -> Wall {
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => format!("version {}", effective_abi as i32),
        LandlockStatus::NotEnabled => "switched off in this kernel".to_owned(),
        LandlockStatus::NotImplemented => "not in this kernel".to_owned(),
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Wall::Stands(format!(
            "Landlock ({version}): no files, no TCP but to the ports it was given, no signal to another process"
        )),
        RulesetStatus::PartiallyEnforced => Wall::Missing(format!(
            "Landlock ({version}) knows only a part of what the gateway gives up (Linux 6.12 knows all); the rest is left to its user id"
        )),
        RulesetStatus::NotEnforced => missing(&version),
    }
}

fn missing(why: &str) -> Wall {
    Wall::Missing(format!(
        "no Landlock for the gateway: {why}; which files and ports it reaches is left to its user id"
    ))
}
