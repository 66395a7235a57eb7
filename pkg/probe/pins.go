// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// pinsName is what the plan calls the programs of Pins.
const pinsName = "pins"

const (
	thingNamespaces = "network namespaces that are alive"
	thingTasks      = "threads in network namespaces"
	thingFiles      = "descriptors that keep them"
)

var pinsPoints = []point{
	{
		thing: thingNamespaces,
		lost:  "namespaces that nothing in /proc shows are not found, and references cannot be counted",
		ways:  []Way{{Iter, "task", []string{pinsProgListIter}}},
	},
	{
		thing: thingTasks, required: true, // or every container's would seem to be forgotten
		ways: []Way{{Iter, "task", []string{pinsProgTasksIter}}},
	},
	{
		thing: thingFiles, lost: "sockets, and files on their way between processes, are not looked at",
		ways: []Way{{Iter, "task_file", []string{pinsProgFilesIter}}},
	},
}

// PinsOptions says which network namespaces are looked at.
type PinsOptions struct {
	Only  uint32 // inode of one; 0: all but Skip
	Skip  uint32 // inode; 0: none is left out
	Avoid []Kind // ways not to take
}

// Pins is programs that tell what keeps network namespaces alive. They run when they
// are asked, and attach to nothing.
type Pins struct {
	object *object
	ring   *ebpf.Map
}

// OpenPins loads what the kernel allows; its Plan tells what that is. If threads
// cannot be seen the error is an *UnseenError. It must be closed.
func OpenPins(ctx context.Context, k Kernel, o PinsOptions) (*Pins, error) {
	// What every object has, and these programs do not use.
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		return nil, fmt.Errorf("making a ring buffer: %w", err)
	}
	set := &set{
		detector: pinsName, spec: loadPins, points: pinsPoints,
		configure: func(spec *ebpf.CollectionSpec) error {
			return setVariables(spec, map[string]any{pinsVarOnlyInum: o.Only, pinsVarSkipInum: o.Skip})
		},
	}
	p := &Pins{ring: ring}
	if p.object, err = set.load(ctx, k, ring, o.Avoid); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Plan is how each thing is seen on this kernel.
func (p *Pins) Plan() Plan { return p.object.plan }

// errListMoves is a list of namespaces that changed each time it was gone through.
var errListMoves = errors.New("the kernel's list of network namespaces changes faster than it can be gone through")

// Namespaces goes through the kernel's list of network namespaces, and gives use a
// record.NetnsAlive for each, and at the end a record.NetnsList. The records are
// valid during the call. Nothing is given where the list cannot be seen.
func (p *Pins) Namespaces(use func(rec record.Record)) error {
	if p.object.iterators[pinsProgListIter] == nil {
		return nil
	}
	const tries, pieces = 5, 1024
	for range tries {
		var alive []record.NetnsAlive
		var end *record.NetnsList
		for range pieces {
			err := p.read(pinsProgListIter, func(rec record.Record) {
				switch r := rec.(type) {
				case *record.NetnsAlive:
					alive = append(alive, *r)
				case *record.NetnsList:
					end = &record.NetnsList{Time: r.Time, Namespaces: r.Namespaces, Whole: r.Whole}
				}
			})
			if err != nil {
				return fmt.Errorf("going through the list of network namespaces: %w", err)
			}
			if end != nil {
				break
			}
		}
		if end == nil || !end.Whole {
			continue
		}
		for i := range alive {
			use(&alive[i])
		}
		use(end)
		return nil
	}
	return errListMoves
}

// Tasks gives use a record.NetnsTask for each thread in the namespaces that are
// looked at.
func (p *Pins) Tasks(use func(rec record.Record)) error {
	if err := p.read(pinsProgTasksIter, use); err != nil {
		return fmt.Errorf("going through the threads in network namespaces: %w", err)
	}
	return nil
}

// Files gives use a record.NetnsFile for each descriptor that refers to one of the
// namespaces that are looked at, and for each file in an unread message of a unix
// socket that does. This program's own descriptors are left out.
func (p *Pins) Files(use func(rec record.Record)) error {
	if err := p.read(pinsProgFilesIter, use); err != nil {
		return fmt.Errorf("going through the open files of all processes: %w", err)
	}
	return nil
}

func (p *Pins) read(program string, use func(rec record.Record)) error {
	it := p.object.iterators[program]
	if it == nil {
		return nil
	}
	f, err := it.Open()
	if err != nil {
		return err
	}
	return errors.Join(eachRecord(f, use), f.Close())
}

// Close frees everything.
func (p *Pins) Close() error {
	var err error
	if p.object != nil {
		err = p.object.Close()
	}
	if err = errors.Join(err, p.ring.Close()); err != nil {
		return fmt.Errorf("freeing the programs of pins: %w", err)
	}
	return nil
}
