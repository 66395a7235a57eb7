// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"context"
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
)

// FindUnregistered searches the whole memory for devices that wait in unregistration.
// [Kernel.Waiting] finds them at once where a thread waits; this finds those too that
// no thread is seen to wait for. notSaved is how many pages that can have objects are not
// in a dump. A device's memory is told by the empty list close_list,
// which points at itself, and then by all that makes a device one.
func (k *Kernel) FindUnregistered(ctx context.Context, o Options) (found []*Device, notSaved uint64, err error) {
	list, ok := k.field("net_device.close_list")
	if !ok {
		return nil, 0, fmt.Errorf("%w: no field net_device.close_list in its types", ErrMissing)
	}
	limits := memory.Limits{BytesPerSecond: o.BytesPerSecond, MaxHits: 1}
	if o.Progress != nil {
		limits.Progress = func(done, total uint64) { o.Progress(1, done, total) }
	}
	p := &deviceShapes{kernel: k, list: uint64(list.Offset)}
	_, stats, err := k.memory.Scan(ctx, p, limits)
	k.memory.Forget()
	return p.found, stats.NotSaved, err
}

// deviceShapes is the pattern of a device that waits.
type deviceShapes struct {
	kernel *Kernel
	list   uint64
	found  []*Device
}

// maxFound bounds the devices that are found so.
const maxFound = 4096

// Find implements [memory.Pattern]; it keeps what it finds.
func (p *deviceShapes) Find(b []byte, start uint64, _ func(offset, target int)) {
	memory.SelfPointers{}.Find(b, start, func(offset, _ int) {
		addr := start + uint64(offset) - p.list
		state, ok := p.kernel.get(addr, "net_device.reg_state")
		if !ok || State(state) != Unregistered || len(p.found) == maxFound {
			return
		}
		// A finished device leaves its shape in a page or an object that is free.
		if page, err := p.kernel.memory.PageOf(addr); err != nil || !page.Class.Worth() {
			return
		}
		if object, ok := p.kernel.memory.ObjectAt(addr); ok && object.Free {
			return
		}
		if d, err := p.kernel.readDevice(addr); err == nil {
			p.found = append(p.found, d)
		}
	})
}
