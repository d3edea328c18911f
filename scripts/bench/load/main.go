// bench is both ends of scripts/bench/gateway.sh: a grpc-go backend that echoes, and a load generator that speaks
// HTTP/2 frames itself, so that its own cost hides as little as possible of what is measured.
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func([]string) error{"echo": echo, "load": load, "poll": poll, "reload": reload, "crash": crash, "table": table}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: bench echo|load|poll|reload|crash|table …")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
