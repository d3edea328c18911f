package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// back is one line of the results file: time from the kill to the first call answered on a new connection.
type back struct {
	Kind    string  `json:"kind"`
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Refused int64   `json:"refused"`
}

// crash kills the gateway (a child of -parent) and measures how long a new client has to wait; meanwhile connections
// are opened without end, and those that are refused are counted.
func crash(args []string) error {
	c := flags("crash")
	parent := c.Int("parent", 0, "process that keeps the gateway")
	c.Parse(args)
	t, err := c.target("SignalWorkflowExecution")
	if err != nil {
		return err
	}
	victim, err := gateway(*parent)
	if err != nil {
		return err
	}
	var refused atomic.Int64
	over := make(chan struct{})
	go knock(t.address, &refused, over)
	defer close(over)
	began := time.Now()
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		return err
	}
	for !answers(t) {
		if time.Since(began) > 20*time.Second {
			return errors.New("it is not back after 20 s")
		}
	}
	return json.NewEncoder(os.Stdout).Encode(back{"crash", *c.name, time.Since(began).Seconds(), refused.Load()})
}

func knock(address string, refused *atomic.Int64, over chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(2 * time.Millisecond):
			if socket, err := net.Dial("tcp", address); err != nil {
				refused.Add(1)
			} else {
				socket.Close()
			}
		}
	}
}

func gateway(parent int) (int, error) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	for _, child := range strings.Fields(string(children)) {
		if line, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.HasSuffix(string(line), "\x00gateway\x00") {
			return int(number(child)), nil
		}
	}
	return 0, fmt.Errorf("process %d has no gateway", parent)
}

func answers(t *target) bool {
	c, err := dial(t)
	if err != nil {
		return false
	}
	defer c.socket.Close()
	outcome := make(chan string, 1)
	return c.start(func(_ time.Duration, failure string) { outcome <- failure }, true) && <-outcome == ""
}
