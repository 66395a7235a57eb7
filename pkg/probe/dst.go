// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/record"
)

var dstPoints = []point{
	{
		// Before the allocations, so that no entry is charged that is not credited.
		thing: "dst entries being destroyed", required: true,
		ways: []Way{
			{Fentry, "dst_destroy", []string{dstProgDestroyFentry}},
			{Kprobe, "dst_destroy", []string{dstProgDestroyKprobe}},
		},
	},
	{
		thing: "dst entries being allocated", required: true,
		ways: []Way{
			{Fexit, "dst_alloc", []string{dstProgAllocFexit}},
			{Kretprobe, "dst_alloc", []string{dstProgAllocKprobe, dstProgAllocKretprobe}},
		},
	},
	{
		thing: "counters of dst_ops",
		lost:  "drift that no crossing explains, counters that are shared, and pressure are not found",
		ways: []Way{
			{Iter, iterMapElem, []string{dstProgLookIter}},
		},
		over: dstMapLedgers,
	},
}

// dstEntriesPerCPU is how many live dst entries there is room for on each CPU, up to
// what the map has at most: the room is taken whether it is needed or not.
const dstEntriesPerCPU = 16384

func configureDst(spec *ebpf.CollectionSpec, k Kernel) error {
	var ipv4 uint64
	if symbols := k.Symbols(); symbols != nil {
		// 7.3 has it where it counts as text.
		found := append(symbols.LookupData("ipv4_dst_ops"), symbols.Lookup("ipv4_dst_ops")...)
		if len(found) == 1 {
			ipv4 = found[0].Addr
		}
	}
	perCPU, cpus := perCPUPlace(k)
	if cpus > 0 {
		// IPv6 has an entry of a route for each CPU that used it.
		all := spec.Maps[dstMapEntries]
		all.MaxEntries = min(all.MaxEntries, cpus*dstEntriesPerCPU)
	}
	params, known, err := k.Types.FuncParams("dst_alloc")
	if err != nil {
		return err
	}
	if !known {
		params = 4 // only a kretprobe is left, whose failures then may not know the flags
	}
	mayRefuse, err := k.Types.CallbackReturns("dst_ops", "gc")
	if err != nil {
		return err
	}
	var refuses uint32
	if mayRefuse {
		refuses = 1
	}
	return setVariables(spec, map[string]any{
		dstVarPerCpuOffset: perCPU,
		dstVarCpus:         cpus,
		dstVarIpv4DstOps:   ipv4,
		dstVarAllocParams:  uint32(params),
		dstVarGcMayRefuse:  refuses,
	})
}

// The values of the maps failures and crossed_entries, and what look_iter writes,
// as bpf/dst.bpf.c and headers/record.h have them.
type (
	dstFailureKey struct{ Ops, Net, Birth uint64 }
	dstFailure    struct {
		Ops       uint64
		Netns     netnsID
		Count     uint64
		Entries   int64
		GCThresh  uint32
		MayRefuse uint32
		Kind      uint32
		Family    uint32
		Ifindex   int32
		Counted   uint32
		Name      [16]byte

		Limit      int32
		LimitKnown uint32
	}
	dstCrossingKey struct {
		From, To     uint64
		Birth, Cause uint32
	}
	dstCrossingValue struct {
		Recorded             uint64
		FromOps, ToOps       uint64
		From, To             netnsID
		Count                uint64
		Cause                uint32
		FromKind, ToKind     uint32
		FromFamily, ToFamily uint32
		NoCount              uint32
	}
	dstLook struct {
		Ops       uint64
		Netns     netnsID
		Charged   uint64
		Credited  uint64
		Strangers uint64
		Entries   int64
		Counters  uint64
		Birth     uint32
		Kind      uint32
		Family    uint32
		GCThresh  uint32
		HasGC     uint32
		State     uint32
	}
)

// The states of enum look_state.
const (
	lookGone   = 1
	lookUnread = 2
)

