// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Somebody changed a BPF program and forgot to compile it: what is committed would
// be another program than what is read.
func TestCommittedObjectsBelongToTheSources(t *testing.T) {
	h := sha256.New()
	for _, pattern := range []string{"../../bpf/*.h", "../../bpf/*.c", "../../headers/*.h", "gen.go"} {
		files, err := filepath.Glob(pattern) // sorted, as a shell sorts
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h.Write(text)
		}
	}
	want, err := os.ReadFile("objects.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); !strings.HasPrefix(string(want), got) {
		t.Errorf("the BPF objects are stale: run \"make generate\" (sources %s, objects of %.64s)", got, want)
	}
}
