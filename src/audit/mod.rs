//! The audit log as files: names and order, chained lines, reading, checking, and the warden's own records.
//!
//! Two writers share one file: the gateway (`gateway::audit`, a record per operation) and the warden ([`Journal`], a
//! record per act). Each has numbers and a hash chain of its own, which go on over rotated files and restarts.

mod act;
mod backward;
mod chain;
mod files;
mod journal;
mod json;
mod lines;
mod query;
mod report;
mod stamp;
mod verify;

pub use act::{Act, By};
pub use backward::{Backward, forward};
pub use chain::last_link;
pub use files::{Series, open};
pub use journal::{Journal, note_here};
pub use query::{Entry, Filter, escaped};
pub use report::{Pair, Report, Tally};
pub use verify::{Fault, Finding, Stand, Verifier};

pub(crate) use chain::Chain;
pub(crate) use json::to_line;
pub(crate) use lines::Lines;
pub(crate) use stamp::{id, timestamp};

/// `writer` of the gateway's records.
pub const GATEWAY: &str = "gateway";
/// `writer` and `service` of the warden's own records.
pub const WARDEN: &str = "warden";
