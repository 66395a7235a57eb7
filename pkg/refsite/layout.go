// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"errors"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// ErrNoPerCPUCount says that the kernel's net_device has no per-CPU reference
// count: it was built without CONFIG_PCPU_DEV_REFCNT.
var ErrNoPerCPUCount = errors.New("struct net_device has no pcpu_refcnt")

// Layout is where the parts of struct net_device that matter here are. All are
// offsets in bytes.
type Layout struct {
	// Count is the offset of pcpu_refcnt.
	Count int64
	// Embedded has the offsets of members through whose address a function may
	// be given a device: timers, works, the struct device.
	Embedded []int64
	// Members has the offsets of all members, in order.
	Members []int64
	// Private is the offset of the driver's private part.
	Private int64
}

// maxNesting bounds members within members.
const maxNesting = 16

// ReadLayout takes the layout from the type information of struct net_device.
// Returns [ErrNoPerCPUCount] when devices are not counted per CPU.
func ReadLayout(device *btf.Struct) (Layout, error) {
	l := Layout{Count: -1}
	l.read(device.Members, 0, 0)
	slices.Sort(l.Members)
	l.Members = slices.Compact(l.Members)
	if l.Count < 0 {
		return Layout{}, ErrNoPerCPUCount
	}
	// Until 6.12 the private part is what is allocated beyond the struct, aligned
	// to NETDEV_ALIGN; since then the member priv says it.
	if l.Private == 0 {
		const align = 32
		l.Private = (int64(device.Size) + align - 1) &^ (align - 1)
	}
	return l, nil
}

func (l *Layout) read(members []btf.Member, base int64, depth int) {
	if depth > maxNesting {
		return
	}
	for _, m := range members {
		at := base + int64(m.Offset.Bytes())
		l.Members = append(l.Members, at)
		switch m.Name {
		case "pcpu_refcnt":
			l.Count = at
			continue
		case "priv":
			l.Private = at
			continue
		}
		switch inner := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			switch {
			case m.Name == "":
				l.read(inner.Members, at, depth+1)
			case inner.Name == "timer_list" || inner.Name == "work_struct" ||
				inner.Name == "delayed_work" || inner.Name == "device":
				l.Embedded = append(l.Embedded, at)
			}
		case *btf.Union:
			if m.Name == "" {
				l.read(inner.Members, at, depth+1)
			}
		}
	}
}
