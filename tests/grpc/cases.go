package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// seen is all a client can observe of one call.
type seen struct {
	Header, Trailer metadata.MD
	Messages        []string
	Code            codes.Code
	Text            string
	Details         []string
	Compression     string
	Notes           []string
}

// one is a way to run a case: a connection, and contexts for its calls.
type one struct {
	conn *grpc.ClientConn
	ends ends
}

// aCase runs one behaviour; its name says what must be the same on both ways.
type aCase struct {
	name string
	run  func(o one) (seen, error)
}

func cases(args []string) error {
	flags := flag.NewFlagSet("cases", flag.ExitOnError)
	ends := endsOf(flags)
	only := flags.String("only", "", "run cases whose name contains this")
	_ = flags.Parse(args)
	straight, err := ends.straight(grpc.WithStatsHandler(observed{}))
	if err != nil {
		return err
	}
	defer straight.Close()
	through, err := ends.through(grpc.WithStatsHandler(observed{}))
	if err != nil {
		return err
	}
	defer through.Close()
	differ := 0
	for _, c := range all() {
		if !strings.Contains(c.name, *only) {
			continue
		}
		expected, failed := c.run(one{straight, ends})
		got, failedToo := c.run(one{through, ends})
		if failed = errors.Join(failed, failedToo); failed == nil && same(expected, got) {
			fmt.Printf("same: %s\n", c.name)
			continue
		}
		differ++
		fmt.Printf("DIFFERS: %s\n", c.name)
		if failed != nil {
			fmt.Printf("  failed: %v\n", failed)
			continue
		}
		fmt.Printf("  straight: %s\n  through:  %s\n", short(expected), short(got))
	}
	if differ > 0 {
		return fmt.Errorf("%d cases differ", differ)
	}
	return nil
}

func same(a, b seen) bool {
	return asJSON(a) == asJSON(b)
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func short(s seen) string {
	text := asJSON(s)
	return text[:min(len(text), 3000)]
}

// observed puts the compression of an answer where the case finds it.
type observed struct{}

func (observed) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (observed) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if header, ok := event.(*stats.InHeader); ok {
		if place, ok := ctx.Value(seenKey{}).(*string); ok {
			*place = header.Compression
		}
	}
}

func (observed) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (observed) HandleConn(context.Context, stats.ConnStats)                       {}

// script is what a call does: its metadata, its messages, and when they are sent.
type script struct {
	method  string
	pairs   []string
	send    [][]byte
	turns   bool // the next message only after the answer to the one before
	open    bool // never half-closes
	await   bool // waits for the header before anything is sent
	options []grpc.CallOption
	limit   time.Duration
}

