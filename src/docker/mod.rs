//! Dependents: containers of our own compose project that are told when certificates or tokens changed (contract §7).
//!
//! `labels` (what a container wants) → `plan` (pure: who, in which order, and why not the others) → `rollout` (one at a
//! time, each gated on its health). `late` says who has to be told again, `held` who holds what, by what the
//! gateway sees. Docker itself is behind [`Engine`]; only `client` knows how it is spoken to.

mod client;
mod engine;
mod held;
mod labels;
mod late;
mod own;
mod plan;
mod rollout;

pub use client::Client;
pub use engine::{Engine, Health, Listed, Mount, Refusal, Seen};
pub use held::{Does, Held, Holder, InForce, Standing, Use, holders, server, unseen, uses};
pub use labels::Wish;
pub use late::Late;
pub use own::own_id;
pub use plan::{Plan, Skip, Target, by_name, of_service, plan};
pub use rollout::{Acted, Failure, Need, Proof, Terms, advice, look, need, roll};
