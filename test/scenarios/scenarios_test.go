// SPDX-License-Identifier: Apache-2.0

// Package scenarios runs every scenario of this folder in guests: each kernel of
// the matrix is booted once, and each script that names it runs there. See
// README.md for how a scenario is written.
package scenarios

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

// scenarioLimit bounds one scenario; script ends it before that, and tells where it hung;
// this is for a guest that hangs as a whole.
const scenarioLimit = 8 * time.Minute

// maxUnsteady bounds how many scenarios of a run may fail and then hold when they are
// played again: with more it is not the machine that is slow.
const maxUnsteady = 2

// only lets somebody who works on one kernel leave out the others.
var only = flag.String("kernels", "", "run on these kernels only, comma-separated (default: all of the matrix)")

// scenario is one script and what its head says of where it runs.
type scenario struct {
	name    string
	path    string
	text    string
	kernels []string // of the matrix; nil: all
	wants   wants
}

// wants is what a scenario wants of its machine. Those that want the same share one.
type wants struct {
	machine string // "": the plain one; "docker": with a dockerd on its disk
	flavour string // of the kernel
	append  string // to the kernel's command line
	memory  int    // MiB; 0: as much as the machine usually has
}

func TestScenarios(t *testing.T) {
	if testing.Short() {
		t.Skip("boots kernels, which -short leaves out")
	}
	all, err := readScenarios(".")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := lab.OpenCache(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := buildTools(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	var unsteady atomic.Int32
	kernels := make(chan string, len(lab.KernelNames()))
	for _, kernel := range longestFirst(all) {
		if *only == "" || slices.Contains(strings.Split(*only, ","), kernel) {
			kernels <- kernel
		}
	}
	close(kernels)
	var workers sync.WaitGroup
	for range sideBySide() {
		workers.Go(func() {
			for kernel := range kernels {
				t.Run(kernel, func(t *testing.T) {
					// Each machine of the kernel in turn, so that no more than the kernels
					// side by side are in memory at once.
					for _, m := range machinesFor(all, kernel) {
						m.cache, m.tools, m.unsteady = cache, tools, &unsteady
						m.run(t)
					}
				})
			}
		})
	}
	workers.Wait()
	if n := unsteady.Load(); n > maxUnsteady {
		t.Errorf("%d scenarios held only when they were played again; at most %d may", n, maxUnsteady)
	}
}

// longestFirst orders the kernels by how many scenarios each has: what is begun last
// should be short. t.Parallel begins them in any order.
func longestFirst(all []scenario) []string {
	count := make(map[string]int)
	for _, kernel := range lab.KernelNames() {
		for _, m := range machinesFor(all, kernel) {
			count[kernel] += len(m.scenarios)
		}
	}
	return slices.SortedStableFunc(slices.Values(lab.KernelNames()), func(a, b string) int { return count[b] - count[a] })
}

// sideBySide is how many kernels run at a time: as go test -parallel says.
func sideBySide() int {
	n, _ := flag.Lookup("test.parallel").Value.(flag.Getter).Get().(int)
	return max(1, n)
}

// machine is one guest with the scenarios that run in it.
type machine struct {
	kernel    string
	wants     wants
	scenarios []scenario

	cache lab.Cache
	tools map[string]string
	vm    *lab.VM

	unsteady *atomic.Int32 // scenarios of the whole run that failed first and then held
}

func machinesFor(all []scenario, kernel string) []*machine {
	var out []*machine
	for _, s := range all {
		if s.kernels != nil && !slices.Contains(s.kernels, kernel) {
			continue
		}
		at := slices.IndexFunc(out, func(m *machine) bool { return m.wants == s.wants })
		if at < 0 {
			out = append(out, &machine{kernel: kernel, wants: s.wants})
			at = len(out) - 1
		}
		out[at].scenarios = append(out[at].scenarios, s)
	}
	return out
}

func (m *machine) run(t *testing.T) {
	defer m.close()
	for _, s := range m.scenarios {
		t.Run(s.name, func(t *testing.T) {
			first := m.play(t, s)
			if first == nil {
				return
			}
			if err := m.play(t, s); err != nil {
				t.Errorf("%v\n\nand before that: %v", err, first)
				return
			}
			m.unsteady.Add(1)
			fmt.Fprintf(os.Stderr, "%s %s: UNSTEADY: held when played again; at first:\n%v\n", m.kernel, s.name, first)
		})
	}
}

// play runs one scenario, in a fresh guest if the last scenario cost the old one.
func (m *machine) play(t *testing.T, s scenario) error {
	if m.vm == nil {
		if err := m.boot(t); err != nil {
			return err
		}
	}
	before := len(m.vm.Complaints())
	var out bytes.Buffer
	code, err := m.vm.Run(t.Context(), lab.Command{
		Argv:   []string{"script", "/scenarios/" + filepath.Base(s.path)},
		Stdout: &out, Stderr: &out, Timeout: scenarioLimit,
	})
	complaints := m.vm.Complaints()[before:]
	if err != nil || code != 0 {
		// What a failed scenario left behind must not fail the next.
		defer m.close()
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w\n%s\nthe console's end:\n%s", err, out.String(), tail(m.vm.Console(), 8<<10))
	case code != 0:
		return fmt.Errorf("the scenario does not hold:\n%s", out.String())
	case len(complaints) > 0:
		return fmt.Errorf("the kernel complains: %s", strings.Join(complaints, "\n"))
	}
	t.Log(out.String())
	return nil
}

// tail is the end of a text.
func tail(text string, size int) string { return text[max(0, len(text)-size):] }

func (m *machine) boot(t *testing.T) error {
	// Not the test's own context: the machine outlives the subtest that needed it.
	ctx := context.WithoutCancel(t.Context())
	kernel, err := lab.FetchKernel(ctx, m.cache, m.kernel, m.wants.flavour)
	if err != nil {
		return err
	}
	config := lab.Config{Cache: m.cache, Kernel: kernel, Append: m.wants.append, MemoryMiB: m.wants.memory}
	if config.Files, err = lab.GuestModules(ctx, m.cache, kernel, m.needs); err != nil {
		return err
	}
	maps.Copy(config.Files, m.tools)
	if m.wants.machine == "docker" {
		if config.Disk, err = lab.DockerDisk(ctx, m.cache); err != nil {
			return err
		}
		if config.MemoryMiB == 0 {
			config.MemoryMiB = 2048
		}
	}
	if m.vm, err = lab.Boot(ctx, config); err != nil {
		return err
	}
	if failed := m.vm.Failed(); len(failed) > 0 {
		return errors.New("at boot: " + strings.Join(failed, "; "))
	}
	return nil
}

// needs reports whether a scenario of the machine mentions a file of the guest.
func (m *machine) needs(file string) bool {
	return slices.ContainsFunc(m.scenarios, func(s scenario) bool { return strings.Contains(s.text, file) })
}

func (m *machine) close() {
	if m.vm != nil {
		m.vm.Close()
		m.vm = nil
	}
}

// buildTools builds what every guest gets: guest path to host path.
func buildTools(ctx context.Context, cache lab.Cache) (map[string]string, error) {
	tools, err := lab.GuestTools(ctx, cache)
	if err != nil {
		return nil, err
	}
	if tools["/usr/local/bin/script"], err = lab.BuildGo(ctx, cache, "script"); err != nil {
		return nil, err
	}
	tools["/scenarios"], err = filepath.Abs(".")
	return tools, err
}