func (o one) play(s script) (seen, error) {
	if s.method == "" {
		s.method = list
	}
	if s.limit == 0 {
		s.limit = 20 * time.Second
	}
	var result seen
	parent := context.WithValue(context.Background(), seenKey{}, &result.Compression)
	ctx, err := o.ends.context(parent, s.pairs...)
	if err != nil {
		return result, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	shape := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := o.conn.NewStream(ctx, shape, s.method, s.options...)
	if err != nil {
		return ended(result, err), nil
	}
	if s.await {
		if _, err := stream.Header(); err != nil {
			return ended(result, err), nil
		}
		result.Notes = append(result.Notes, "header before the first message")
	}
	err = o.exchange(stream, s, &result)
	result.Header, _ = stream.Header()
	result.Trailer = stream.Trailer()
	return ended(result, err), nil
}

func (o one) exchange(stream grpc.ClientStream, s script, result *seen) error {
	receive := func() error {
		var message []byte
		err := stream.RecvMsg(&message)
		if err == nil {
			result.Messages = append(result.Messages, fmt.Sprintf("%d:%x", len(message), sha256.Sum256(message)))
		}
		return err
	}
	send := func() error {
		for _, message := range s.send {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
			if s.turns {
				if err := receive(); err != nil {
					return err
				}
			}
		}
		if s.open {
			return nil
		}
		return stream.CloseSend()
	}
	if s.turns {
		if err := send(); err != nil {
			return err
		}
	} else {
		// Beside the reading: who only sends, and is answered all the while, stops for want of windows. How sending
		// fails is told by the status that is read.
		go func() { _ = send() }()
	}
	for {
		if err := receive(); err != nil {
			return err
		}
	}
}

func ended(result seen, err error) seen {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s := status.Convert(err)
	result.Code, result.Text = s.Code(), s.Message()
	for _, detail := range s.Details() {
		result.Details = append(result.Details, fmt.Sprintf("%v", detail))
	}
	return result
}

func pairs(test string, more ...string) []string { return append([]string{"x-test", test}, more...) }

func all() []aCase {
	plain := func(name string, s script) aCase { return aCase{name, func(o one) (seen, error) { return o.play(s) }} }
	hello := [][]byte{[]byte("hello")}
	list := []aCase{
		plain("metadata, headers and trailers: binary, repeated, empty, in order", script{send: hello, pairs: pairs("metadata",
			"x-a", "2", "x-a", "1", "x-a", "2", "x-b-bin", "\x00\x01\xff", "x-b-bin", "", "x-b-bin", "abcd", "x-empty", "",
			"x-comma", "a, b", "x-comma", "c", "x.dot_under-dash", "v", "x-inner", "two  spaces", "x-long", strings.Repeat("v", 8000),
			"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "a=b", "temporal-namespace", "default",
			"client-name", "temporal-go", "cookie", "a=b; c=d", "host", "h", "accept-encoding", "identity", "x-forwarded-for", "1.2.3.4")}),
		plain("a status with details", script{send: hello, pairs: pairs("details")}),
		plain("a status after the header", script{send: hello, pairs: pairs("header-then-code", "x-n", "9")}),
		plain("no message at all", script{send: hello, pairs: pairs("nothing")}),
		plain("no request message", script{pairs: pairs("")}),
		plain("messages of no bytes", script{send: [][]byte{{}, {}, []byte("x"), {}}, pairs: pairs("")}),
		plain("gzip of the request", script{send: [][]byte{*pattern(100000)}, pairs: pairs("metadata"),
			options: []grpc.CallOption{grpc.UseCompressor("gzip")}}),
		plain("gzip of the answer", script{send: [][]byte{*pattern(100000), {}}, pairs: pairs("gzip")}),
		plain("gzip both ways", script{send: [][]byte{*pattern(100000), *pattern(5)}, pairs: pairs("gzip"), turns: true,
			options: []grpc.CallOption{grpc.UseCompressor("gzip")}}),
		plain("answers in turn before the half-close", script{send: [][]byte{*pattern(1), *pattern(70000), *pattern(3)}, turns: true}),
		plain("a header before the first message", script{send: hello, pairs: pairs("header-first"), await: true}),
		plain("an end while the request is open", script{send: hello, pairs: pairs("early"), open: true}),
		plain("an answer to a request that goes on", script{send: repeated(*pattern(60000), 40), pairs: pairs("early")}),
		plain("many answers", script{send: hello, pairs: pairs("many", "x-n", "1500")}),
		plain("many messages", script{send: repeated(*pattern(700), 2000)}),
		plain("25 MB in one answer", script{send: hello, pairs: pairs("big", "x-n", "25000000")}),
		plain("a request of 4 MiB - 1", script{send: [][]byte{*pattern(4<<20 - 1)}, pairs: pairs("nothing")}),
		plain("a request of 4 MiB", script{send: [][]byte{*pattern(4 << 20)}, pairs: pairs("nothing")}),
		plain("a request of 4 MiB + 1", script{send: [][]byte{*pattern(4<<20 + 1)}, pairs: pairs("nothing")}),
		plain("a request of 16 MiB", script{send: [][]byte{*pattern(16 << 20)}, pairs: pairs("nothing")}),
		plain("an unknown method", script{method: "/no.such.Service/Method", send: hello, pairs: pairs("code", "x-n", "12")}),
		plain("an unknown compressor", script{send: hello, pairs: pairs("", "grpc-encoding", "snappy")}),
		{"the deadline", deadline},
		{"a unary call", unary},
		{"a cancelled call ends at the backend", cancels},
		{"a lost connection ends calls at the backend", loses},
		{"health: check, unknown service, watch", healthy},
	}
	for code := range 17 {
		name := fmt.Sprintf("status %d alone", code)
		list = append(list, plain(name, script{send: hello, pairs: pairs("code", "x-n", strconv.Itoa(code))}))
	}
	return list
}

// deadline lets a call run into its own limit. Client and backend keep the same one: who is first to notice it decides
// what else the client sees, with the gateway and without it, so only the code is compared.
func deadline(o one) (seen, error) {
	result, err := o.play(script{send: [][]byte{[]byte("hello")}, pairs: pairs("hang"), limit: 300 * time.Millisecond})
	return seen{Code: result.Code}, err
}

func repeated(message []byte, count int) [][]byte {
	messages := make([][]byte, count)
	for at := range messages {
		messages[at] = message
	}
	return messages
}

func unary(o one) (seen, error) {
	var result seen
	ctx, err := o.ends.context(context.Background(), pairs("")...)
	if err != nil {
		return result, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var answer []byte
	request := *pattern(1000)
	err = o.conn.Invoke(ctx, list, &request, &answer, grpc.Header(&result.Header), grpc.Trailer(&result.Trailer))
	result.Messages = []string{fmt.Sprintf("%x", sha256.Sum256(answer))}
	return ended(result, err), nil
}

// Times a machine under load still keeps, and far below any deadline of the calls.
const soon = 5 * time.Second

// hangs starts calls that never end by themselves, each with a deadline of an hour.
func (o one) hangs(count int) (context.CancelFunc, error) {
	ctx, err := o.ends.context(context.Background(), pairs("hang")...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	for range count {
		stream, err := o.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, list)
		if err == nil {
			err = stream.SendMsg(&[]byte{})
		}
		if err == nil {
			err = stream.CloseSend()
		}
		if err != nil {
			cancel()
			return nil, err
		}
	}
	return cancel, nil
}

func cancels(o one) (seen, error) {
	return gone(o, func(_ one, cancel context.CancelFunc) { cancel() })
}

func loses(o one) (seen, error) {
	return gone(o, func(o one, _ context.CancelFunc) { o.conn.Close() })
}

// gone parks calls on a connection of their own and lets them end by end: the backend must notice soon.
func gone(o one, end func(one, context.CancelFunc)) (seen, error) {
	var result seen
	backend, err := o.ends.straight()
	if err != nil {
		return result, err
	}
	defer backend.Close()
	before, err := counted(backend)
	if err != nil {
		return result, err
	}
	dial := o.ends.straight
	if o.conn.Target() != backend.Target() {
		dial = o.ends.through
	}
	conn, err := dial()
	if err != nil {
		return result, err
	}
	defer conn.Close()
	parked := one{conn, o.ends}
	cancel, err := parked.hangs(20)
	if err != nil {
		return result, err
	}
	defer cancel()
	if _, err = until(backend, soon, func(now counts) bool { return now.Active == before.Active+20 }); err != nil {
		return result, err
	}
	end(parked, cancel)
	took, err := until(backend, soon, func(now counts) bool {
		return now.Active == before.Active && now.Cancelled == before.Cancelled+20
	})
	fmt.Printf("  20 calls gone at the backend after %v\n", took)
	return result, err
}

// healthy compares the gateway's own health service with grpc-go's.
func healthy(o one) (seen, error) {
	var result seen
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := healthpb.NewHealthClient(o.conn)
	for _, service := range []string{"", "temporal.api.workflowservice.v1.WorkflowService", "no.such.Service"} {
		answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		result.Notes = append(result.Notes, fmt.Sprint(answer.GetStatus(), status.Code(err), status.Convert(err).Message()))
		watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			return result, err
		}
		first, err := watch.Recv()
		result.Notes = append(result.Notes, fmt.Sprint(first.GetStatus(), status.Code(err)))
	}
	return result, nil
}
