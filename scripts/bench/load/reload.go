package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"time"
)

// inForce is one line of the results file.
type inForce struct {
	Kind    string  `json:"kind"`
	Name    string  `json:"name"`
	Change  string  `json:"change"`
	Seconds float64 `json:"seconds"`
}

// reload runs a command (the arguments after the flags) and measures how long after its end it is in force:
// -until serial = a new connection is shown another certificate; -until refused = a call with the token fails.
func reload(args []string) error {
	c := flags("reload")
	change, until := c.String("change", "", "for the table"), c.String("until", "serial", "serial or refused")
	c.Parse(args)
	t, err := c.target("SignalWorkflowExecution")
	if err != nil {
		return err
	}
	check := func() (bool, error) { return refused(t) }
	if *until == "serial" {
		before, err := serial(t)
		if err != nil {
			return err
		}
		check = func() (bool, error) {
			now, err := serial(t)
			return err == nil && now.Cmp(before) != 0, err
		}
	}
	command := exec.Command(c.Arg(0), c.Args()[1:]...)
	command.Stderr = os.Stderr
	if err := command.Run(); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		if done, _ := check(); done {
			return json.NewEncoder(os.Stdout).Encode(inForce{"reload", *c.name, *change, time.Since(began).Seconds()})
		}
	}
	return errors.New(*change + ": not in force after 20 s")
}

func serial(t *target) (*big.Int, error) {
	socket, err := tls.Dial("tcp", t.address, t.tls)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	return socket.ConnectionState().PeerCertificates[0].SerialNumber, nil
}

func refused(t *target) (bool, error) {
	c, err := dial(t)
	if err != nil {
		return false, err
	}
	defer c.socket.Close()
	outcome := make(chan string, 1)
	c.start(func(_ time.Duration, failure string) { outcome <- failure }, true)
	return <-outcome == "status 16", nil
}
