//! The engine behind the gateway: what is started, with which environment, on which database, with which namespaces.
//!
//! Everything here is data for the supervisor, but for [`schema_run`], which is the body of a child process: PID 1
//! itself never talks to PostgreSQL.

pub mod dynamic_config;
pub mod engine;
pub mod environment;
pub mod namespaces;
mod postgres;
pub mod schema;
pub mod schema_run;
pub mod settings;
pub mod sqlite;
