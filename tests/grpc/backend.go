package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// active counts calls inside handlers; cancelled those whose client was gone before they ended.
var active, cancelled atomic.Int64

// backend serves every method as the call's x-test says. -ids names a file that gets the x-id of each call at its
// start: it outlives the process, so that a call that was sent twice is seen even across a kill.
func backend(args []string) error {
	flags := flag.NewFlagSet("backend", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address")
	age := flags.Duration("age", 0, "age at which a connection gets GOAWAY; 0 = never")
	grace := flags.Duration("grace", 70*time.Second, "time calls have after that")
	ids := flags.String("ids", "", "file for the ids of calls")
	_ = flags.Parse(args)

	file, err := openIds(*ids)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	parameters := keepalive.ServerParameters{MaxConnectionAgeGrace: *grace}
	if *age > 0 {
		parameters.MaxConnectionAge = *age
	}
	server := grpc.NewServer(
		// As Temporal's frontend has it.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(parameters),
		grpc.StatsHandler(compression{}),
		grpc.UnknownServiceHandler(handler(file)),
		grpc.ForceServerCodecV2(served{encoding.GetCodecV2("proto")}),
	)
	checks := health.NewServer()
	checks.SetServingStatus("temporal.api.workflowservice.v1.WorkflowService", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, checks)
	fmt.Println(listener.Addr())
	return server.Serve(listener)
}

func openIds(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

type seenKey struct{}

// compression notes how requests were compressed, which handlers can't see.
type compression struct{ stats.Handler }

func (compression) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, seenKey{}, new(string))
}

func (compression) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if header, ok := event.(*stats.InHeader); ok {
		*ctx.Value(seenKey{}).(*string) = header.Compression
	}
}

func (compression) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (compression) HandleConn(context.Context, stats.ConnStats)                       {}

func handler(ids *os.File) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(stream.Context())
		first := func(name string) string {
			if values := md.Get(name); len(values) > 0 {
				return values[0]
			}
			return ""
		}
		test := first("x-test")
		if test == "counters" {
			return counters(stream)
		}
		active.Add(1)
		defer active.Add(-1)
		if id := first("x-id"); ids != nil && id != "" {
			if _, err := ids.WriteString(id + "\n"); err != nil {
				return err
			}
		}
		number, _ := strconv.Atoi(first("x-n"))
		return act(test, number, md, stream)
	}
}

func act(test string, number int, md metadata.MD, stream grpc.ServerStream) error {
	ctx := stream.Context()
	switch test {
	case "metadata":
		return describe(md, stream)
	case "details":
		return details()
	case "code":
		return status.Error(codes.Code(number), "as asked: 100% „quoted“\n\ttab")
	case "header-then-code":
		if err := stream.SendHeader(metadata.Pairs("x-head", "1")); err != nil {
			return err
		}
		return status.Error(codes.Code(number), "after the header")
	case "nothing":
		return drain(stream)
	case "big":
		return stream.SendMsg(pattern(number))
	case "many":
		for at := range number {
			if err := stream.SendMsg(pattern(at)); err != nil {
				return err
			}
		}
		return nil
	case "early":
		// An answer while the request still comes.
		return stream.SendMsg(pattern(3))
	case "header-first":
		if err := stream.SendHeader(metadata.Pairs("x-head", "before any message")); err != nil {
			return err
		}
		return echo(stream)
	case "gzip":
		if err := grpc.SetSendCompressor(ctx, "gzip"); err != nil {
			return err
		}
		return echo(stream)
	case "hang":
		<-ctx.Done()
		cancelled.Add(1)
		return status.FromContextError(ctx.Err()).Err()
	case "sleep":
		select {
		case <-time.After(time.Duration(number) * time.Millisecond):
		case <-ctx.Done():
			cancelled.Add(1)
		}
		return echo(stream)
	default:
		return echo(stream)
	}
}

func counters(stream grpc.ServerStream) error {
	text := fmt.Appendf(nil, `{"active":%d,"cancelled":%d}`, active.Load(), cancelled.Load())
	return stream.SendMsg(&text)
}

// describe answers with what arrived, as JSON, between headers and trailers of every kind.
func describe(md metadata.MD, stream grpc.ServerStream) error {
	md = md.Copy()
	md.Delete(":authority") // the upstream's own address; Temporal does not look at it
	compression, _ := stream.Context().Value(seenKey{}).(*string)
	saw, err := json.Marshal(map[string]any{"metadata": md, "compression": compression})
	if err != nil {
		return err
	}
	stream.SetTrailer(metadata.Pairs("x-trail-bin", "\x00\xff\x01", "x-trail", "one", "x-trail", "two", "x-trail-bin", "",
		"x-trail-bin", "second"))
	head := metadata.Pairs("x-head", "b", "x-head", "a", "x-head-bin", "\x00\x01\x02\xfe\xff", "x-head-bin", "x", "x.dotted_name", "v",
		"x-comma", "a, b,c", "x-empty", "")
	if err := stream.SendHeader(head); err != nil {
		return err
	}
	if err := drain(stream); err != nil {
		return err
	}
	return stream.SendMsg(&saw)
}

// details is an error as Temporal makes them: a status with messages in grpc-status-details-bin.
func details() error {
	with, err := status.New(codes.FailedPrecondition, "namespace „défault“ is not active: 5%").WithDetails(
		&errdetails.ErrorInfo{Reason: "STANDBY", Domain: "temporal", Metadata: map[string]string{"a": "b"}},
		&errdetails.DebugInfo{Detail: string(make([]byte, 3000)), StackEntries: []string{"x", "y"}},
	)
	if err != nil {
		return err
	}
	return with.Err()
}

func drain(stream grpc.ServerStream) error {
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return unless(err)
		}
	}
}

func echo(stream grpc.ServerStream) error {
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return unless(err)
		}
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
	}
}

func unless(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// pattern is size bytes that show a shift or a loss.
func pattern(size int) *[]byte {
	bytes := make([]byte, size)
	for at := range bytes {
		bytes[at] = byte(at * 31 >> 3)
	}
	return &bytes
}
