package main

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// served passes messages through as bytes for handlers of every method, and protobuf for the health service beside them.
type served struct{ encoding.CodecV2 }

func (s served) Marshal(v any) (mem.BufferSlice, error) {
	if bytes, ok := v.(*[]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(*bytes)}, nil
	}
	return s.CodecV2.Marshal(v)
}

func (s served) Unmarshal(data mem.BufferSlice, v any) error {
	if bytes, ok := v.(*[]byte); ok {
		*bytes = data.Materialize()
		return nil
	}
	return s.CodecV2.Unmarshal(data, v)
}
