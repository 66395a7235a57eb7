// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// recording is the file that every netns-trace of a scenario records to beside what
// it is tested for.
const recording = "recording.ntrace"

// recordToo adds the flag for it, unless the scenario records by itself.
func (s *scene) recordToo(ts *testscript.TestScript, argv []string) []string {
	s.recording = ""
	if slices.Contains(argv, "record") || slices.Contains(argv, "--record") {
		return argv
	}
	s.recording = ts.MkAbs(recording)
	_ = os.Remove(s.recording)
	return append(argv, "--record", s.recording)
}

// replay holds the report of the recording against what was printed live: it must be
// the same bytes. A tracer that was killed may have told more than it had written.
func (s *scene) replay(ts *testscript.TestScript, printed string, status int) {
	st, err := os.Stat(s.recording)
	if errors.Is(err, os.ErrNotExist) {
		if status == 0 || status == 3 {
			ts.Fatalf("netns-trace did not record")
		}
		return
	}
	ts.Check(err)
	file, err := os.Open(s.recording)
	ts.Check(err)
	defer file.Close()
	cmd := exec.Command("netns-trace", "report", "--json", "-")
	cmd.Stdin = file
	// A report needs no root.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = environment(ts)
	replayed, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
		ts.Fatalf("the recording cannot be read: %v\n%s", err, stderr.String())
	}
	ts.Logf("recorded %d bytes; %s", st.Size(), stderr.String())
	if status == -1 && strings.HasPrefix(printed, string(replayed)) {
		return
	}
	if string(replayed) != printed {
		ts.Fatalf("the report of the recording is not what was printed live:\n%s", firstDifference(printed, string(replayed)))
	}
	if status != -1 && strings.Contains(stderr.String(), "note:") {
		ts.Fatalf("the recording is not whole: %s", stderr.String())
	}
}

// nobody is the user without rights.
const nobody = 65534

func firstDifference(live, replayed string) string {
	a, b := strings.SplitAfter(live, "\n"), strings.SplitAfter(replayed, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return "live:     " + x + "recorded: " + y
		}
	}
	return ""
}
