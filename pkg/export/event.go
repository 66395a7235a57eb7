// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// worder turns records into values that JSON can hold and people can read: stacks by
// their frames' names, bytes in hexadecimal, and addresses of the kernel as numbers
// that only tell the same from the different, since they would tell where it lies.
type worder struct {
	known     *finding.Knowledge
	addresses map[uint64]string
}

// addressesMax bounds the addresses that are told apart.
const addressesMax = 1 << 20

// kernelSpace is where the addresses of a 64-bit kernel begin.
const kernelSpace = 0xffff_0000_0000_0000

func newWorder(known *finding.Knowledge) *worder {
	return &worder{known: known, addresses: make(map[uint64]string)}
}

// name is a record's type.
func name(rec record.Record) string { return reflect.TypeOf(rec).Elem().Name() }

// fields are a record's, by their names in Go, which recordings have too.
func (w *worder) fields(rec record.Record) map[string]any {
	v := reflect.ValueOf(rec).Elem()
	out := w.object(v)
	if tgid, stacks := stacksOf(v); stacks != nil {
		out["Stacks"] = map[string]any{
			"Kernel": list(w.known.Stack(0, stacks.Kernel)), "User": list(w.known.Stack(tgid, stacks.User)),
			"KernelErr": stacks.KernelErr, "UserErr": stacks.UserErr,
		}
	}
	return out
}

func list(frames []string) []string {
	if frames == nil {
		return []string{}
	}
	return frames
}

// stacksOf finds the stacks of a record and the process that they are of.
func stacksOf(v reflect.Value) (tgid uint32, stacks *record.Stacks) {
	f := v.FieldByName("Stacks")
	if !f.IsValid() {
		return 0, nil
	}
	stacks, _ = f.Addr().Interface().(*record.Stacks)
	for _, of := range []string{"Thread", "Child"} {
		if t := v.FieldByName(of); t.IsValid() {
			if thread, ok := t.Interface().(record.Thread); ok {
				tgid = thread.TGID
			}
		}
	}
	return tgid, stacks
}

var (
	timeType   = reflect.TypeFor[record.Time]()
	stacksType = reflect.TypeFor[record.Stacks]()
	textType   = reflect.TypeFor[encoding.TextMarshaler]()
)

func (w *worder) object(v reflect.Value) map[string]any {
	out := make(map[string]any, v.NumField())
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Type == timeType, f.Type == stacksType: // told otherwise
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			maps.Copy(out, w.object(v.Field(i)))
		default:
			out[f.Name] = w.value(v.Field(i))
		}
	}
	return out
}

func (w *worder) value(v reflect.Value) any {
	if v.Type().Implements(textType) {
		return fmt.Sprint(v.Interface())
	}
	switch v.Kind() {
	case reflect.Struct:
		return w.object(v)
	case reflect.Uint64:
		if n := v.Uint(); n >= kernelSpace {
			return w.address(n)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return hex.EncodeToString(b)
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = w.value(v.Index(i))
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for k, e := range v.Seq2() {
			out[fmt.Sprint(w.value(k))] = w.value(e)
		}
		return out
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return w.value(v.Elem())
	}
	return v.Interface()
}

func (w *worder) address(a uint64) string {
	if a > 1<<64-1<<20 {
		return fmt.Sprint(int64(a)) // a small number below zero
	}
	if _, ok := w.addresses[a]; !ok {
		if len(w.addresses) >= addressesMax {
			return "address"
		}
		w.addresses[a] = fmt.Sprintf("address%d", len(w.addresses)+1)
	}
	return w.addresses[a]
}
