//! The one table: which scope may call which method. A method that is not here needs `temporal-system`.
//!
//! It is `methods.tsv`, sorted by service and method: text, because each string of a table in Rust is a pointer that every start of
//! the program relocates. The tests compare its rows with the descriptors of the served API version (`tests/data/api-methods.txt`,
//! made by `scripts/dev/api-methods.sh`) and with the agreed split (`tests/data/methods.tsv`).

use std::sync::LazyLock;

use crate::tokens::{Scope, Scopes};

/// Who may call a method. `temporal-system` may call every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone whose client certificate is trusted; no token needed.
    Open,
    /// Workers and clients.
    Both,
    /// Workers.
    Worker,
    /// Clients.
    Client,
    /// Only `temporal-system`.
    System,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Answers at once.
    None,
    /// A long poll when the request asks for it.
    Capable,
    /// Always a long poll.
    Always,
    /// A stream of answers.
    Stream,
    /// Streams both ways.
    Bidi,
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// Full name of the service.
    pub service: &'static str,
    /// Name of the method.
    pub name: &'static str,
    /// Whether it is a long poll or a stream.
    pub wait: Wait,
    /// Where its request names the namespace: `field#number`, alternatives separated by `;`; empty = nowhere.
    pub namespace: &'static str,
    /// Field numbers on the way to the workflow id in its request; empty = it has none.
    pub workflow: Vec<u32>,
    /// Who may call it.
    pub access: Access,
}

impl Method {
    /// The number of a request path's row, compared byte for byte as the server does.
    pub fn number(path: &str) -> Option<usize> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        METHODS.binary_search_by(|row| (row.service, row.name).cmp(&(service, name))).ok()
    }

    /// The row with a number that [`Self::number`] gave.
    pub fn at(number: usize) -> &'static Self {
        &METHODS[number]
    }

    /// The row of a request path.
    pub fn of(path: &str) -> Option<&'static Self> {
        Self::number(path).map(Self::at)
    }

    /// Whether it changes nothing: what Temporal rates as reading, and what the web UI reads on each page.
    pub fn reads(&self) -> bool {
        let named = |words: &[&str]| words.iter().any(|word| self.name.starts_with(word));
        match self.service {
            WORKFLOW => named(READS) || WAITS.contains(&self.name),
            OPERATOR => ["ListSearchAttributes", "ListNexusEndpoints"].contains(&self.name),
            HEALTH => true,
            _ => false,
        }
    }

    /// Number of the request's own field `name`, one of those in `namespace`.
    pub fn field(&self, name: &str) -> Option<u32> {
        let mut fields = self.namespace.split(';').filter_map(|field| field.split_once('#'));
        fields.find(|(known, _)| *known == name).and_then(|(_, number)| number.parse().ok())
    }
}

impl Access {
    /// Scopes of which one is enough.
    pub fn needed(self) -> Scopes {
        let scopes: &[Scope] = match self {
            Self::Open | Self::Both => &[Scope::System, Scope::Worker, Scope::Client],
            Self::Worker => &[Scope::System, Scope::Worker],
            Self::Client => &[Scope::System, Scope::Client],
            Self::System => &[Scope::System],
        };
        scopes.iter().copied().collect()
    }

    /// Whether a caller with `held` may call.
    pub fn allows(self, held: Scopes) -> bool {
        self.needed().iter().any(|scope| held.contains(scope))
    }
}

/// How methods of WorkflowService begin that read; the tests compare them with Temporal's own rating.
const READS: &[&str] = &["Count", "Describe", "Get", "List", "Query", "Scan"];
/// Those that wait for a result.
const WAITS: &[&str] = &[
    "PollActivityExecution",
    "PollNexusOperationExecution",
    "PollWorkflowExecutionTimeSkipping",
    "PollWorkflowExecutionUpdate",
];

const HEALTH: &str = "grpc.health.v1.Health";
const OPERATOR: &str = "temporal.api.operatorservice.v1.OperatorService";
const WORKFLOW: &str = "temporal.api.workflowservice.v1.WorkflowService";

/// Every method of the served API.
pub static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    let rows = include_str!("methods.tsv").lines().skip(1);
    // The table is a part of the program, and the tests read all of it.
    rows.map(|line| row(line).unwrap_or_else(|| panic!("methods.tsv: {line}"))).collect()
});

/// One line: service, method, wait, access, namespace and workflow, with `-` for an empty one of the last two.
fn row(line: &'static str) -> Option<Method> {
    let mut fields = line.split('\t');
    let mut field = || fields.next();
    let (service, name, wait, access) = (field()?, field()?, Wait::named(field()?)?, Access::named(field()?)?);
    let namespace = field()?.trim_matches('-');
    let workflow = field()?.trim_matches('-').split_terminator('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    fields.next().is_none().then_some(Method { service, name, wait, namespace, workflow, access })
}

impl Wait {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Self::None,
            "capable" => Self::Capable,
            "always" => Self::Always,
            "stream" => Self::Stream,
            "bidi" => Self::Bidi,
            _ => return None,
        })
    }
}

impl Access {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "open" => Self::Open,
            "both" => Self::Both,
            "worker" => Self::Worker,
            "client" => Self::Client,
            "system" => Self::System,
            _ => return None,
        })
    }
}

#[cfg(test)]
#[path = "methods_tests.rs"]
mod tests;
