package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
)

// A method of the table; the token's scope temporal-system may call every one.
const list = "/temporal.api.workflowservice.v1.WorkflowService/ListWorkflowExecutions"

// ends are the two ways to the backend.
type ends struct{ gateway, backend, ca, cert, key, token *string }

func endsOf(flags *flag.FlagSet) ends {
	return ends{
		gateway: flags.String("gateway", "", "address of the gateway"),
		backend: flags.String("backend", "", "address of the backend"),
		ca:      flags.String("ca", "", "trust bundle, PEM file"),
		cert:    flags.String("cert", "", "client certificate, PEM file"),
		key:     flags.String("key", "", "its key, PEM file"),
		token:   flags.String("token", "", "file with a token of scope temporal-system"),
	}
}

func (e ends) tls(alpn ...string) (*tls.Config, error) {
	pem, err := os.ReadFile(*e.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + *e.ca)
	}
	// At each handshake the files of that moment, as examples/go does.
	papers := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(*e.cert, *e.key)
		return &pair, err
	}
	return &tls.Config{RootCAs: roots, GetClientCertificate: papers, ServerName: "localhost", NextProtos: alpn}, nil
}

// through connects through the gateway; calls carry the token.
func (e ends) through(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	config, err := e.tls("h2")
	if err != nil {
		return nil, err
	}
	options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	return grpc.NewClient("passthrough:///"+*e.gateway, append(options, common()...)...)
}

// straight connects to the backend itself.
func (e ends) straight(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return grpc.NewClient("passthrough:///"+*e.backend, append(options, common()...)...)
}

func common() []grpc.DialOption {
	codec := served{encoding.GetCodecV2("proto")}
	return []grpc.DialOption{
		// What arrives is compared, and what fails is seen: nothing is tried again behind the test's back.
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec), grpc.MaxCallRecvMsgSize(128<<20), grpc.MaxCallSendMsgSize(128<<20)),
	}
}

// context is one for a call with these metadata, and the token, which both ways carry.
func (e ends) context(parent context.Context, pairs ...string) (context.Context, error) {
	token, err := os.ReadFile(*e.token)
	if err != nil {
		return nil, err
	}
	pairs = append([]string{"authorization", "Bearer " + strings.TrimSpace(string(token))}, pairs...)
	return metadata.AppendToOutgoingContext(parent, pairs...), nil
}

type counts struct{ Active, Cancelled int64 }

// counted asks the backend itself.
func counted(conn *grpc.ClientConn) (counts, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-test", "counters")
	var answer []byte
	if err := conn.Invoke(ctx, list, &[]byte{}, &answer); err != nil {
		return counts{}, fmt.Errorf("counters: %w", err)
	}
	var read counts
	return read, json.Unmarshal(answer, &read)
}

// until asks the backend until its counters are good; how long that took.
func until(conn *grpc.ClientConn, limit time.Duration, good func(counts) bool) (time.Duration, error) {
	start := time.Now()
	for {
		now, err := counted(conn)
		if err != nil {
			return 0, err
		}
		if good(now) {
			return time.Since(start), nil
		}
		if time.Since(start) > limit {
			return 0, fmt.Errorf("the backend still counts %+v after %v", now, limit)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
