//! PID 1: signals, children, one reaper.
//!
//! [`Supervisor`] is the actor that owns every child, [`Handle`] the way to it. What happens when is decided in
//! `state`, a pure table; `launch` prepares and `process` starts, `reaper` waits, `output` logs, `rest` reaches what nobody owns.
//! [`init_command`] is the same craft for somebody else's command.

mod actor;
mod handle;
mod init;
mod launch;
mod output;
mod privilege;
mod process;
mod reaper;
mod rest;
mod slot;
mod spec;
mod state;

pub use self::{
    actor::Supervisor,
    handle::Handle,
    init::init_command,
    privilege::{drop_to_lifelong_capabilities, forbid_core_dumps},
    process::{inherited, unblock_signals},
    reaper::{Adoption, Exit},
    spec::{Ask, Child, ChildSpec, ChildStatus, Error, Finished, Make, Outside, Policy, User},
    state::State,
};
