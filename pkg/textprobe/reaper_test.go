// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Somebody changed the reaper and forgot to compile it.
func TestTheCommittedReaperBelongsToItsSource(t *testing.T) {
	h := sha256.New()
	for _, file := range []string{"reaper/reaper.c", "gen.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(text)
	}
	want, err := os.ReadFile("reaper.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); !strings.HasPrefix(string(want), got) {
		t.Errorf("the reaper is stale: run \"make generate\" (source %s, program of %.64s)", got, want)
	}
}
