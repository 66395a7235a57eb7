// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"net"
	"sync"
)

// boundedListener closes connections beyond the most at once, so that a flood of them
// takes no memory.
type boundedListener struct {
	net.Listener
	free chan struct{}
}

func newBoundedListener(l net.Listener, most int) *boundedListener {
	b := &boundedListener{Listener: l, free: make(chan struct{}, most)}
	for range most {
		b.free <- struct{}{}
	}
	return b
}

// Accept implements net.Listener.
func (b *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case <-b.free:
			return &boundedConn{Conn: c, release: sync.OnceFunc(func() { b.free <- struct{}{} })}, nil
		default:
			c.Close()
		}
	}
}

type boundedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
