// Package jobs holds the guide's MyWorkflow and my_activity.
package jobs

import (
	"context"
	"time"

	"go.temporal.io/sdk/workflow"
)

// Names as the guide has them. The queue is this example's own: a workflow is replayed by the SDK that began it.
const (
	TaskQueue    = "go-queue"
	WorkflowName = "MyWorkflow"
	ActivityName = "my_activity"
)

// MyWorkflow executes one activity; with a delay it is a job that outlives a restart of the server.
func MyWorkflow(ctx workflow.Context, data string, delaySeconds float64) (string, error) {
	if delaySeconds > 0 {
		if err := workflow.Sleep(ctx, time.Duration(delaySeconds*float64(time.Second))); err != nil {
			return "", err
		}
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 30 * time.Second})
	var result string
	err := workflow.ExecuteActivity(ctx, ActivityName, data).Get(ctx, &result)
	return result, err
}

// MyActivity is the work itself.
func MyActivity(_ context.Context, data string) (string, error) {
	return "processed " + data, nil
}
