package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
)

// shim holds the client certificate for programs that have no option for one, such as h2spec: bytes in, mutual TLS out.
func shim(args []string) error {
	flags := flag.NewFlagSet("shim", flag.ExitOnError)
	ends := endsOf(flags)
	_ = flags.Parse(args)
	config, err := ends.tls("h2")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	for {
		inner, err := listener.Accept()
		if err != nil {
			return err
		}
		go join(inner, *ends.gateway, config)
	}
}

func join(inner net.Conn, address string, config *tls.Config) {
	defer inner.Close()
	outer, err := tls.Dial("tcp", address, config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "shim:", err)
		return
	}
	defer outer.Close()
	go func() {
		_, _ = io.Copy(outer, inner)
		_ = outer.CloseWrite()
	}()
	_, _ = io.Copy(inner, outer)
}
