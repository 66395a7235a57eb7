// SPDX-License-Identifier: Apache-2.0

// Package agent is the language that the host and the lab's guest speak over a
// virtio serial port: frames with a type, the number of a process and a payload.
//
// All processes share the line. So that one which does not read its input, or whose
// output nobody takes, does not stop the others, every stream has a window: a sender
// stops when that much is not yet acknowledged.
package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Type tells what a frame is for.
type Type uint8

// Frames from host to guest.
const (
	// Start begins a process; the payload is a [Spec].
	Start Type = iota + 1
	// Stdin carries input; CloseStdin ends it.
	Stdin
	CloseStdin
	// Signal sends a signal to the process group; the payload is one byte.
	Signal
	// Resize sets the size of a process's terminal; the payload is two uint16,
	// rows and columns.
	Resize
	// AckOutput acknowledges output; the payload is a uint32, in bytes.
	AckOutput
	// Ping asks for a Pong. The host asks, rather than the guest beating on its
	// own, because a timer in the guest would disturb measurements.
	Ping
)

// Frames from guest to host.
const (
	// Hello is the first frame; the payload is a [Greeting].
	Hello Type = iota + 65
	// Started says that a process runs; the payload is its pid, a uint32.
	Started
	// Stdout and Stderr carry output.
	Stdout
	Stderr
	// AckStdin acknowledges input; the payload is a uint32, in bytes.
	AckStdin
	// Exited is the last frame about a process; the payload is an [Exit].
	Exited
	// Pong answers Ping.
	Pong
)

// PortName is the name of the port.
const PortName = "netns-trace.lab"

const (
	// MaxPayload bounds a frame's payload, in bytes.
	MaxPayload = 256 << 10
	// ChunkSize is how much of a stream goes into one frame, in bytes: small
	// enough that a Pong is never long behind output.
	ChunkSize = 32 << 10
	// StdinWindow bounds a process's unacknowledged input.
	StdinWindow = 64 << 10
	// OutputWindow bounds a process's unacknowledged output.
	OutputWindow = 256 << 10

	headerSize = 9
)

// ErrFrame says that the bytes on the line are not a frame.
var ErrFrame = errors.New("not a frame of the lab's agent")

// Frame is one message.
type Frame struct {
	Type Type
	// ID numbers the process it is about; the host chooses it. 0 is the agent.
	ID      uint32
	Payload []byte
}

// Read reads one frame. It returns io.EOF at the end between frames, and
// [ErrFrame] when the bytes make no sense.
func Read(r io.Reader) (Frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return Frame{}, io.EOF
		}
		return Frame{}, fmt.Errorf("reading a frame: %w", err)
	}
	f := Frame{Type: Type(header[0]), ID: binary.LittleEndian.Uint32(header[1:])}
	size := binary.LittleEndian.Uint32(header[5:])
	known := f.Type >= Start && f.Type <= Ping || f.Type >= Hello && f.Type <= Pong
	if !known || size > MaxPayload {
		return Frame{}, fmt.Errorf("type %d, %d bytes: %w", f.Type, size, ErrFrame)
	}
	if size == 0 {
		return f, nil
	}
	f.Payload = make([]byte, size)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return Frame{}, fmt.Errorf("reading a frame of %d bytes: %w", size, err)
	}
	return f, nil
}

// Writer writes frames whole, from any goroutine.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes one frame.
func (w *Writer) Write(f Frame) error {
	if len(f.Payload) > MaxPayload {
		return fmt.Errorf("writing a frame of %d bytes: the limit is %d", len(f.Payload), MaxPayload)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf[:0], byte(f.Type))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, f.ID)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(f.Payload)))
	w.buf = append(w.buf, f.Payload...)
	if _, err := w.w.Write(w.buf); err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	return nil
}

// Number makes the payload of a frame that carries one uint32.
func Number(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

// Number reads the payload of a frame that carries one uint32.
func (f Frame) Number() (uint32, error) {
	if len(f.Payload) != 4 {
		return 0, fmt.Errorf("frame of type %d has %d bytes, not a number: %w", f.Type, len(f.Payload), ErrFrame)
	}
	return binary.LittleEndian.Uint32(f.Payload), nil
}
