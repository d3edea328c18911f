package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const service = "/temporal.api.workflowservice.v1.WorkflowService/"

// target is where calls go and what they bring.
type target struct {
	address string
	tls     *tls.Config
	token   string
	method  string
}

// ended is told of each call: how long it took, and why it failed ("" = grpc-status 0).
type ended func(took time.Duration, failure string)

type call struct {
	began time.Time
	ended ended
	state string
}

// connection is one HTTP/2 connection. Header blocks are encoded once: from the second call on all of it is indexed.
type connection struct {
	socket  net.Conn
	mutex   sync.Mutex
	writer  *bufio.Writer
	reader  *bufio.Reader
	framer  *http2.Framer
	blocks  [2][]byte
	message []byte
	next    uint32
	calls   map[uint32]*call
	window  int64
	limit   int
	backlog []ended
	failure string
}

// message is a request as SignalWorkflowExecution has it: namespace, workflow, and 100 bytes of payload.
func message() []byte {
	body := append([]byte("\x0a\x07default\x12\x10\x0a\x0eorder-12345678"), "\x22\x64"...)
	body = append(body, bytes.Repeat([]byte{'x'}, 100)...)
	frame := make([]byte, 5, 5+len(body))
	binary.BigEndian.PutUint32(frame[1:], uint32(len(body)))
	return append(frame, body...)
}

// headers are those of an SDK.
func (t *target) headers() []hpack.HeaderField {
	fields := []string{
		":method", "POST", ":scheme", "https", ":authority", "temporal", ":path", service + t.method,
		"content-type", "application/grpc", "user-agent", "grpc-go/1.83.2", "te", "trailers", "grpc-timeout", "70S",
		"client-name", "temporal-go", "client-version", "1.39.0", "supported-server-versions", ">=1.0.0 <2.0.0",
		"caller-type", "api", "temporal-namespace", "default", "authorization", "Bearer " + t.token,
	}
	var list []hpack.HeaderField
	for at := 0; at < len(fields); at += 2 {
		list = append(list, hpack.HeaderField{Name: fields[at], Value: fields[at+1]})
	}
	return list
}

func dial(t *target) (*connection, error) {
	socket, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", t.address, t.tls)
	if err != nil {
		return nil, err
	}
	writer := bufio.NewWriterSize(socket, 64<<10)
	c := &connection{
		socket: socket, writer: writer, message: message(), next: 1, calls: map[uint32]*call{}, window: 65535, limit: 100,
	}
	c.reader = bufio.NewReaderSize(socket, 64<<10)
	c.framer = http2.NewFramer(writer, c.reader)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.SetReuseFrames()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for at := range c.blocks {
		block.Reset()
		for _, field := range t.headers() {
			encoder.WriteField(field)
		}
		c.blocks[at] = bytes.Clone(block.Bytes())
	}
	writer.WriteString(http2.ClientPreface)
	c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	c.framer.WriteWindowUpdate(0, 1<<30)
	if err := writer.Flush(); err != nil {
		return nil, err
	}
	// The server's settings come first: from then on the number of streams is known.
	if frame, err := c.framer.ReadFrame(); err != nil {
		return nil, err
	} else if err := c.take(frame); err != nil {
		return nil, err
	}
	go c.read()
	return c, nil
}

// start begins a call, or queues it while the server's limits do not allow it; false = this connection takes no more.
// Without flush the call leaves when what was read is worked off.
func (c *connection) start(done ended, flush bool) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.failure != "" {
		return false
	}
	c.begin(done)
	if flush {
		c.writer.Flush()
	}
	return true
}

func (c *connection) begin(done ended) {
	if len(c.calls) >= c.limit || c.window < int64(len(c.message)) {
		c.backlog = append(c.backlog, done)
		return
	}
	block := c.blocks[1]
	if c.next == 1 {
		block = c.blocks[0]
	}
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: block, EndHeaders: true})
	c.framer.WriteData(c.next, true, c.message)
	c.window -= int64(len(c.message))
	c.calls[c.next] = &call{began: time.Now(), ended: done, state: "?"}
	c.next += 2
}

func (c *connection) read() {
	var err error
	for err == nil {
		var frame http2.Frame
		if frame, err = c.framer.ReadFrame(); err == nil {
			err = c.take(frame)
		}
		if c.reader.Buffered() == 0 {
			c.locked(func() {})
		}
	}
	c.mutex.Lock()
	c.failure = fmt.Sprintf("connection: %v", err)
	if err == io.EOF {
		c.failure = "connection: closed"
	}
	calls, backlog := c.calls, c.backlog
	c.calls, c.backlog = map[uint32]*call{}, nil
	c.mutex.Unlock()
	for _, call := range calls {
		call.ended(time.Since(call.began), c.failure)
	}
	for _, done := range backlog {
		done(0, c.failure)
	}
}

func (c *connection) take(frame http2.Frame) error {
	switch frame := frame.(type) {
	case *http2.MetaHeadersFrame:
		c.status(frame)
		if frame.StreamEnded() {
			c.end(frame.StreamID, "")
		}
	case *http2.DataFrame:
		c.received(frame)
	case *http2.RSTStreamFrame:
		c.end(frame.StreamID, "reset: "+frame.ErrCode.String())
	case *http2.SettingsFrame:
		return c.settings(frame)
	case *http2.PingFrame:
		if !frame.IsAck() {
			c.locked(func() { c.framer.WritePing(true, frame.Data) })
		}
	case *http2.WindowUpdateFrame:
		if frame.StreamID == 0 {
			c.locked(func() { c.window += int64(frame.Increment); c.resume() })
		}
	case *http2.GoAwayFrame:
		c.locked(func() { c.failure = "goaway" })
	}
	return nil
}

func (c *connection) locked(do func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	do()
	c.writer.Flush()
}

func (c *connection) resume() {
	for len(c.backlog) > 0 && len(c.calls) < c.limit && c.window >= int64(len(c.message)) {
		done := c.backlog[0]
		c.backlog = c.backlog[1:]
		c.begin(done)
	}
}

func (c *connection) settings(frame *http2.SettingsFrame) error {
	if frame.IsAck() {
		return nil
	}
	c.locked(func() {
		if limit, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok {
			c.limit = int(limit)
		}
		c.framer.WriteSettingsAck()
		c.resume()
	})
	return nil
}

// status keeps what the call came to; the trailers stand last.
func (c *connection) status(frame *http2.MetaHeadersFrame) {
	for _, field := range frame.Fields {
		if (field.Name == ":status" && field.Value != "200") || field.Name == "grpc-status" {
			c.mutex.Lock()
			if call := c.calls[frame.StreamID]; call != nil {
				call.state = field.Value
			}
			c.mutex.Unlock()
		}
	}
}

func (c *connection) received(frame *http2.DataFrame) {
	if length := len(frame.Data()); length > 0 {
		c.mutex.Lock()
		c.framer.WriteWindowUpdate(0, uint32(length))
		c.mutex.Unlock()
	}
	if frame.StreamEnded() {
		c.end(frame.StreamID, "")
	}
}

func (c *connection) end(stream uint32, failure string) {
	c.mutex.Lock()
	call := c.calls[stream]
	delete(c.calls, stream)
	c.resume()
	c.mutex.Unlock()
	if call == nil {
		return
	}
	if failure == "" && call.state != "0" {
		failure = "status " + call.state
	}
	call.ended(time.Since(call.began), failure)
}