// DstCounters compares the kernel's counters with the ledgers, where something
// happened since the last time, and now and then elsewhere. A dst_ops whose
// namespace is gone is told once and then forgotten. It is empty when the dst
// detector is not running or cannot read counters.
func (s *Session) DstCounters() ([]record.DstCounter, error) {
	o := s.objects[DetectorDst]
	if o == nil || o.iterators[dstProgLookIter] == nil {
		return nil, nil
	}
	missed, err := o.dstMissed()
	if err != nil {
		return nil, err
	}
	f, err := o.iterators[dstProgLookIter].Open()
	if err != nil {
		return nil, fmt.Errorf("looking at the counters of dst_ops: %w", err)
	}
	text, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("looking at the counters of dst_ops: %w", err)
	}
	at := now()
	looks := make([]dstLook, len(text)/binary.Size(dstLook{}))
	if err := binary.Read(bytes.NewReader(text), binary.NativeEndian, looks); err != nil {
		return nil, fmt.Errorf("reading the counters of dst_ops: %w", err)
	}
	out := make([]record.DstCounter, 0, len(looks))
	for _, l := range looks {
		out = append(out, record.DstCounter{
			Time:  at,
			Ops:   record.DstOps{Addr: l.Ops, Kind: record.DstOpsKind(l.Kind), Family: l.Family, Netns: l.Netns.id()},
			Birth: l.Birth, Entries: l.Entries, Threshold: l.GCThresh, HasGC: l.HasGC != 0,
			Charged: l.Charged, Credited: l.Credited, Strangers: l.Strangers, Counter: l.Counters,
			Gone: l.State == lookGone, Unread: l.State == lookUnread, Missed: missed,
		})
		if l.State != lookGone {
			continue
		}
		if err := o.maps[dstMapLedgers].Delete(l.Ops); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("forgetting a namespace that is gone: %w", err)
		}
	}
	return out, nil
}

// dstMissed is how many hits the ledgers cannot know of.
func (o *object) dstMissed() (uint64, error) {
	counts, err := o.lossCounts()
	if err != nil {
		return 0, fmt.Errorf("reading the losses of dst: %w", err)
	}
	full := slices.IndexFunc(lossCauses, func(c lossCause) bool { return c.name == "ledgers_full" })
	return o.missed() + counts[full], nil
}

// DstFailures reads the kernel's own count of failed allocations, by dst_ops and
// namespace; final marks them as the last word. It is empty when the dst detector is not running.
func (s *Session) DstFailures(final bool) ([]record.DstFailure, error) {
	o := s.objects[DetectorDst]
	if o == nil {
		return nil, nil
	}
	var out []record.DstFailure
	var key dstFailureKey
	var v dstFailure
	all := o.maps[dstMapFailures].Iterate()
	for all.Next(&key, &v) {
		out = append(out, record.DstFailure{
			Time:  now(),
			Ops:   record.DstOps{Addr: v.Ops, Kind: record.DstOpsKind(v.Kind), Family: v.Family, Netns: v.Netns.id()},
			Count: v.Count, Entries: v.Entries, EntriesKnown: v.Counted != 0, Threshold: v.GCThresh,
			MayRefuse: v.MayRefuse != 0, Limit: v.Limit, LimitKnown: v.LimitKnown != 0,
			Ifindex: v.Ifindex, Name: unix.ByteSliceToString(v.Name[:]), Polled: true, Final: final,
		})
	}
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("reading the failed dst allocations: %w", err)
	}
	return out, nil
}

// DstCrossings reads the kernel's own count of entries released from another
// account than they were charged to; final marks them as the last word. It is empty when the dst detector is not
// running.
func (s *Session) DstCrossings(final bool) ([]record.DstCrossing, error) {
	o := s.objects[DetectorDst]
	if o == nil {
		return nil, nil
	}
	var out []record.DstCrossing
	var key dstCrossingKey
	var v dstCrossingValue
	all := o.maps[dstMapCrossedEntries].Iterate()
	for all.Next(&key, &v) {
		out = append(out, record.DstCrossing{
			Time:  now(),
			From:  record.DstOps{Addr: v.FromOps, Kind: record.DstOpsKind(v.FromKind), Family: v.FromFamily, Netns: v.From.id()},
			To:    record.DstOps{Addr: v.ToOps, Kind: record.DstOpsKind(v.ToKind), Family: v.ToFamily, Netns: v.To.id()},
			Cause: record.DstCrossingCause(v.Cause), Count: v.Count, NoCount: v.NoCount != 0, Final: final,
		})
	}
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("reading the crossed dst entries: %w", err)
	}
	return out, nil
}

// DstExact reports whether every hit that the ledgers miss is counted. Of kprobes
// the kernel skips some without telling; trampolines it skips since 5.12 only, and
// counts them.
func (s *Session) DstExact() bool {
	o := s.objects[DetectorDst]
	if o == nil {
		return false
	}
	for _, out := range o.plan {
		if out.Way != nil && (out.Way.Kind == Kprobe || out.Way.Kind == Kretprobe) {
			return false
		}
	}
	return true
}
