//! Which namespace and workflow a request names, read from its first message as the server would read it. Pure.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{
    methods::Method,
    wire::{self, Malformed},
};

/// What a request says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Its namespace.
    pub namespace: Namespace,
    /// Id of the workflow it is about.
    pub workflow_id: Option<String>,
}

/// The namespace of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Namespace {
    /// By name.
    Found(String),
    /// The field is empty: the server takes it from the task token, which has only the id.
    FromTaskToken {
        /// Id of the namespace.
        namespace_id: String,
    },
    /// The method has none, or the request leaves it empty.
    Absent,
    /// It can't be told, and why.
    Unreadable(String),
}

/// Bytes of a gRPC frame before its message.
pub(super) const PREFIX: usize = 5;

/// Where `ExecuteMultiOperation` repeats its namespace: start and update, in each of `operations`.
const OPERATIONS: u32 = 2;
const OPERATION_NAMESPACES: [[u32; 2]; 2] = [[1, 1], [2, 1]];

/// Length of the frame, prefix included, that begins with `bytes`; `None` before its prefix is whole.
pub(super) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let prefix: [u8; PREFIX] = bytes.get(..PREFIX)?.try_into().ok()?;
    let [_, a, b, c, d] = prefix;
    usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?.checked_add(PREFIX)
}

/// Reads the first gRPC frame in `bytes`; a compressed message of more than `limit` bytes is not read.
pub(super) fn read(row: &Method, bytes: &[u8], gzip: bool, limit: usize) -> Reading {
    message(bytes, gzip, limit)
        .and_then(|message| of_message(row, &message).map_err(|malformed| malformed.to_string()))
        .unwrap_or_else(|why| Reading { namespace: Namespace::Unreadable(why), workflow_id: None })
}

pub(super) fn message(bytes: &[u8], gzip: bool, limit: usize) -> Result<Vec<u8>, String> {
    let frame = frame_length(bytes).and_then(|length| bytes.get(..length)).ok_or("the first message is not whole")?;
    match (frame[0], gzip) {
        (0, _) => Ok(frame[PREFIX..].to_vec()),
        (1, true) => inflate(&frame[PREFIX..], limit),
        (1, false) => Err("compressed other than by gzip".to_owned()),
        (flag, _) => Err(format!("a frame with flag {flag}")),
    }
}

fn inflate(packed: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed).take(most).read_to_end(&mut message).map_err(|e| format!("gzip: {e}"))?;
    if message.len() > limit { Err(format!("more than {limit} bytes when unpacked")) } else { Ok(message) }
}

pub(super) fn of_message(row: &Method, message: &[u8]) -> Result<Reading, Malformed> {
    let token = match row.field("task_token") {
        Some(number) => last(message, number)?,
        None => &[],
    };
    let named = if row.workflow.is_empty() { String::new() } else { wire::text(message, &row.workflow)? };
    // Tokens of queries and Nexus tasks have a queue where those of workflows and activities have the workflow.
    let from_token = !token.is_empty() && !row.name.contains("Query") && !row.name.contains("Nexus");
    let workflow = if from_token { wire::text(token, &[2]).unwrap_or_default() } else { named };
    let namespace = namespace(row, message, token)?;
    Ok(Reading { namespace, workflow_id: Some(workflow).filter(|id| !id.is_empty()) })
}

fn namespace(row: &Method, message: &[u8], token: &[u8]) -> Result<Namespace, Malformed> {
    for id in ["id", "namespace_id"].into_iter().filter_map(|name| row.field(name)) {
        if !wire::text(message, &[id])?.is_empty() {
            return Ok(Namespace::Unreadable("the namespace is given by its id".to_owned()));
        }
    }
    let name = match (row.field("namespace"), row.name) {
        (Some(number), _) => wire::text(message, &[number])?,
        (None, "CreateNexusEndpoint") => wire::text(message, &[1, 3, 1, 1])?,
        (None, "UpdateNexusEndpoint") => wire::text(message, &[3, 3, 1, 1])?,
        (None, _) => String::new(),
    };
    if row.name == "ExecuteMultiOperation" && !operations_agree(message, &name)? {
        return Ok(Namespace::Unreadable("its operations name different namespaces".to_owned()));
    }
    Ok(match (name.is_empty(), token.is_empty()) {
        (false, _) => Namespace::Found(name),
        (true, true) => Namespace::Absent,
        (true, false) => match wire::text(token, &[1]) {
            Ok(namespace_id) => Namespace::FromTaskToken { namespace_id },
            Err(malformed) => Namespace::Unreadable(format!("task token: {malformed}")),
        },
    })
}

/// Whether every operation is in `outer`.
fn operations_agree(message: &[u8], outer: &str) -> Result<bool, Malformed> {
    let mut agree = true;
    wire::walk(message, &[OPERATIONS], &mut |operation| {
        for [member, field] in OPERATION_NAMESPACES {
            let mut present = false;
            wire::walk(operation, &[member], &mut |_| {
                present = true;
                Ok(())
            })?;
            agree &= !present || wire::text(operation, &[member, field])? == outer;
        }
        Ok(())
    })?;
    Ok(agree)
}

pub(super) fn last(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut found: &[u8] = &[];
    wire::scan(message, |known, value| {
        if known == number {
            found = value;
        }
    })?;
    Ok(found)
}

#[cfg(test)]
#[path = "namespace_tests.rs"]
mod tests;
