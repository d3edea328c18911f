//! Whether a request stays within the namespaces of a token: everything it names, read as the server would. Pure.

use super::{
    authorize::Refusal,
    methods::{Access, Method},
    namespace::{self, Namespace},
    wire::{self, Malformed},
};

/// Temporal's own limit on a request's message.
pub(super) const LARGEST: usize = 4 << 20;
/// Most of a foreign name in a message.
const SHOWN: usize = 64;

/// Where a workflow task's commands name another namespace: cancel, start a child, signal (`commands[].…namespace`).
const COMMAND_NAMESPACES: [[u32; 3]; 3] = [[2, 9, 1], [2, 12, 1], [2, 13, 1]];

/// What a request reaches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Its own namespace and workflow.
    pub reading: namespace::Reading,
    /// Id of the namespace of its task token. The server goes by it first, whatever the request names.
    pub task: Option<String>,
    /// Namespaces its commands name.
    commands: Vec<String>,
}

/// What must be looked up before a request that carries a task token may pass: one of these has the id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Task<'a> {
    /// Names of which one must have the id.
    pub names: Vec<&'a str>,
    /// The id in the token.
    pub id: &'a str,
}

/// Whether calls of `row` have a message to be read; refused when they reach beyond any namespace.
pub(super) fn needs_reading(names: &[String], row: Option<&Method>, path: &str) -> Result<bool, Refusal> {
    let method = path.trim_start_matches('/');
    match row {
        None => Err(limited(names, format_args!("where {method} names its namespace is not known"))),
        Some(row) if !row.namespace.is_empty() => Ok(true),
        Some(row) if row.access == Access::System => {
            Err(limited(names, format_args!("{method} is for the whole cluster")))
        }
        Some(_) => Ok(false),
    }
}

/// Reads the first gRPC frame in `bytes`.
pub(super) fn read(row: &Method, bytes: &[u8], gzip: bool) -> Result<Reach, String> {
    let message = namespace::message(bytes, gzip, LARGEST)?;
    of_message(row, &message).map_err(|malformed| malformed.to_string())
}

fn of_message(row: &Method, message: &[u8]) -> Result<Reach, Malformed> {
    let reading = namespace::of_message(row, message)?;
    let task = match row.field("task_token") {
        Some(number) => Some(wire::text(namespace::last(message, number)?, &[1])?),
        None => None,
    };
    let mut commands = Vec::new();
    if row.name == "RespondWorkflowTaskCompleted" {
        for path in COMMAND_NAMESPACES {
            wire::walk(message, &path, &mut |name| {
                commands.push(std::str::from_utf8(name).map_err(|_| Malformed::Utf8)?.to_owned());
                Ok(())
            })?;
        }
    }
    Ok(Reach { reading, task, commands })
}

/// Whether all of it is within `names`; what is left to look up when it has a task token.
pub(super) fn within<'a>(names: &'a [String], reach: &'a Reach) -> Result<Option<Task<'a>>, Refusal> {
    let foreign = |name: &str| limited(names, format_args!("the call is for {}", quoted(name)));
    let own = match &reach.reading.namespace {
        Namespace::Found(name) if names.contains(name) => Some(name.as_str()),
        Namespace::Found(name) => return Err(foreign(name)),
        Namespace::Unreadable(why) => return Err(limited(names, why)),
        Namespace::FromTaskToken { .. } if reach.task.is_some() => None,
        Namespace::Absent | Namespace::FromTaskToken { .. } => {
            return Err(limited(names, "the request names none"));
        }
    };
    if let Some(other) = reach.commands.iter().find(|name| !name.is_empty() && !names.contains(name)) {
        return Err(limited(names, format_args!("a command of the workflow is for {}", quoted(other))));
    }
    let all = || names.iter().map(String::as_str).collect();
    Ok(reach.task.as_deref().map(|id| Task { names: own.map_or_else(all, |name| vec![name]), id }))
}

/// The refusal of whatever is not within `names`. It says the same whether another namespace exists or not.
pub(super) fn limited(names: &[String], why: impl std::fmt::Display) -> Refusal {
    Refusal::Forbidden(format!("the token is limited to namespaces ({}), and {why}", names.join(", ")))
}

/// A foreign name, escaped and cut.
fn quoted(name: &str) -> String {
    format!("{:?}", name.chars().take(SHOWN).collect::<String>())
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
