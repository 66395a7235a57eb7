// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

// prepare makes what the loads need.
const prepare = `
modprobe veth
ip link set lo up
ip netns add load
ip link add load0 type dummy
ip link add b0 type veth peer name b1 netns load
ip addr add 10.9.0.1/24 dev b0
ip -n load addr add 10.9.0.2/24 dev b1
ip link set b0 up
ip -n load link set b1 up
for i in $(seq 50); do echo "link add flood$i type dummy"; echo "link del flood$i"; done > /load.batch
insmod /faults/refpairs.ko
insmod /faults/dstfail.ko
`

const (
	metricsURL = "http://127.0.0.1:9435/metrics"
	configFile = "/monitor.yaml"
	logFile    = "/monitor.log"
)

// guest is a machine with the service at work.
type guest struct {
	vm      *lab.VM
	service *lab.Process
}

// boot starts a kernel, and in it the service with these settings, and waits until it
// watches.
func boot(ctx context.Context, bench lab.Workbench, settings string) (*guest, error) {
	files, err := bench.Files(ctx, func(path string) bool {
		return path == "/faults/refpairs.ko" || path == "/faults/dstfail.ko"
	})
	if err != nil {
		return nil, err
	}
	if files["/usr/local/bin/load"], err = lab.BuildGo(ctx, bench.Cache, filepath.Join(bench.Root, "test/soak/load")); err != nil {
		return nil, err
	}
	vm, err := bench.Boot(ctx, files)
	if err != nil {
		return nil, err
	}
	g := &guest{vm: vm}
	if err := g.begin(ctx, settings); err != nil {
		vm.Close()
		return nil, err
	}
	return g, nil
}

func (g *guest) begin(ctx context.Context, settings string) error {
	if _, err := g.run(ctx, "sh", "-ec", prepare); err != nil {
		return fmt.Errorf("preparing the guest: %w", err)
	}
	if err := g.write(ctx, configFile, settings); err != nil {
		return err
	}
	var err error
	g.service, err = g.vm.Start(ctx, lab.Command{Argv: []string{"sh", "-c", "exec netns-trace monitor --config " + configFile + " 2>>" + logFile}})
	if err != nil {
		return fmt.Errorf("starting the service: %w", err)
	}
	return g.waitFor(ctx, 3*time.Minute, func(m metrics) bool { return m.sum("netns_trace_probes") > 0 })
}

func (g *guest) close() { g.vm.Close() }

// end ends the service, which must leave within a minute.
func (g *guest) end() error {
	if err := g.service.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending the service: %w", err)
	}
	code, err := g.service.Wait()
	if err != nil {
		return fmt.Errorf("ending the service: %w", err)
	}
	if code != 0 {
		return fmt.Errorf("the service ended with exit code %d", code)
	}
	return nil
}

// run runs a command to its end and returns its standard output.
func (g *guest) run(ctx context.Context, argv ...string) (string, error) {
	var out, errs bytes.Buffer
	code, err := g.vm.Run(ctx, lab.Command{Argv: argv, Stdout: &out, Stderr: &errs, Timeout: 2 * time.Minute})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(errs.String()))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", argv[0], err)
	}
	return out.String(), nil
}

func (g *guest) write(ctx context.Context, path, text string) error {
	code, err := g.vm.Run(ctx, lab.Command{Argv: []string{"tee", path}, Stdin: strings.NewReader(text), Timeout: time.Minute})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// reload gives the service other settings, of those that it takes at once.
func (g *guest) reload(ctx context.Context, settings string) error {
	if err := g.write(ctx, configFile, settings); err != nil {
		return err
	}
	if err := g.service.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("having the settings read again: %w", err)
	}
	return nil
}

// metrics are values by name and labels, as Prometheus reads them.
type metrics map[string]float64

func parseMetrics(text string) (metrics, error) {
	m := make(metrics)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, number, ok := cutLast(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, fmt.Errorf("reading the metrics: %q: %w", lines.Text(), err)
		}
		m[name] = value
	}
	return m, nil
}

func cutLast(text, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// sum adds up a metric over its labels, as far as they begin with labels.
func (m metrics) sum(name string, labels ...string) float64 {
	sum := 0.0
	for key, v := range m {
		base, rest, _ := strings.Cut(key, "{")
		if base != name {
			continue
		}
		has := true
		for _, l := range labels {
			has = has && strings.Contains(rest, l)
		}
		if has {
			sum += v
		}
	}
	return sum
}

func (g *guest) scrape(ctx context.Context) (metrics, error) {
	text, err := g.run(ctx, "wget", "-qO-", metricsURL)
	if err != nil {
		return nil, err
	}
	return parseMetrics(text)
}

// resident is how many bytes the service has in memory, page by page. What /proc/PID/stat
// and so the metric say is a counter that may be off by some dozens of pages for each CPU.
func (g *guest) resident(ctx context.Context) (float64, error) {
	text, err := g.run(ctx, "sh", "-c", `awk '/^Rss:/ { print $2 }' /proc/$(pidof netns-trace | cut -d' ' -f1)/smaps_rollup`)
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return 0, fmt.Errorf("reading the service's resident memory: %w", err)
	}
	return kib * 1024, nil
}

// waitFor waits until the metrics are so.
func (g *guest) waitFor(ctx context.Context, limit time.Duration, so func(metrics) bool) error {
	ctx, stop := context.WithTimeoutCause(ctx, limit, errors.New("the service does not come to it"))
	defer stop()
	for {
		m, err := g.scrape(ctx)
		if err == nil && so(m) {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := g.run(context.WithoutCancel(ctx), "tail", "-n", "5", logFile)
			return errors.Join(fmt.Errorf("%w: %s", context.Cause(ctx), log), err)
		case <-time.After(2 * time.Second):
		}
	}
}
