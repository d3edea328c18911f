//! Named sets of methods that a policy file may open to others than `temporal-system`.
//!
//! Every method of WorkflowService that Temporal's own authorizer grants with the permissions of a worker or client token is in
//! one of them. What is in none stays with `temporal-system`: Temporal asks for its administrator there. The one exception is
//! what Temporal's web UI reads on each page.

use super::methods::Method;

const WORKFLOW: &str = "temporal.api.workflowservice.v1.WorkflowService";
const OPERATOR: &str = "temporal.api.operatorservice.v1.OperatorService";

/// Of OperatorService, and there Temporal grants nothing to any but its administrator.
const NEXUS_READ: &[&str] = &["ListNexusEndpoints"];

/// Groups by name, sorted; methods of WorkflowService, but for `nexus-read`.
pub(super) static GROUPS: &[(&str, &[&str])] = &[
    // Completing an activity is execution, so only workers may; some web services do it too.
    (
        "activity-completion",
        &[
            "RecordActivityTaskHeartbeatById",
            "RespondActivityTaskCanceledById",
            "RespondActivityTaskCompletedById",
            "RespondActivityTaskFailedById",
        ],
    ),
    // One call can end everything a query finds.
    ("batch", &["StartBatchOperation", "StopBatchOperation"]),
    ("cluster-read", &["GetClusterInfo", "ListNamespaces"]),
    // Destroys evidence.
    ("delete", &["DeleteActivityExecution", "DeleteNexusOperationExecution", "DeleteWorkflowExecution"]),
    // Shifts traffic between versions of workers.
    (
        "deployment-writes",
        &[
            "CreateWorkerDeployment",
            "CreateWorkerDeploymentVersion",
            "DeleteWorkerDeployment",
            "DeleteWorkerDeploymentVersion",
            "SetCurrentDeployment",
            "SetWorkerDeploymentCurrentVersion",
            "SetWorkerDeploymentManager",
            "SetWorkerDeploymentRampingVersion",
            "UpdateWorkerBuildIdCompatibility",
            "UpdateWorkerDeploymentVersionComputeConfig",
            "UpdateWorkerDeploymentVersionMetadata",
            "UpdateWorkerVersioningRules",
            "ValidateWorkerDeploymentVersionComputeConfig",
        ],
    ),
    ("nexus-read", NEXUS_READ),
    (
        "operator-intervention",
        &[
            "PauseActivity",
            "PauseActivityExecution",
            "PauseWorkflowExecution",
            "ResetActivity",
            "ResetActivityExecution",
            "UnpauseActivity",
            "UnpauseActivityExecution",
            "UnpauseWorkflowExecution",
            "UpdateActivityExecutionOptions",
            "UpdateActivityOptions",
            "UpdateWorkflowExecutionOptions",
        ],
    ),
    // Remote control of worker processes and task queues.
    ("worker-control", &["FetchWorkerConfig", "UpdateTaskQueueConfig", "UpdateWorkerConfig"]),
    ("workflow-rules", &["CreateWorkflowRule", "DeleteWorkflowRule", "TriggerWorkflowRule"]),
];

/// The methods of a group.
pub(super) fn methods(group: &str) -> Option<&'static [&'static str]> {
    GROUPS.iter().find(|(name, _)| *name == group).map(|(_, methods)| *methods)
}

/// The full name of a method that some group has; `name` with or without its service.
pub(super) fn openable(name: &str) -> Option<String> {
    let (service, short) = name.rsplit_once('/').unwrap_or(("", name));
    let of = if NEXUS_READ.contains(&short) { OPERATOR } else { WORKFLOW };
    let known = GROUPS.iter().any(|(_, methods)| methods.contains(&short)) && (service.is_empty() || service == of);
    known.then(|| format!("{of}/{short}"))
}

/// Whether Temporal's authorizer would refuse the call at `path` to all but its administrator, also when a rule opens it.
pub(super) fn is_for_administrators(path: &str) -> bool {
    path.trim_start_matches('/').starts_with(OPERATOR)
}

/// Whether the served API has a method of this name, with or without its service.
pub(super) fn is_served(name: &str) -> bool {
    Method::of(&format!("/{name}")).is_some() || super::methods::METHODS.iter().any(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_method_that_can_be_opened_is_in_one_group() {
        let agreed = include_str!("../../tests/data/methods.tsv");
        let rows = agreed.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
        let closed = rows.filter(|row| row[6] == "no" && row[7] == "no" && row[0] == WORKFLOW && row[3] != "Admin");
        let mut expected: BTreeSet<String> = closed.map(|row| row[1].to_owned()).collect();
        expected.extend(NEXUS_READ.iter().map(|name| (*name).to_owned()));
        expected.extend(methods("activity-completion").unwrap().iter().map(|name| (*name).to_owned()));
        let all: Vec<&str> = GROUPS.iter().flat_map(|(_, methods)| methods.iter().copied()).collect();
        assert_eq!(all.len(), expected.len(), "none twice");
        assert_eq!(all.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
        assert!(GROUPS.is_sorted());
    }
}
