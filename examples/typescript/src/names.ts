/** This example's own queue: a workflow is replayed by the SDK that began it. */
export const TASK_QUEUE = 'typescript-queue';
