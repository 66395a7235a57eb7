// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"strings"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// rule decides by the table what a typed object's pointer means.
func (id *identifier) rule(o *object) {
	offset := uint32(o.hit.Addr - o.base)
	steps := id.types.Steps(o.typ, offset)
	typed := len(steps) > 0
	if !typed {
		steps = []structs.Step{{Struct: o.typ, Path: id.untypedPath(o.typ, offset)}}
	}
	o.where = id.types.Name(steps[0].Struct) + "." + steps[0].Path
	kind := ""
	if o.inside != nil {
		kind = o.inside.Kind
	}
	for _, step := range steps {
		name := id.types.Name(step.Struct)
		path := step.Path
		for { // "fib_nh.nh_common.nhc_dev", then what is above it
			if r, ok := id.find(id.table, name+"."+path, name, o.base+uint64(step.At), kind); ok {
				id.take(o, r)
				return
			}
			cut := strings.LastIndexByte(path, '.')
			if cut < 0 {
				break
			}
			path = path[:cut]
		}
	}
	last := steps[len(steps)-1]
	if typed && id.hasTracker(last.Struct) {
		o.verdict, o.family, o.tracked = counted, id.types.Name(last.Struct), true
	}
}

// untypedPath is the table's field at an offset of a struct whose types do not say
// that it points at a device.
func (id *identifier) untypedPath(t structs.Type, offset uint32) string {
	name := id.types.Name(t)
	for place := range id.table.places {
		path, ok := strings.CutPrefix(place, name+".")
		if f, okField := id.types.FieldOf(t, path); ok && okField && f.Offset == offset {
			return path
		}
	}
	return "?"
}

func (id *identifier) path(t structs.Type, offset uint32) string {
	name := id.types.Name(t)
	if steps := id.types.Steps(t, offset); len(steps) > 0 {
		return name + "." + steps[0].Path
	}
	return name
}

// hasTracker reports whether a struct has a netdevice_tracker: since 5.17 what takes a
// reference has one, also where it is empty.
func (id *identifier) hasTracker(t structs.Type) bool {
	return id.types.HasMemberOf(t, "netdevice_tracker")
}

func (id *identifier) take(o *object, r rule) {
	o.family = r.family
	o.verdict = plain
	if r.counted {
		o.verdict = counted
	}
}
