// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"slices"
	"sync"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

// modules has the reference sites of modules that are loaded watched, beside all else:
// to find them takes as long as a busy host needs to fill the ring buffer.
type modules struct {
	mu       sync.Mutex
	names    []string // loaded, and not looked at yet
	outcomes [][]probe.Outcome
	running  bool
	cancel   context.CancelFunc
	worker   sync.WaitGroup
}

// loaded asks for a module. Those that come together are looked at together.
func (m *modules) loaded(ctx context.Context, session *probe.Session, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// One that is loaded again and again waits once: there are only so many modules.
	if !slices.Contains(m.names, name) {
		m.names = append(m.names, name)
	}
	if m.running {
		return
	}
	m.running = true
	ctx, m.cancel = context.WithCancel(ctx)
	m.worker.Go(func() {
		for names := m.take(); len(names) > 0; names = m.take() {
			m.tell(session.WatchModules(ctx, names))
		}
	})
}

// take returns what is to be looked at; when that is nothing the worker ends.
func (m *modules) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := m.names
	m.names, m.running = nil, len(names) > 0
	if !m.running {
		m.cancel()
	}
	return names
}

func (m *modules) tell(outcomes []probe.Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(outcomes) > 0 {
		m.outcomes = append(m.outcomes, outcomes)
	}
}

// told returns what came of it since it was last asked.
func (m *modules) told() [][]probe.Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.outcomes
	m.outcomes = nil
	return out
}

// stop ends the worker, and waits for it.
func (m *modules) stop() {
	m.mu.Lock()
	m.names = nil
	if m.running {
		m.cancel()
	}
	m.mu.Unlock()
	m.worker.Wait()
}

// lookAtModules tells what was attached because modules were loaded.
func (l *Live) lookAtModules() {
	for _, outcomes := range l.modules.told() {
		if l.Attached != nil {
			l.Attached(outcomes)
		}
	}
}
