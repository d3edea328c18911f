//! What is measured, and how Prometheus gets it.
//!
//! [`list`] names every metric once. Each worker counts in a [`Tally`] of its own, so that no call waits for another
//! worker's cache line; `door` serves the sums on a thread of its own, in the text `exposition` makes.

mod causes;
mod door;
mod exposition;
mod list;
mod tally;

pub(in crate::gateway) use causes::{Denial, HandshakeFailure, Limit};
pub(super) use door::open;
pub use list::{LIST, Metric, page};
pub(super) use tally::Tally;
