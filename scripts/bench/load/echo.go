package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"math"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
)

// raw leaves messages as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// pair reads a certificate, its key and the CA that signs everybody.
func pair(cert, key, ca string) (tls.Certificate, *x509.CertPool, error) {
	certificate, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return certificate, nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return certificate, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return certificate, nil, errors.New(ca + ": no certificate")
	}
	return certificate, pool, nil
}

// echo is the backend: every method answers with its request, polls wait for ever.
func echo(args []string) error {
	flags := flag.NewFlagSet("echo", flag.ExitOnError)
	listen := flags.String("listen", "", "host:port")
	cert, key, ca := flags.String("cert", "", "chain"), flags.String("key", "", "key"), flags.String("ca", "", "trust")
	age := flags.Duration("max-age", 0, "GOAWAY after this time, as Temporal does after 5 minutes; 0 = never")
	flags.Parse(args)
	certificate, pool, err := pair(*cert, *key, *ca)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
	}
	parameters := keepalive.ServerParameters{MaxConnectionAge: *age, MaxConnectionAgeGrace: 70 * time.Second}
	if *age == 0 {
		parameters = keepalive.ServerParameters{}
	}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(config)),
		grpc.ForceServerCodecV2(raw{}),
		grpc.UnknownServiceHandler(answer),
		grpc.KeepaliveParams(parameters),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(math.MaxUint32),
		grpc.NumStreamWorkers(4),
	)
	return server.Serve(listener)
}

var _ encoding.CodecV2 = raw{}

func answer(_ any, stream grpc.ServerStream) error {
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	if method, _ := grpc.MethodFromServerStream(stream); strings.Contains(method, "/Poll") {
		<-stream.Context().Done()
		return context.Cause(stream.Context())
	}
	return stream.SendMsg(&message)
}
