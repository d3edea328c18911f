//! temporal-warden: PID 1, PKI, tokens and the authorising gateway of a self-hosted Temporal.
//!
//! A module uses those to its left, never to its right:
//!
//! `config → pki → tokens → store → temporal → supervisor → gateway → rotation → docker → admin → doctor`
//!
//! `app` wires them; `audit`, `backoff`, `clock`, `secret`, `signals` and `telemetry` lie below all; `cli` sits on top.
//!
//! First start, as data: environment and file → [`config::Config`] → what exists on disk → `rotation::plan`
//! says what is missing → `pki` and `tokens` make it → `store` publishes one generation → `temporal` renders the
//! server's environment and the schema steps → `supervisor` runs them → `gateway` gets its material → `/health`
//! turns SERVING. A rotation is the same line with another plan; nothing has a second path.
#![warn(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod admin;
pub mod app;
pub mod audit;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod docker;
pub mod doctor;
pub mod gateway;
pub mod pki;
pub mod rotation;
pub mod secret;
pub mod signals;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod temporal;
pub mod tokens;
