package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// common are the flags of every kind of load.
type common struct {
	*flag.FlagSet
	name, address, cert, key, ca, token *string
	pids                                *string
	connections                         *int
	duration                            *time.Duration
}

func flags(name string) common {
	set := flag.NewFlagSet(name, flag.ExitOnError)
	return common{
		FlagSet: set, name: set.String("name", "", "of the target, for the table"), address: set.String("target", "", "host:port"),
		cert: set.String("cert", "", "client chain"), key: set.String("key", "", "its key"), ca: set.String("ca", "", "trust"),
		token: set.String("token", "", "file with the token"), pids: set.String("pids", "", "processes of the target, with commas"),
		connections: set.Int("connections", 8, "connections"), duration: set.Duration("duration", 5*time.Second, "how long"),
	}
}

func (c common) target(method string) (*target, error) {
	certificate, pool, err := pair(*c.cert, *c.key, *c.ca)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(*c.token)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate}, RootCAs: pool, ServerName: "temporal", NextProtos: []string{"h2"},
		MinVersion: tls.VersionTLS13,
	}
	return &target{address: *c.address, tls: config, token: strings.TrimSpace(string(token)), method: method}, nil
}

// tally collects what calls came to.
type tally struct {
	mutex    sync.Mutex
	took     []time.Duration
	failures map[string]int
	worst    time.Duration
}

func (t *tally) add(took time.Duration, failure string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if failure != "" {
		t.failures[failure]++
		return
	}
	t.took = append(t.took, took)
	t.worst = max(t.worst, took)
}

func (t *tally) percentile(p float64) float64 {
	if len(t.took) == 0 {
		return 0
	}
	return float64(t.took[min(len(t.took)-1, int(p*float64(len(t.took))))].Nanoseconds()) / 1000
}

// result is one line of the results file.
type result struct {
	Kind     string         `json:"kind"`
	Name     string         `json:"name"`
	Calls    int            `json:"calls"`
	Rate     float64        `json:"rate"`
	P50      float64        `json:"p50_us"`
	P99      float64        `json:"p99_us"`
	Worst    float64        `json:"worst_us"`
	CPU      float64        `json:"cpu_s_per_100k"`
	Lost     int            `json:"lost"`
	Failures map[string]int `json:"failures,omitempty"`
}

// cpu is the time the processes have used, seconds (proc(5): utime and stime, in ticks of 10 ms).
func cpu(pids string) float64 {
	total := 0.0
	for _, pid := range strings.FieldsFunc(pids, func(r rune) bool { return r == ',' || r == ' ' }) {
		text, _ := os.ReadFile("/proc/" + pid + "/stat")
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 12 {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			total += float64(user+system) / 100
		}
	}
	return total
}

func (t *tally) report(c common, kind string, took time.Duration, used float64) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	sort.Slice(t.took, func(a, b int) bool { return t.took[a] < t.took[b] })
	lost := 0
	for _, count := range t.failures {
		lost += count
	}
	calls := len(t.took)
	r := result{
		Kind: kind, Name: *c.name, Calls: calls, Rate: float64(calls) / took.Seconds(), P50: t.percentile(0.5),
		P99: t.percentile(0.99), Worst: float64(t.worst.Microseconds()), Lost: lost, Failures: t.failures,
	}
	if calls > 0 {
		r.CPU = used / float64(calls) * 100000
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// load is a closed loop (-inflight calls at once on each connection) or an open one (-rate).
func load(args []string) error {
	c := flags("load")
	kind, rate := c.String("kind", "", "of measurement, for the table"), c.Float64("rate", 0, "calls/s; 0 = closed loop")
	inflight := c.Int("inflight", 16, "calls at once on each connection of a closed loop")
	c.Parse(args)
	t, err := c.target("SignalWorkflowExecution")
	if err != nil {
		return err
	}
	lines, err := open(t, *c.connections)
	if err != nil {
		return err
	}
	if *rate > 0 {
		return openLoop(c, *kind, lines, *rate)
	}
	return closedLoop(c, *kind, lines, *inflight)
}

// lines are connections that are dialled anew when they end.
type lines struct {
	target *target
	all    []atomic.Pointer[connection]
}

func open(t *target, count int) (*lines, error) {
	l := &lines{target: t, all: make([]atomic.Pointer[connection], count)}
	for at := range l.all {
		c, err := dial(t)
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", at, err)
		}
		l.all[at].Store(c)
	}
	return l, nil
}

// call starts a call on connection number at, which is replaced when it takes no more.
func (l *lines) call(at int, done ended) {
	for try := 0; try < 20; try++ {
		if l.all[at].Load().start(done, true) {
			return
		}
		if c, err := dial(l.target); err == nil {
			l.all[at].Store(c)
		} else {
			time.Sleep(50 * time.Millisecond)
		}
	}
	done(0, "no connection")
}

func closedLoop(c common, kind string, l *lines, inflight int) error {
	results := &tally{failures: map[string]int{}, took: make([]time.Duration, 0, 1<<20)}
	var measuring, over atomic.Bool
	for at := range l.all {
		line := l.all[at].Load()
		var again ended
		again = func(took time.Duration, failure string) {
			if measuring.Load() {
				results.add(took, failure)
			}
			if !over.Load() && failure == "" {
				line.start(again, false)
			}
		}
		for range inflight {
			line.start(again, true)
		}
	}
	time.Sleep(time.Second)
	used, began := cpu(*c.pids), time.Now()
	measuring.Store(true)
	time.Sleep(*c.duration)
	measuring.Store(false)
	took := time.Since(began)
	used = cpu(*c.pids) - used
	over.Store(true)
	return results.report(c, kind, took, used)
}

func openLoop(c common, kind string, l *lines, rate float64) error {
	results := &tally{failures: map[string]int{}}
	var waiting sync.WaitGroup
	done := func(took time.Duration, failure string) {
		results.add(took, failure)
		waiting.Done()
	}
	used, began, sent := cpu(*c.pids), time.Now(), 0
	for time.Since(began) < *c.duration {
		for due := int(time.Since(began).Seconds() * rate); sent < due; sent++ {
			waiting.Add(1)
			at := sent % len(l.all)
			if line := l.all[at].Load(); !line.start(done, true) {
				go l.call(at, done)
			}
		}
		time.Sleep(200 * time.Microsecond)
	}
	took := time.Since(began)
	used = cpu(*c.pids) - used
	finished := make(chan struct{})
	go func() { waiting.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(15 * time.Second):
		results.mutex.Lock()
		results.failures["no answer"] += sent - len(results.took)
		results.mutex.Unlock()
	}
	return results.report(c, kind, took, used)
}
