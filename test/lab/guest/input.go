// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"sync"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// input is a stream from the host to a process. It holds what the process has not
// read yet, at most a window of it.
type input struct {
	file *os.File

	mu      sync.Mutex
	changed sync.Cond
	waiting []byte
	ended   bool // the host has no more
	gone    bool // the process has ended
}

func newInput(file *os.File) *input {
	i := &input{file: file}
	i.changed.L = &i.mu
	return i
}

// add takes more for the process. It does not wait.
func (i *input) add(data []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.waiting)+len(data) > agent.StdinWindow {
		return fmt.Errorf("more input than its window allows: %w", agent.ErrFrame)
	}
	i.waiting = append(i.waiting, data...)
	i.changed.Signal()
	return nil
}

// end says that no more comes.
func (i *input) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended = true
	i.changed.Signal()
}

// abandon lets pump end at once.
func (i *input) abandon() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gone = true
	i.changed.Signal()
}

// pump carries the stream until its end or that of the process. It acknowledges
// what the process could not take, too: input that nobody reads is lost, and no
// more.
func (i *input) pump(acknowledge func(n int) error) {
	for {
		i.mu.Lock()
		for len(i.waiting) == 0 && !i.ended && !i.gone {
			i.changed.Wait()
		}
		data, gone := i.waiting, i.gone
		i.waiting = nil
		i.mu.Unlock()
		if gone || len(data) == 0 {
			return
		}
		_, _ = i.file.Write(data)
		if acknowledge(len(data)) != nil {
			return // the line is broken, which serve finds out too
		}
	}
}
