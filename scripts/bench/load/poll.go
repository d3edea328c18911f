package main

import (
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// parked is one line of the results file.
type parked struct {
	Kind     string  `json:"kind"`
	Name     string  `json:"name"`
	Polls    int     `json:"polls"`
	Ended    int64   `json:"ended"`
	IdleKiB  float64 `json:"idle_kib"`
	KiB      float64 `json:"kib"`
	PerPoll  float64 `json:"kib_per_poll"`
	Upstream int     `json:"upstream_connections"`
	CPU      float64 `json:"cpu_s_per_s"`
}

// pss is the proportional share of memory of the processes, KiB (proc(5), smaps_rollup).
func pss(pids string) float64 {
	total := 0.0
	for _, pid := range strings.Split(pids, ",") {
		text, _ := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		for _, line := range strings.Split(string(text), "\n") {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
				total += number(fields[1])
			}
		}
	}
	return total
}

// poll parks long polls and says what they cost the target.
func poll(args []string) error {
	c := flags("poll")
	count := c.Int("count", 5000, "polls in all")
	upstream := c.String("upstream", "", "host:port of the backend: connections to it are counted")
	c.Parse(args)
	t, err := c.target("PollWorkflowTaskQueue")
	if err != nil {
		return err
	}
	idle := pss(*c.pids)
	l, err := open(t, *c.connections)
	if err != nil {
		return err
	}
	var over atomic.Int64
	for number := range *count {
		l.all[number%len(l.all)].Load().start(func(time.Duration, string) { over.Add(1) }, true)
		if number%100 == 99 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	time.Sleep(2 * time.Second)
	used, began := cpu(*c.pids), time.Now()
	time.Sleep(*c.duration)
	used = (cpu(*c.pids) - used) / time.Since(began).Seconds()
	now := pss(*c.pids)
	return json.NewEncoder(os.Stdout).Encode(parked{
		Kind: "polls", Name: *c.name, Polls: *count, Ended: over.Load(), IdleKiB: idle, KiB: now,
		PerPoll: (now - idle) / float64(max(1, *count)), Upstream: established(*c.pids, *upstream), CPU: used,
	})
}
