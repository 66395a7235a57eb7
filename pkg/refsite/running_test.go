// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

func TestTextOfModulesIsFoundBySymbols(t *testing.T) {
	const table = `ffffffff81000000 T _stext
ffffffff81000100 t packet_release
ffffffff81001000 T _etext
ffffffff81f00000 t init_only
ffffffffc0a00000 t veth_xmit	[veth]
ffffffffc0a00100 t veth_exit	[veth]
ffffffffc0a02000 r veth_ops	[veth]
ffffffffc0b00000 t first	[net_failover]
ffffffffc0b00100 t last.cold	[net_failover]
ffffffffc0c00000 t bpf_prog_1	[bpf]
`
	symbols, err := kernel.ReadSymbols(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	want := []Range{
		{0xffffffff81000000, 0xffffffff81001000},
		{0xffffffffc0a00000, 0xffffffffc0a01000},
		{0xffffffffc0b00000, 0xffffffffc0b01000},
	}
	if diff := cmp.Diff(want, textOf(symbols, func(string) bool { return true })); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}

	// The same site in both functions of a module.
	memory := bytes.Repeat([]byte{0x90}, 0x1000)
	code := []byte{0x48, 0x8b, 0x83, 0x70, 0x05, 0, 0, 0x65, 0xff, 0x08, 0xc3}
	copy(memory[0x10:], code)
	copy(memory[0x110:], code)
	sites, err := Scan(t.Context(), memoryAt{want[2].Start, memory}, want[2:], &loaded{Symbols: symbols}, device)
	if err != nil {
		t.Fatal(err)
	}
	if len(sites) != 2 || sites[0].Symbol != "first" || sites[0].Offset != 0x17 || sites[0].Module != "net_failover" ||
		sites[0].Refused != "" || sites[1].Symbol != "last.cold" || sites[1].Refused != LastInModule {
		t.Errorf("sites %+v", sites)
	}
}

// memoryAt is a piece of memory as [Text].
type memoryAt struct {
	start  uint64
	memory []byte
}

func (m memoryAt) ReadText(b []byte, addr uint64) error {
	if addr < m.start || addr+uint64(len(b)) > m.start+uint64(len(m.memory)) {
		return errors.New("no such address")
	}
	copy(b, m.memory[addr-m.start:])
	return nil
}
