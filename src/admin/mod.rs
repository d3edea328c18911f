//! What the people who run it ask PID 1: the control socket, and the status document it answers with.

mod control;
mod sight;
pub mod status;

pub use control::{Client, ControlError, Reply, Request, Server, bind};
