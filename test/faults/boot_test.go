// SPDX-License-Identifier: Apache-2.0

// Package faults_test runs every fault in guests, to see that it causes the bug
// that it is there for.
package faults_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

// patience is how long a command in a guest may take on a busy host.
const patience = 6 * time.Minute

// onKernels runs test once for each of these kernels of the matrix. Each may boot
// machines, so as many run at once as go test's -parallel allows.
func onKernels(t *testing.T, names []string, test func(t *testing.T, cache lab.Cache, kernel lab.Kernel)) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots kernels, which -short leaves out")
	}
	cache, err := lab.OpenCache(logWriter{t})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		kernel, err := lab.FetchKernel(t.Context(), cache, name, lab.FlavourCloud)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := cache
			own.Progress = logWriter{t}
			test(t, own, kernel)
		})
	}
}

// boot starts a machine that ends with the test, which fails when the kernel has
// complained of itself by then.
func boot(t *testing.T, config lab.Config) *lab.VM {
	t.Helper()
	vm, err := lab.Boot(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, line := range vm.Complaints() {
			t.Errorf("the kernel complains: %s", line)
		}
		vm.Close()
	})
	for _, failed := range vm.Failed() {
		t.Errorf("at boot: %s", failed)
	}
	return vm
}

// sh runs a script in the guest and returns what it printed; it must exit with 0.
func sh(t *testing.T, vm *lab.VM, script string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	exit, err := vm.Run(t.Context(), lab.Command{
		Argv: []string{"sh", "-euc", script}, Stdout: &out, Stderr: &complaints, Timeout: patience,
	})
	if err != nil || exit != 0 {
		t.Fatalf("script failed: exit code %d, %v\n%s\noutput: %s\nstandard error: %s", exit, err, script, &out, &complaints)
	}
	return out.String()
}

// steps returns the lines of a fault's output that begin with the word.
func steps(output, word string) []string {
	var found []string
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, word+" ") {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// field returns the value of name=value in a line of a fault's output.
func field(line, name string) string {
	for word := range strings.FieldsSeq(line) {
		if value, ok := strings.CutPrefix(word, name+"="); ok {
			return value
		}
	}
	return ""
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
