// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"maps"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// loader loads programs of one object: all those that are likely to be used at
// once, because each load costs a pass over the kernel's types, and a further one
// only when the kernel refused the first choice.
type loader struct {
	spec   *ebpf.CollectionSpec
	cache  *btf.Cache
	maps   map[string]*ebpf.Map
	loaded map[string]*ebpf.Program
}

// begin makes the maps and loads the likely programs. That the kernel refuses one
// of those is no error here: each is then tried by itself when it is asked for.
func (l *loader) begin(points []point, ask asker) error {
	var likely []string
	for _, p := range points {
		if !ask.present(p) {
			continue
		}
		for _, way := range p.ways {
			if _, err := ask.can(p, way); err == nil {
				likely = append(likely, way.programs...)
				break
			}
		}
	}
	l.loaded = make(map[string]*ebpf.Program)
	coll, err := l.collection(likely)
	if err != nil {
		if coll, err = l.collection(nil); err != nil {
			return fmt.Errorf("making maps: %w", err)
		}
	}
	for name := range coll.Maps {
		if name != "ring" {
			l.maps[name] = coll.DetachMap(name)
		}
	}
	for name := range coll.Programs {
		l.loaded[name] = coll.DetachProgram(name)
	}
	coll.Close()
	return nil
}

// program gives a loaded program, which the caller then owns.
func (l *loader) program(name string) (*ebpf.Program, error) {
	if p := l.loaded[name]; p != nil {
		delete(l.loaded, name)
		return p, nil
	}
	coll, err := l.collection([]string{name})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

func (l *loader) collection(programs []string) (*ebpf.Collection, error) {
	spec := l.spec.Copy()
	clear(spec.Programs)
	for _, name := range programs {
		spec.Programs[name] = l.spec.Programs[name].Copy()
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: maps.Clone(l.maps),
		Cache:           l.cache,
	})
}
