//! Connections to the Temporal frontend: how one is made, and each worker's small set of them.

mod connector;
mod cork;
mod pool;

pub(super) use connector::Connector;
pub(super) use pool::{Lease, Pool, Unreachable};
