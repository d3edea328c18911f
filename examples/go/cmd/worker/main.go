// Command worker polls go-queue with worker-token.jwt.
package main

import (
	"log"
	"os"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"temporal-warden/examples/go/jobs"
	"temporal-warden/examples/go/temporal"
)

// The container's health check looks at its age.
const alive = "/tmp/worker-alive"

func main() {
	client, err := temporal.Dial("worker-token.jwt")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	w := worker.New(client, jobs.TaskQueue, worker.Options{})
	w.RegisterWorkflowWithOptions(jobs.MyWorkflow, workflow.RegisterOptions{Name: jobs.WorkflowName})
	w.RegisterActivityWithOptions(jobs.MyActivity, activity.RegisterOptions{Name: jobs.ActivityName})
	go heartbeat()
	// Until SIGTERM or SIGINT, then what is running is finished.
	if err := w.Run(worker.InterruptCh()); err != nil {
		log.Fatal(err)
	}
}

func heartbeat() {
	for {
		if err := os.WriteFile(alive, nil, 0o600); err != nil {
			log.Print(err)
		}
		time.Sleep(5 * time.Second)
	}
}
