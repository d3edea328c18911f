//! The authorising gateway: the only door, port 7233. It runs as a process and user of its own.
//!
//! A socket is accepted by `listener` and dealt to a worker; `connection` does TLS and HTTP; `service` decides each
//! request with `authenticate`, `authorize`, the table in [`methods`] and what a [`policy`] opens beyond it; `proxy` streams it over the worker's own
//! connections in `upstream`; `operation` leaves one record of it in `audit`. Calls under way are in `running`, to be ended with their token.
//! What a request names is read by `namespace` from its `wire` format, in a `glimpse` as it passes; only for a token of
//! some namespaces the first message is read before (`narrow`) and judged by all that it reaches (`reach`). `control` is the process, which [`confine`]s itself. What happens is counted in [`metrics`];
//! that every worker turns is asked by `beats`.

pub mod confine;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod link;
pub mod methods;
pub mod metrics;
pub mod parent;
pub mod policy;

mod audit;
mod authenticate;
mod authorize;
mod beats;
mod clients;
mod connection;
mod control;
mod descriptors;
mod frames;
mod glimpse;
mod groups;
mod guest;
mod health;
mod health_service;
mod identity;
mod issuer;
mod knocks;
mod listener;
mod lookup;
mod namespace;
mod narrow;
mod operation;
mod probe;
mod proxy;
mod reach;
mod reply;
mod running;
mod served;
mod service;
mod serving;
mod signer;
mod stream;
pub(crate) mod tls;
mod unread;
mod upstream;
mod wire;

pub use authorize::may_call;
pub use control::run;
