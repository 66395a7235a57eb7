// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Who waits must not wait for another's definitions, and not for ever for its own.
func TestWaitingForDefinitionsToBeDeleted(t *testing.T) {
	for _, test := range []struct {
		name, list string
		want       error
	}{
		{name: "none"},
		{name: "another's", list: "p:nt_8_1/s8_A_1 0x1\np:theirs/rcv ip_rcv\n"},
		{name: "its own", list: "p:theirs/rcv ip_rcv\np:nt_7_1/s7_A_1 0x1\n", want: context.DeadlineExceeded},
	} {
		list := filepath.Join(t.TempDir(), "kprobe_events")
		if err := os.WriteFile(list, []byte(test.list), 0o600); err != nil {
			t.Fatal(err)
		}
		r := &Reaper{process: new(reaper), list: list, prefix: "p:nt_7_1/s7_"}
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := r.Wait(ctx); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		stop()
	}
	if err := new(Reaper).Wait(t.Context()); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}

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
