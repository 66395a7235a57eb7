// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Layouts describes the records that the session's programs can make, by the type
// information of their objects.
func (s *Session) Layouts() ([]record.Layout, error) {
	var specs []*btf.Spec
	for _, part := range s.parts() {
		specs = append(specs, s.objects[part].loader.spec.Types)
	}
	return layouts(specs)
}

func layouts(specs []*btf.Spec) ([]record.Layout, error) {
	var out []record.Layout
	for _, wire := range record.WireTypes() {
		for _, spec := range specs {
			var c *btf.Struct
			if err := spec.TypeByName(wire.Struct, &c); err != nil {
				continue // it is another object's
			}
			l := record.Layout{Type: wire.Type, Struct: wire.Struct, Size: int(c.Size)}
			if err := describe(&l.Fields, "", 0, c); err != nil {
				return nil, fmt.Errorf("describing %s: %w", wire.Struct, err)
			}
			out = append(out, l)
			break
		}
	}
	return out, nil
}

// describe appends the fields of a type that begins at an offset.
func describe(fields *[]record.Field, path string, at int, t btf.Type) error {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		for _, m := range t.Members {
			name := m.Name
			if path != "" {
				name = path + "." + name
			}
			if err := describe(fields, name, at+int(m.Offset.Bytes()), m.Type); err != nil {
				return err
			}
		}
		return nil
	case *btf.Array:
		elem, ok := btf.UnderlyingType(t.Type).(*btf.Int)
		if !ok {
			return fmt.Errorf("%s is an array of %s", path, t.Type)
		}
		*fields = append(*fields, record.Field{Name: path, Offset: at, Type: fmt.Sprintf("%s[%d]", integer(elem), t.Nelems)})
		return nil
	case *btf.Int:
		*fields = append(*fields, record.Field{Name: path, Offset: at, Type: integer(t)})
		return nil
	}
	return fmt.Errorf("%s is a %s", path, t)
}

func integer(t *btf.Int) string {
	switch {
	case t.Encoding == btf.Char || t.Size == 1 && t.Name == "char":
		return "char"
	case t.Encoding == btf.Signed:
		return fmt.Sprintf("s%d", 8*t.Size)
	}
	return fmt.Sprintf("u%d", 8*t.Size)
}
