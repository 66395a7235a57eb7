// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/record"
)

var csumPoints = []point{
	{
		thing: "packets being sent on veth devices", required: true, module: "veth",
		ways: []Way{
			{Fentry, "veth_xmit", []string{csumProgXmitFentry}},
			{Kprobe, "veth_xmit", []string{csumProgXmitKprobe}},
		},
	},
	{
		thing: "packets being handed to the peer", required: true,
		ways: []Way{
			{Fentry, "__dev_forward_skb", []string{csumProgForwardFentry}},
			{Kprobe, "__dev_forward_skb", []string{csumProgForwardKprobe}},
		},
	},
	{
		thing: "BPF programs marking checksums as verified",
		lost:  "packets that a tc program marks as verified with bpf_csum_level() are not seen",
		ways: []Way{
			{Fexit, "bpf_csum_level", []string{csumProgLevelFentry, csumProgLevelFexit}},
			{Kretprobe, "bpf_csum_level", []string{csumProgLevelKprobe, csumProgLevelKretprobe}},
		},
	},
}

// CsumOptions says how many of the rewritten packets have their checksum verified.
type CsumOptions struct {
	Every     uint32 // one in so many; 0 is 1
	PerSecond uint32 // and at most so many a second; 0: none
}

func (o CsumOptions) configure(spec *ebpf.CollectionSpec, k Kernel) error {
	values := map[string]any{
		csumVarVerifyEvery:     max(1, o.Every),
		csumVarVerifyPerSecond: o.PerSecond,
	}
	// Where pages are in memory: x86 has these variables. Elsewhere, and where the
	// symbols are hidden, packets in fragments are counted and not verified.
	if symbols := k.Symbols(); symbols != nil {
		for name, symbol := range map[string]string{
			csumVarPageOffsetBaseAt: "page_offset_base", csumVarVmemmapBaseAt: "vmemmap_base",
		} {
			if found := symbols.LookupData(symbol); len(found) == 1 {
				values[name] = found[0].Addr
			}
		}
	}
	return setVariables(spec, values)
}

// mapCsum is what tells class csum that its end has come.
const mapCsum = ".data.csum"

// rest has class csum count nothing any more, and returns when no program is at work
// that began before: what taking its programs off does too, which takes the kernel 0.4
// seconds for each of them (6.12).
func (o *object) rest() error {
	if err := o.maps[mapCsum].Put(uint32(0), uint32(1)); err != nil {
		return fmt.Errorf("ending the counts of class %s: %w", o.detector, err)
	}
	if err := waitForPrograms(); err != nil {
		return fmt.Errorf("ending the counts of class %s: %w", o.detector, err)
	}
	return nil
}

// waitForPrograms returns when all programs have ended that are at work now. That is what
// the kernel does when a map in a map is changed (since 4.20, 1ae80cf31938).
func waitForPrograms() (err error) {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	in, err := ebpf.NewMap(inner)
	if err != nil {
		return fmt.Errorf("waiting for programs to end: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner})
	if err != nil {
		return fmt.Errorf("waiting for programs to end: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Put(uint32(0), in); err != nil {
		return fmt.Errorf("waiting for programs to end: %w", err)
	}
	return nil
}

// deviceKey is the key of the map rewrites, as bpf/csum_device.h has it.
type deviceKey struct {
	Cookie    uint64
	Inum      uint32
	Ifindex   int32
	By        uint32
	Direction uint32
	Birth     uint32
	_         uint32
}

// CsumRewrites reads the kernel's own counts of rewritten packets, by device, for
// when tracing ends. It is empty when the csum detector is not running.
func (s *Session) CsumRewrites() ([]record.CsumRewrite, error) {
	o := s.objects[DetectorCsum]
	if o == nil {
		return nil, nil
	}
	var out []record.CsumRewrite
	var key deviceKey
	value := make([]byte, o.maps[csumMapRewrites].ValueSize())
	entries := o.maps[csumMapRewrites].Iterate()
	for entries.Next(&key, &value) {
		r := record.DecodeCsumCounts(value)
		r.Time, r.Final = now(), true
		out = append(out, r)
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("reading the rewritten packets: %w", err)
	}
	return out, nil
}
