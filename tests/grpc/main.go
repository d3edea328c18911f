// A grpc-go backend and client for the gateway's tests: the same calls straight to the backend and through the
// gateway must be the same to both ends.
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func([]string) error{
		"backend": backend, // serves until it is killed
		"cases":   cases,   // every case twice; differences are failures
		"load":    load,    // calls at a steady rate; says how each ended
		"polls":   polls,   // parked calls on one connection, and others beside them
		"uploads": uploads, // requests that nobody reads, and calls beside them
		"shim":    shim,    // plaintext in, mutual TLS out, for programs without client certificates
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: warden-grpc backend|cases|load|polls|uploads|shim [FLAGS]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
