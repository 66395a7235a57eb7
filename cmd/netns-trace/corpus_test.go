// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/export"
)

// Recordings of earlier versions are read by every later one, and tell at least what
// they told then.
func TestRecordingsOfEarlierVersionsAreRead(t *testing.T) {
	const dir = "../../test/recordings/"
	// What each incident of test/recordings/record.sh is.
	all := []string{
		"csum corrupt-delivered", "csum rewrite", "dst alloc-failure", "dst counter-drift", "refs holder", "refs waiting", "threads stranded",
	}
	files, err := filepath.Glob(dir + "*.ntrace")
	if err != nil || len(files) < 4 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := reported(t, reportOptions{format: "json", color: "auto"}, path)
			if !errors.Is(err, errFound) {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for line := range strings.Lines(text) {
				var f struct{ ID, State, Class, Kind string }
				if err := json.Unmarshal([]byte(line), &f); err != nil {
					t.Fatal(err)
				}
				if f.State != "closed" && f.Kind != "harm" {
					got[f.ID] = f.Class + " " + f.Kind
				}
			}
			kinds := make(map[string]bool)
			for _, kind := range got {
				kinds[kind] = true
			}
			want := make(map[string]bool)
			for _, kind := range all {
				want[kind] = true
			}
			if diff := cmp.Diff(want, kinds); diff != "" {
				t.Errorf("incidents (-then +now):\n%s", diff)
			}
			verdict, _ := reported(t, reportOptions{format: "text", color: "auto"}, path)
			if strings.Contains(verdict, "note ") {
				t.Errorf("the recording is not whole:\n%s", verdict)
			}
			for _, format := range export.Formats() {
				out := filepath.Join(t.TempDir(), "out")
				if err := exportTo(t.Context(), []string{path}, format, out); err != nil {
					t.Errorf("%s: %v", format, err)
				}
				if st, err := os.Stat(out); err != nil || st.Size() < 100 {
					t.Errorf("%s: %v, %v", format, st, err)
				}
			}
			if err := redact(t.Context(), path, filepath.Join(t.TempDir(), "redacted")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAMailIsNarrowAndItsStacksAreForTheScript(t *testing.T) {
	text, _ := reported(t, reportOptions{format: "mail", color: "auto"}, "../../test/recordings/6.12.ntrace")
	// As scripts/decode_stacktrace.sh finds a frame; its last words are then the symbol
	// and the module.
	symbol := regexp.MustCompile(`[^+ ]+\+0x[0-9a-f]+/0x[0-9a-f]+`)
	frame := regexp.MustCompile(`^  [^+ ]+\+0x[0-9a-f]+/0x[0-9a-f]+( \[\w+\])?$`)
	frames := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case frame.MatchString(line):
			frames++
		case symbol.MatchString(line):
			t.Errorf("the script would take this for a frame: %q", line)
		case strings.Contains(line, "Code:"):
			t.Errorf("the script would take this for code: %q", line)
		case len([]rune(line)) > 75 && !strings.HasPrefix(line, "Subject: "):
			t.Errorf("%d columns: %q", len([]rune(line)), line)
		}
	}
	if frames < 10 || !strings.Contains(text, " Call Trace:\n") {
		t.Errorf("%d frames in\n%s", frames, text)
	}
}
