package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// line is any line of the results file.
type line struct {
	result
	Polls    int     `json:"polls"`
	Ended    int     `json:"ended"`
	KiB      float64 `json:"kib"`
	PerPoll  float64 `json:"kib_per_poll"`
	Upstream int     `json:"upstream_connections"`
	PerS     float64 `json:"cpu_s_per_s"`
	Change   string  `json:"change"`
	Seconds  float64 `json:"seconds"`
	Refused  int     `json:"refused"`
}

var targets = []string{"direct", "warden", "haproxy", "haproxy-jwt", "nginx"}

// sheet finds numbers among the lines; of several rounds it takes the median.
type sheet []line

func (s sheet) median(kind, name string, of func(line) float64) (float64, bool) {
	var found []float64
	for _, l := range s {
		if l.Kind == kind && l.Name == name {
			found = append(found, of(l))
		}
	}
	if len(found) == 0 {
		return 0, false
	}
	slices.Sort(found)
	return (found[(len(found)-1)/2] + found[len(found)/2]) / 2, true
}

// row prints one number of every target, and its ratio to another target's.
func (s sheet) row(title, kind, format, base string, of func(line) float64) {
	fmt.Printf("| %s |", title)
	against, compare := s.median(kind, base, of)
	for _, name := range targets {
		value, ok := s.median(kind, name, of)
		switch {
		case !ok:
			fmt.Print(" – |")
		case compare && against > 0 && name != base:
			fmt.Printf(" "+format+" (%.2f) |", value, value/against)
		default:
			fmt.Printf(" "+format+" |", value)
		}
	}
	fmt.Println()
}

// added prints a latency less that of the direct way.
func (s sheet) added(title, kind string, of func(line) float64) {
	direct, _ := s.median(kind, "direct", of)
	fmt.Printf("| %s | %.0f |", title, direct)
	for _, name := range targets[1:] {
		if value, ok := s.median(kind, name, of); ok {
			fmt.Printf(" +%.0f |", value-direct)
		} else {
			fmt.Print(" – |")
		}
	}
	fmt.Println()
}

func table(args []string) error {
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	var all sheet
	for scan := bufio.NewScanner(file); scan.Scan(); {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return err
		}
		if l.Kind == "polls" {
			l.Kind = fmt.Sprint("polls", l.Polls)
		}
		all = append(all, l)
	}
	p50, p99 := func(l line) float64 { return l.P50 }, func(l line) float64 { return l.P99 }
	lost := func(l line) float64 { return float64(l.Lost) }
	fmt.Printf("\n| | %s |\n|---|%s\n", strings.Join(targets, " | "), strings.Repeat("---|", len(targets)))
	for _, shape := range [][2]string{{"saturated", "50 clients"}, {"few", "8 clients"}} {
		title := ", saturated by " + shape[1] + " (ratio to haproxy)"
		all.row("calls/s"+title, shape[0], "%.0f", "haproxy", func(l line) float64 { return l.Rate })
		all.row("CPU s per 100k calls"+title, shape[0], "%.2f", "haproxy", func(l line) float64 { return l.CPU })
	}
	all.row("CPU s per 100k calls at 3,000/s", "rate3000", "%.2f", "haproxy", func(l line) float64 { return l.CPU })
	all.added("p50 added, one call at a time, µs", "one", p50)
	all.added("p99 added, one call at a time, µs", "one", p99)
	all.added("p50 added at 3,000/s, µs", "rate3000", p50)
	all.row("p99 at 3,000/s, µs", "rate3000", "%.0f", "direct", p99)
	all.row("memory idle (PSS), MiB", "polls0", "%.1f", "", func(l line) float64 { return l.KiB / 1024 })
	for _, count := range []string{"5000", "10000"} {
		kind, title := "polls"+count, count+" parked polls: "
		all.row(title+"memory (PSS), MiB", kind, "%.1f", "", func(l line) float64 { return l.KiB / 1024 })
		all.row(title+"KiB a poll", kind, "%.2f", "", func(l line) float64 { return l.PerPoll })
		all.row(title+"upstream connections", kind, "%.0f", "", func(l line) float64 { return float64(l.Upstream) })
		all.row(title+"CPU s per s", kind, "%.4f", "", func(l line) float64 { return l.PerS })
		all.row(title+"ended early", kind, "%.0f", "", func(l line) float64 { return float64(l.Ended) })
	}
	all.row("lost of 10,000, GOAWAY every 2 s", "goaway", "%.0f", "", lost)
	all.row("lost, upstream killed and started at 500/s", "restart", "%.0f", "", lost)
	all.row("lost at 1,000/s during reloads", "reload", "%.0f", "", lost)
	if middle, ok := all.median("crash", "warden", func(l line) float64 { return l.Seconds }); ok {
		worst, refused := 0.0, 0
		for _, l := range all {
			if l.Kind == "crash" {
				worst, refused = max(worst, l.Seconds), refused+l.Refused
			}
		}
		fmt.Printf("| gateway killed: a new client is answered after, ms (worst); refused | | %.0f (%.0f); %d | | | |\n", middle*1000, worst*1000, refused)
	}
	for _, l := range all {
		if l.Change != "" {
			fmt.Printf("| %s in force after, s | | %.2f | | | |\n", l.Change, l.Seconds)
		}
		if len(l.Failures) > 0 {
			fmt.Fprintf(os.Stderr, "%s, %s: %v\n", l.Kind, l.Name, l.Failures)
		}
	}
	return nil
}
