//! The one table: which scope may call which method. A method that is not here needs `temporal-system`.
//!
//! Rows are sorted by service and method. The tests compare them with the descriptors of the served API version
//! (`tests/data/api-methods.txt`, made by `scripts/dev/api-methods.sh`) and with the agreed split (`tests/data/methods.tsv`).

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
    pub workflow: &'static [u32],
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

    const fn workflow(mut self, path: &'static [u32]) -> Self {
        self.workflow = path;
        self
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
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
const OPERATOR: &str = "temporal.api.operatorservice.v1.OperatorService";
const WORKFLOW: &str = "temporal.api.workflowservice.v1.WorkflowService";
const ADMIN: &str = "temporal.server.api.adminservice.v1.AdminService";

const fn row(service: &'static str, name: &'static str, wait: Wait, namespace: &'static str, access: Access) -> Method {
    Method { service, name, wait, namespace, workflow: &[], access }
}

/// Every method of the served API.
pub static METHODS: &[Method] = &[
    row(HEALTH, "Check", Wait::None, "", Access::Open),
    row(HEALTH, "List", Wait::None, "", Access::Open),
    row(HEALTH, "Watch", Wait::Stream, "", Access::Open),
    row(REFLECTION, "ServerReflectionInfo", Wait::Bidi, "", Access::System),
    row(REFLECTION_ALPHA, "ServerReflectionInfo", Wait::Bidi, "", Access::System),
    row(OPERATOR, "AddOrUpdateRemoteCluster", Wait::None, "", Access::System),
    row(OPERATOR, "AddSearchAttributes", Wait::None, "namespace#2", Access::System),
    row(OPERATOR, "CreateNexusEndpoint", Wait::None, "spec.target.worker.namespace", Access::System),
    row(OPERATOR, "DeleteNamespace", Wait::None, "namespace#1;namespace_id#2", Access::System),
    row(OPERATOR, "DeleteNexusEndpoint", Wait::None, "", Access::System),
    row(OPERATOR, "GetNexusEndpoint", Wait::None, "", Access::System),
    row(OPERATOR, "ListClusters", Wait::None, "", Access::System),
    row(OPERATOR, "ListNexusEndpoints", Wait::None, "", Access::System),
    row(OPERATOR, "ListSearchAttributes", Wait::None, "namespace#1", Access::Client),
    row(OPERATOR, "RemoveRemoteCluster", Wait::None, "", Access::System),
    row(OPERATOR, "RemoveSearchAttributes", Wait::None, "namespace#2", Access::System),
    row(OPERATOR, "UpdateNexusEndpoint", Wait::None, "spec.target.worker.namespace", Access::System),
    row(WORKFLOW, "CountActivityExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "CountNexusOperationExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "CountSchedules", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "CountWorkers", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "CountWorkflowExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "CreateSchedule", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "CreateWorkerDeployment", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "CreateWorkerDeploymentVersion", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "CreateWorkflowRule", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "DeleteActivityExecution", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "DeleteNexusOperationExecution", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "DeleteSchedule", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DeleteWorkerDeployment", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "DeleteWorkerDeploymentVersion", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "DeleteWorkflowExecution", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(WORKFLOW, "DeleteWorkflowRule", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "DeprecateNamespace", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "DescribeActivityExecution", Wait::Capable, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeBatchOperation", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeDeployment", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeNamespace", Wait::None, "namespace#1;id#2", Access::Both),
    row(WORKFLOW, "DescribeNexusOperationExecution", Wait::Capable, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeSchedule", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeTaskQueue", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeWorker", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeWorkerDeployment", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeWorkerDeploymentVersion", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "DescribeWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "DescribeWorkflowRule", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ExecuteMultiOperation", Wait::None, "namespace#1;operations[].namespace", Access::Client)
        .workflow(&[2, 1, 2]),
    row(WORKFLOW, "FetchWorkerConfig", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "GetClusterInfo", Wait::None, "", Access::System),
    row(WORKFLOW, "GetCurrentDeployment", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "GetDeploymentReachability", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "GetSearchAttributes", Wait::None, "", Access::Client),
    row(WORKFLOW, "GetSystemInfo", Wait::None, "", Access::Open),
    row(WORKFLOW, "GetWorkerBuildIdCompatibility", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "GetWorkerTaskReachability", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "GetWorkerVersioningRules", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "GetWorkflowExecutionHistory", Wait::Capable, "namespace#1", Access::Both).workflow(&[2, 1]),
    row(WORKFLOW, "GetWorkflowExecutionHistoryReverse", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "ListActivityExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListArchivedWorkflowExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListBatchOperations", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListClosedWorkflowExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListDeployments", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListNamespaces", Wait::None, "", Access::System),
    row(WORKFLOW, "ListNexusOperationExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListOpenWorkflowExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListScheduleMatchingTimes", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListSchedules", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListTaskQueuePartitions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListWorkerDeployments", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListWorkers", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListWorkflowExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "ListWorkflowRules", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "PatchSchedule", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "PauseActivity", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(WORKFLOW, "PauseActivityExecution", Wait::None, "namespace#1", Access::System).workflow(&[2]),
    row(WORKFLOW, "PauseWorkflowExecution", Wait::None, "namespace#1", Access::System).workflow(&[2]),
    row(WORKFLOW, "PollActivityExecution", Wait::Always, "namespace#1", Access::Client),
    row(WORKFLOW, "PollActivityTaskQueue", Wait::Always, "namespace#1", Access::Worker),
    row(WORKFLOW, "PollNexusOperationExecution", Wait::Always, "namespace#1", Access::Client),
    row(WORKFLOW, "PollNexusTaskQueue", Wait::Always, "namespace#1", Access::Worker),
    row(WORKFLOW, "PollWorkflowExecutionTimeSkipping", Wait::Always, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "PollWorkflowExecutionUpdate", Wait::Always, "namespace#1", Access::Client),
    row(WORKFLOW, "PollWorkflowTaskQueue", Wait::Always, "namespace#1", Access::Worker),
    row(WORKFLOW, "QueryWorkflow", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "RecordActivityTaskHeartbeat", Wait::None, "namespace#4;task_token#1", Access::Worker),
    row(WORKFLOW, "RecordActivityTaskHeartbeatById", Wait::None, "namespace#1", Access::Worker).workflow(&[2]),
    row(WORKFLOW, "RecordWorkerHeartbeat", Wait::None, "namespace#1", Access::Worker),
    row(WORKFLOW, "RegisterNamespace", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "RequestCancelActivityExecution", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "RequestCancelNexusOperationExecution", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "RequestCancelWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "ResetActivity", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(WORKFLOW, "ResetActivityExecution", Wait::None, "namespace#1", Access::System).workflow(&[2]),
    row(WORKFLOW, "ResetStickyTaskQueue", Wait::None, "namespace#1", Access::Worker).workflow(&[2, 1]),
    row(WORKFLOW, "ResetWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "RespondActivityTaskCanceled", Wait::None, "namespace#4;task_token#1", Access::Worker),
    row(WORKFLOW, "RespondActivityTaskCanceledById", Wait::None, "namespace#1", Access::Worker).workflow(&[2]),
    row(WORKFLOW, "RespondActivityTaskCompleted", Wait::None, "namespace#4;task_token#1", Access::Worker),
    row(WORKFLOW, "RespondActivityTaskCompletedById", Wait::None, "namespace#1", Access::Worker).workflow(&[2]),
    row(WORKFLOW, "RespondActivityTaskFailed", Wait::None, "namespace#4;task_token#1", Access::Worker),
    row(WORKFLOW, "RespondActivityTaskFailedById", Wait::None, "namespace#1", Access::Worker).workflow(&[2]),
    row(WORKFLOW, "RespondNexusTaskCompleted", Wait::None, "namespace#1;task_token#3", Access::Worker),
    row(WORKFLOW, "RespondNexusTaskFailed", Wait::None, "namespace#1;task_token#3", Access::Worker),
    row(WORKFLOW, "RespondQueryTaskCompleted", Wait::None, "namespace#6;task_token#1", Access::Worker),
    row(WORKFLOW, "RespondWorkflowTaskCompleted", Wait::None, "namespace#9;task_token#1", Access::Worker),
    row(WORKFLOW, "RespondWorkflowTaskFailed", Wait::None, "namespace#6;task_token#1", Access::Worker),
    row(WORKFLOW, "ScanWorkflowExecutions", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "SetCurrentDeployment", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "SetWorkerDeploymentCurrentVersion", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "SetWorkerDeploymentManager", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "SetWorkerDeploymentRampingVersion", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "ShutdownWorker", Wait::None, "namespace#1", Access::Worker),
    row(WORKFLOW, "SignalWithStartWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2]),
    row(WORKFLOW, "SignalWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "StartActivityExecution", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "StartBatchOperation", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "StartNexusOperationExecution", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "StartWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2]),
    row(WORKFLOW, "StopBatchOperation", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "TerminateActivityExecution", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "TerminateNexusOperationExecution", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "TerminateWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "TriggerWorkflowRule", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(WORKFLOW, "UnpauseActivity", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(WORKFLOW, "UnpauseActivityExecution", Wait::None, "namespace#1", Access::System).workflow(&[2]),
    row(WORKFLOW, "UnpauseWorkflowExecution", Wait::None, "namespace#1", Access::System).workflow(&[2]),
    row(WORKFLOW, "UpdateActivityExecutionOptions", Wait::None, "namespace#1", Access::System).workflow(&[2]),
    row(WORKFLOW, "UpdateActivityOptions", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(WORKFLOW, "UpdateNamespace", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "UpdateSchedule", Wait::None, "namespace#1", Access::Client),
    row(WORKFLOW, "UpdateTaskQueueConfig", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "UpdateWorkerBuildIdCompatibility", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "UpdateWorkerConfig", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "UpdateWorkerDeploymentVersionComputeConfig", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "UpdateWorkerDeploymentVersionMetadata", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "UpdateWorkerVersioningRules", Wait::None, "namespace#1", Access::System),
    row(WORKFLOW, "UpdateWorkflowExecution", Wait::None, "namespace#1", Access::Client).workflow(&[2, 1]),
    row(WORKFLOW, "UpdateWorkflowExecutionOptions", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(WORKFLOW, "ValidateWorkerDeploymentVersionComputeConfig", Wait::None, "namespace#1", Access::System),
    row(ADMIN, "AddOrUpdateRemoteCluster", Wait::None, "", Access::System),
    row(ADMIN, "AddSearchAttributes", Wait::None, "namespace#4", Access::System),
    row(ADMIN, "AddTasks", Wait::None, "", Access::System),
    row(ADMIN, "CancelDLQJob", Wait::None, "", Access::System),
    row(ADMIN, "CloseShard", Wait::None, "", Access::System),
    row(ADMIN, "DeepHealthCheck", Wait::None, "", Access::System),
    row(ADMIN, "DeleteWorkflowExecution", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(ADMIN, "DescribeCluster", Wait::None, "", Access::System),
    row(ADMIN, "DescribeDLQJob", Wait::None, "", Access::System),
    row(ADMIN, "DescribeHistoryHost", Wait::None, "namespace#3", Access::System).workflow(&[4, 1]),
    row(ADMIN, "DescribeMutableState", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(ADMIN, "DescribeTaskQueuePartition", Wait::None, "namespace#1", Access::System),
    row(ADMIN, "ForceUnloadTaskQueuePartition", Wait::None, "namespace#1", Access::System),
    row(ADMIN, "GenerateLastHistoryReplicationTasks", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(ADMIN, "GetDLQMessages", Wait::None, "", Access::System),
    row(ADMIN, "GetDLQReplicationMessages", Wait::None, "", Access::System),
    row(ADMIN, "GetDLQTasks", Wait::None, "", Access::System),
    row(ADMIN, "GetNamespace", Wait::None, "namespace#1;id#2", Access::System),
    row(ADMIN, "GetNamespaceReplicationMessages", Wait::None, "", Access::System),
    row(ADMIN, "GetReplicationMessages", Wait::None, "", Access::System),
    row(ADMIN, "GetSearchAttributes", Wait::None, "namespace#2", Access::System),
    row(ADMIN, "GetShard", Wait::None, "", Access::System),
    row(ADMIN, "GetTaskQueueTasks", Wait::None, "namespace#1", Access::System),
    row(ADMIN, "GetTaskQueueUserData", Wait::None, "namespace#1", Access::System),
    row(ADMIN, "GetWorkflowExecutionRawHistory", Wait::None, "namespace_id#1", Access::System).workflow(&[2, 1]),
    row(ADMIN, "GetWorkflowExecutionRawHistoryV2", Wait::None, "namespace_id#9", Access::System).workflow(&[2, 1]),
    row(ADMIN, "ImportWorkflowExecution", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(ADMIN, "ListClusterMembers", Wait::None, "", Access::System),
    row(ADMIN, "ListClusters", Wait::None, "", Access::System),
    row(ADMIN, "ListHistoryTasks", Wait::None, "", Access::System),
    row(ADMIN, "ListQueues", Wait::None, "", Access::System),
    row(ADMIN, "MergeDLQMessages", Wait::None, "", Access::System),
    row(ADMIN, "MergeDLQTasks", Wait::None, "", Access::System),
    row(ADMIN, "MigrateSchedule", Wait::None, "namespace#1", Access::System),
    row(ADMIN, "PurgeDLQMessages", Wait::None, "", Access::System),
    row(ADMIN, "PurgeDLQTasks", Wait::None, "", Access::System),
    row(ADMIN, "ReapplyEvents", Wait::None, "namespace_id#4", Access::System).workflow(&[2, 1]),
    row(ADMIN, "RebuildMutableState", Wait::None, "namespace#1", Access::System).workflow(&[2, 1]),
    row(ADMIN, "RefreshWorkflowTasks", Wait::None, "namespace_id#3", Access::System).workflow(&[2, 1]),
    row(ADMIN, "RemoveRemoteCluster", Wait::None, "", Access::System),
    row(ADMIN, "RemoveSearchAttributes", Wait::None, "namespace#3", Access::System),
    row(ADMIN, "RemoveTask", Wait::None, "", Access::System),
    row(ADMIN, "ResendReplicationTasks", Wait::None, "namespace_id#1", Access::System).workflow(&[2]),
    row(ADMIN, "StartAdminBatchOperation", Wait::None, "namespace#1", Access::System),
    row(ADMIN, "StreamWorkflowReplicationMessages", Wait::Bidi, "", Access::System),
    row(ADMIN, "SyncWorkflowState", Wait::None, "namespace_id#1", Access::System).workflow(&[2, 1]),
];

#[cfg(test)]
#[path = "methods_tests.rs"]
mod tests;
