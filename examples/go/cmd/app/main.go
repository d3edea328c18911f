// Command app is the HTTP side: it starts workflows with client-token.jwt and never executes one.
//
//	app          serves on :8000
//	app health   exits 0 when that says it is healthy (for the container's health check)
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"temporal-warden/examples/go/jobs"
	"temporal-warden/examples/go/temporal"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "health" {
		os.Exit(health())
	}
	c, err := temporal.Dial("client-token.jwt")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	server := &http.Server{Addr: ":8000", Handler: routes(c), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(stop, func() {
		if err := server.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func health() int {
	answer, err := http.Get("http://127.0.0.1:8000/health")
	if err != nil || answer.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

func routes(c client.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		// Healthy means: Temporal serves this client.
		if _, err := c.CheckHealth(r.Context(), &client.CheckHealthRequest{}); err != nil {
			answer(w, http.StatusServiceUnavailable, map[string]any{"detail": err.Error()})
			return
		}
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	mux.HandleFunc("POST /jobs", func(w http.ResponseWriter, r *http.Request) { start(c, w, r) })
	mux.HandleFunc("GET /jobs/{id}", func(w http.ResponseWriter, r *http.Request) { result(c, w, r) })
	return mux
}

func start(c client.Client, w http.ResponseWriter, r *http.Request) {
	var job struct {
		Data         string  `json:"data"`
		DelaySeconds float64 `json:"delay_seconds"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&job); err != nil {
		answer(w, http.StatusUnprocessableEntity, map[string]any{"detail": err.Error()})
		return
	}
	options := client.StartWorkflowOptions{ID: "job-" + uuid.NewString(), TaskQueue: jobs.TaskQueue}
	run, err := c.ExecuteWorkflow(r.Context(), options, jobs.WorkflowName, job.Data, job.DelaySeconds)
	if err != nil {
		answer(w, http.StatusBadGateway, map[string]any{"detail": "temporal: " + err.Error()})
		return
	}
	answer(w, http.StatusAccepted, map[string]any{"id": run.GetID()})
}

func result(c client.Client, w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	described, err := c.DescribeWorkflowExecution(r.Context(), id, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		answer(w, http.StatusNotFound, map[string]any{"detail": "temporal: " + err.Error()})
		return
	}
	status := described.GetWorkflowExecutionInfo().GetStatus()
	var value *string
	if err == nil && status == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED {
		err = c.GetWorkflow(r.Context(), id, "").Get(r.Context(), &value)
	}
	if err != nil {
		answer(w, http.StatusBadGateway, map[string]any{"detail": "temporal: " + err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]any{"id": id, "status": status.String(), "result": value})
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}
