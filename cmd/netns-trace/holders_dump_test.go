// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/crash"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

func TestFlagsThatACrashDumpHasNoUseFor(t *testing.T) {
	for line, want := range map[string]string{
		"--core vmcore --netns red":       "--netns asks the running kernel",
		"--core vmcore --max-mbps 100":    "--max-mbps spares a running machine",
		"--symbols System.map":            "it needs --core",
		"--core vmcore --all veth1":       "--all takes no devices",
		"--core vmcore --color sometimes": "--color is",
	} {
		cmd := newHoldersCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(strings.Fields(line))
		err := cmd.ExecuteContext(t.Context())
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func TestAFileThatIsNoDumpIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a dump\n", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	o := holdersOptions{core: path}
	if err := o.runDump(t.Context(), nil); !errors.Is(err, vmcore.ErrNotDump) || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("it says %v", err)
	}
	o.core = filepath.Join(t.TempDir(), "none")
	if err := o.runDump(t.Context(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file it says %v", err)
	}
}

func TestWhatToDoAboutADumpIsSaid(t *testing.T) {
	var o holdersOptions
	for err, want := range map[error]string{
		crash.ErrNoSymbols: "give --symbols the System.map of that kernel",
		vmcore.ErrNoInfo:   "is it of a Linux kernel",
		vmcore.ErrDamaged:  "damaged",
	} {
		if got := o.explainDump(t.Context(), err); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v is explained by %v", err, got)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := o.explainDump(ended, vmcore.ErrDamaged); err.Error() != "interrupted before the search began" {
		t.Errorf("interrupted, it says %v", err)
	}
}

// Names of this machine must not get into what is said of another.
func TestNamespacesOfADumpHaveNumbersOnly(t *testing.T) {
	names := dumpNames{host: record.NetnsID{Inode: 4026531840, Cookie: 1}}
	if known, ok := names.Netns(4026531840); ok || known.Name != "" {
		t.Errorf("it knows %+v", known)
	}
	first, second := names.of(&record.HolderSearch{}), names.of(&record.HolderSearch{})
	if len(first) != 1 || first[0].(*record.NetnsName).Name != "host" || second != nil {
		t.Errorf("names %+v, then %+v", first, second)
	}
}

func TestClockOfADump(t *testing.T) {
	when := time.Unix(1763840000, 0)
	c := clockOf(crash.Clock{When: when, Boottime: time.Minute})
	if c.Realtime != when.UnixNano() || c.Boottime != uint64(time.Minute) || uint64(c.Time) != uint64(time.Minute) {
		t.Errorf("clock %+v", c)
	}
	if got := whenWords(when); got != "of 2025-11-22 19:33:20 UTC" {
		t.Errorf("it says %q", got)
	}
	if got := whenWords(time.Time{}); got != "of a time that it does not tell" {
		t.Errorf("without a time it says %q", got)
	}
}
