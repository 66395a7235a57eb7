// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// output is a stream from a process to the host.
type output struct {
	kind agent.Type
	file *os.File
	open bool // after pump: somebody still holds the other end
}

// pump carries the stream until its end, or, once the process has ended, until what
// is in it has been carried.
func (o *output) pump(p *process) {
	buf := make([]byte, agent.ChunkSize)
	for {
		n, err := o.file.Read(buf)
		if !o.send(p, buf[:n]) {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.rest(p, buf)
			return
		}
		if err != nil {
			return // the end; EIO from a terminal that nobody has open
		}
	}
}

// processEnded wakes up a pump that waits for more than patience.
func (o *output) processEnded(patience time.Duration) {
	// An error means that pump has ended and closed, which is as good.
	_ = o.file.SetReadDeadline(time.Now().Add(patience))
}

// maxPipe is the most that a pipe can hold, in bytes (fs.pipe-max-size).
const maxPipe = 1 << 20

// rest carries what the kernel already holds, without waiting. It is bounded because
// a descendant of the process may write for ever.
func (o *output) rest(p *process, buf []byte) {
	conn, err := o.file.SyscallConn()
	if err != nil || o.file.SetReadDeadline(time.Time{}) != nil {
		return
	}
	for carried := 0; carried < maxPipe; {
		n, failed := 0, error(nil)
		err := conn.Read(func(fd uintptr) bool {
			n, failed = unix.Read(int(fd), buf)
			return true // whatever came: never wait
		})
		if errors.Is(failed, unix.EINTR) {
			continue
		}
		if errors.Is(failed, unix.EAGAIN) {
			o.open = true
			return
		}
		if err != nil || failed != nil || n <= 0 || !o.send(p, buf[:n]) {
			return
		}
		carried += n
	}
	o.open = true
}

// send writes data to the host as the window allows. It reports false when nothing
// more can be sent.
func (o *output) send(p *process, data []byte) bool {
	for len(data) > 0 {
		n := p.window.Take(len(data))
		if n == 0 {
			return false
		}
		if p.out.Write(agent.Frame{Type: o.kind, ID: p.id, Payload: data[:n]}) != nil {
			return false
		}
		data = data[n:]
	}
	return true
}

// discard reads until nobody holds the other end.
func (o *output) discard() {
	_, _ = io.Copy(io.Discard, o.file)
	o.file.Close()
}
