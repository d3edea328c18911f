package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// report is how a load went, as one line of JSON.
type report struct {
	Calls, OK   int
	Failed      map[string]int
	MaxMs       int64
	Unsent      int // failed calls that never reached the backend
	Twice       int // calls that reached it more than once
	OKButAbsent int // calls that were answered and never reached it
}

// load makes calls at a steady rate, whatever becomes of those before, and compares with the ids the backend wrote.
func load(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	ends := endsOf(flags)
	rate := flags.Int("rate", 300, "calls per second")
	seconds := flags.Int("seconds", 10, "for so long")
	connections := flags.Int("connections", 4, "client connections")
	deadline := flags.Duration("deadline", 20*time.Second, "of each call")
	sleep := flags.String("sleep", "0", "milliseconds each call takes at the backend")
	ids := flags.String("ids", "", "the backend's file of ids")
	_ = flags.Parse(args)
	conns := make([]*grpc.ClientConn, *connections)
	for at := range conns {
		conn, err := ends.through()
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[at] = conn
	}
	var (
		waiting sync.WaitGroup
		lock    sync.Mutex
		result  = report{Failed: map[string]int{}}
		ok      = map[string]bool{}
	)
	total := *rate * *seconds
	start := time.Now()
	for number := range total {
		time.Sleep(time.Until(start.Add(time.Duration(number) * time.Second / time.Duration(*rate))))
		waiting.Go(func() {
			id := fmt.Sprintf("%d-%d", start.UnixNano(), number)
			took, err := ends.call(conns[number%len(conns)], *deadline, id, *sleep)
			lock.Lock()
			defer lock.Unlock()
			ok[id] = err == nil
			result.MaxMs = max(result.MaxMs, took.Milliseconds())
			if err == nil {
				result.OK++
			} else {
				result.Failed[fmt.Sprintf("%v: %s", status.Code(err), status.Convert(err).Message())]++
			}
		})
	}
	waiting.Wait()
	result.Calls = total
	if err := result.compare(*ids, ok); err != nil {
		return err
	}
	fmt.Println(asJSON(result))
	return nil
}

func (e ends) call(conn *grpc.ClientConn, deadline time.Duration, id, sleep string) (time.Duration, error) {
	ctx, err := e.context(context.Background(), "x-test", "sleep", "x-n", sleep, "x-id", id)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	start := time.Now()
	answer, request := []byte{}, []byte(id)
	// While the gateway itself is away a client waits for it, as SDKs do by trying again.
	err = conn.Invoke(ctx, list, &request, &answer, grpc.WaitForReady(true))
	if err == nil && string(answer) != id {
		err = status.Error(codes.DataLoss, "the answer of another call")
	}
	return time.Since(start), err
}

func (r *report) compare(path string, ok map[string]bool) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	times := map[string]int{}
	for id := range strings.FieldsSeq(string(text)) {
		times[id]++
	}
	for id, good := range ok {
		switch count := times[id]; {
		case count > 1:
			r.Twice++
		case count == 0 && good:
			r.OKButAbsent++
		case count == 0:
			r.Unsent++
		}
	}
	return nil
}

// polls parks calls on one client connection, calls beside them on the same one, and then drops the connection.
func polls(args []string) error {
	flags := flag.NewFlagSet("polls", flag.ExitOnError)
	ends := endsOf(flags)
	count := flags.Int("count", 2000, "parked calls")
	_ = flags.Parse(args)
	conn, err := ends.through()
	if err != nil {
		return err
	}
	defer conn.Close()
	backend, err := ends.straight()
	if err != nil {
		return err
	}
	defer backend.Close()
	cancel, err := one{conn, ends}.hangs(*count)
	if err != nil {
		return err
	}
	defer cancel()
	parked, err := until(backend, 30*time.Second, func(now counts) bool { return now.Active >= int64(*count) })
	if err != nil {
		return errors.Join(errors.New("not all calls reached the backend"), err)
	}
	var slowest time.Duration
	for number := range 200 {
		took, err := ends.call(conn, 10*time.Second, fmt.Sprint(number), "0")
		if err != nil {
			return fmt.Errorf("a call beside %d parked ones: %w", *count, err)
		}
		slowest = max(slowest, took)
	}
	conn.Close()
	ended, err := until(backend, 10*time.Second, func(now counts) bool { return now.Active == 0 })
	if err != nil {
		return err
	}
	fmt.Printf(`{"parked_ms":%d,"slowest_beside_ms":%d,"ended_ms":%d}`+"\n", parked.Milliseconds(), slowest.Milliseconds(), ended.Milliseconds())
	return nil
}

// uploads sends requests of 1 MiB to handlers that never read them, and calls beside them from another client.
func uploads(args []string) error {
	flags := flag.NewFlagSet("uploads", flag.ExitOnError)
	ends := endsOf(flags)
	count := flags.Int("count", 200, "stalled requests")
	_ = flags.Parse(args)
	stalled, err := ends.through()
	if err != nil {
		return err
	}
	defer stalled.Close()
	beside, err := ends.through()
	if err != nil {
		return err
	}
	defer beside.Close()
	ctx, err := ends.context(context.Background(), "x-test", "hang")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	message := pattern(1 << 20)
	for range *count {
		stream, err := stalled.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, list)
		if err != nil {
			return err
		}
		go func() { _ = stream.SendMsg(message) }()
	}
	var slowest time.Duration
	for number := range 300 {
		took, err := ends.call(beside, 10*time.Second, fmt.Sprint(number), "0")
		if err != nil {
			return fmt.Errorf("a call beside %d stalled requests: %w", *count, err)
		}
		slowest = max(slowest, took)
	}
	fmt.Printf(`{"slowest_beside_ms":%d}`+"\n", slowest.Milliseconds())
	return nil
}
