//! Connections to the Temporal frontend: how one is made, and each worker's small set of them.

mod connector;
mod cork;
pub(super) mod own;
mod pool;

pub(super) use connector::Connector;
pub(super) use pool::{Lease, Pool, Unreachable};
