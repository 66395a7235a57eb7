// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// A recording names the records of the ring by the numbers of the header.
func TestWireTypesAreThoseOfTheHeader(t *testing.T) {
	f, err := os.Open("../../headers/record.h")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inC := make(map[string]string)
	re := regexp.MustCompile(`^\tRECORD_(\w+) = (\d+),`)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m := re.FindStringSubmatch(lines.Text()); m != nil {
			inC[m[2]] = strings.ToLower(m[1])
		}
	}
	if len(inC) == 0 {
		t.Fatal("no record types were found in the header")
	}
	inGo := make(map[string]string)
	shared := map[string]string{"process_record": "process_", "dev_wait_record": "dev_"}
	for _, w := range record.WireTypes() {
		number := strconv.Itoa(int(w.Type))
		inGo[number] = strings.TrimSuffix(w.Struct, "_record")
		if prefix, ok := shared[w.Struct]; ok && strings.HasPrefix(inC[number], prefix) {
			inGo[number] = inC[number]
		}
	}
	if diff := cmp.Diff(inC, inGo); diff != "" {
		t.Errorf("records of the ring (-header +Go):\n%s", diff)
	}
}

// Every record must be described by one of the objects, and as long as its decoder
// takes it to be.
func TestRecordsAreDescribedAsTheyAreDecoded(t *testing.T) {
	var specs []*btf.Spec
	for _, load := range []func() (*ebpf.CollectionSpec, error){loadThreads, loadRefs, loadCsum, loadDst, loadNames, loadPins} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec.Types)
	}
	got, err := layouts(specs)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(record.WireTypes()) {
		t.Errorf("%d records are described, there are %d", len(got), len(record.WireTypes()))
	}
	for _, l := range got {
		if size, _ := record.WireSize(l.Type); size != l.Size {
			t.Errorf("%s has %d bytes in C, %d in Go", l.Struct, l.Size, size)
		}
		text := fmt.Sprint(l.Fields)
		for _, want := range []string{"{header.type 0 u16}", "{header.time 8 u64}"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no field %s: %s", l.Struct, want, text)
			}
		}
	}
	if text := fmt.Sprint(got[0]); !strings.Contains(text, "{thread.comm 32 char[16]}") || !strings.Contains(text, "{stacks.kernel 112 u64[32]}") {
		t.Errorf("the first record is described as %s", text)
	}
}
