//! The two children as the supervisor knows them.

use std::{io, rc::Rc, time::Duration};

use super::{GATEWAY, TEMPORAL, Warden};
use crate::{
    gateway::link::{LINK_FD, LISTEN_FD, METRICS_FD, PLAINTEXT_FD},
    supervisor::{Child, ChildSpec, Policy, User},
};

impl Warden {
    /// Children become these users only when we are root.
    pub(super) fn user(uid: u32) -> Option<User> {
        nix::unistd::geteuid().is_root().then_some(User { uid, gid: uid })
    }

    pub(super) fn supervise_gateway(self: &Rc<Self>) {
        let warden = self.clone();
        let parent = self.parent.clone();
        self.supervisor.supervise(Child {
            name: GATEWAY,
            policy: Policy {
                stop_rank: 0,
                // The gateway keeps the limit itself; what is beyond it is for flushing the audit log.
                ask_limit: self.config().gateway.drain_timeout + Duration::from_secs(2),
                probe_limit: self.config().supervisor.probe_limit,
                ..Policy::default()
            },
            make: Box::new(move || warden.gateway_spec()),
            ask: Some(Box::new(move || parent.drain())),
        });
    }

    fn gateway_spec(&self) -> io::Result<ChildSpec> {
        let doors = self.doors.borrow().clone().ok_or_else(|| io::Error::other("the doors are closed: stopping"))?;
        let mut fds = vec![(LINK_FD, self.parent.new_end()?.into()), (LISTEN_FD, doors.listen)];
        fds.extend(self.audit.descriptors()?);
        fds.extend(doors.plaintext.map(|door| (PLAINTEXT_FD, door)));
        fds.extend(doors.metrics.map(|door| (METRICS_FD, door)));
        Ok(ChildSpec {
            name: GATEWAY,
            program: self.own_program.clone(),
            args: vec!["gateway".into()],
            env: Vec::new(),
            user: Self::user(self.config().gateway.uid),
            fds,
            stdin: None,
            cwd: "/".into(),
            nofile: Some(1 << 20),
            said: None,
        })
    }

    pub(super) fn supervise_engine(self: &Rc<Self>) {
        let warden = self.clone();
        self.supervisor.supervise(Child {
            name: TEMPORAL,
            // The overall stop limit bounds Temporal's own drain.
            policy: Policy {
                stop_rank: 1,
                term_limit: self.config().supervisor.stop_timeout,
                start_limit: Some(self.config().temporal.start_timeout),
                probe_limit: self.config().supervisor.probe_limit,
                main: true,
                ..Policy::default()
            },
            make: Box::new(move || match &warden.boot().engine.child {
                Some(child) => Ok(warden.child_spec(TEMPORAL, child)),
                None => Err(io::Error::other("this engine has no process")),
            }),
            ask: None,
        });
    }
}
