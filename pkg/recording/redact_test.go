// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// secrets fills a value with things that must not be found in a redacted file.
func secrets(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("SECRET")
	case reflect.Uint64:
		v.SetUint(0xffff888112345678)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 6, 6))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			if v.Type().Elem().Kind() == reflect.Uint8 {
				v.Index(i).SetUint(uint64("SECRET"[i%6]))
				continue
			}
			secrets(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[netip.AddrPort]() {
			v.Set(reflect.ValueOf(netip.MustParseAddrPort("203.0.113.77:4443")))
			return
		}
		for i := range v.NumField() {
			if !redactedKept[v.Type().Name()+"."+v.Type().Field(i).Name] {
				secrets(v.Field(i))
			}
		}
	}
}

// A type of record that is added later must not bring secrets into redacted files.
func TestNothingOfAMachineIsLeftInAnyTypeOfRecord(t *testing.T) {
	for _, typ := range registry() {
		v := reflect.New(typ)
		secrets(v.Elem())
		rec := v.Interface().(record.Record)
		if s, ok := rec.(*record.Symbol); ok {
			s.TGID = 7 // the kernel's functions stay
		}
		schema, err := describe(registry())
		if err != nil {
			t.Fatal(err)
		}
		e, err := newEncoder(schema, registry())
		if err != nil {
			t.Fatal(err)
		}
		if err := e.made(newRedactor().Record(rec)); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"SECRET", "203.0.113.77", "4443"} {
			if bytes.Contains(e.buf, []byte(secret)) {
				t.Errorf("%s still has %q", typ.Name(), secret)
			}
		}
		redacted := reflect.ValueOf(newRedactor().Record(rec)).Elem()
		if hasAddress(redacted) {
			t.Errorf("%s still has an address of the kernel: %+v", typ.Name(), redacted)
		}
	}
}

func hasAddress(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Uint64:
		return v.Type() != timeType && v.Uint() == 0xffff888112345678
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if hasAddress(v.Index(i)) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && hasAddress(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

func TestTheSameIsReplacedByTheSame(t *testing.T) {
	r := newRedactor()
	wait := r.Record(&record.DevWait{Name: "veth1", Dev: 0xffff888100000000}).(*record.DevWait)
	free := r.Record(&record.DevFree{Name: "veth1", Dev: 0xffff888100000000}).(*record.DevFree)
	text := r.Record(&record.ConsoleWait{Text: "unregister_netdevice: waiting for veth1 to become free. Usage count = 2\n"}).(*record.ConsoleWait)
	if wait.Name != free.Name || wait.Dev != free.Dev || wait.Name == "veth1" {
		t.Errorf("veth1 became %s at %#x and %s at %#x", wait.Name, wait.Dev, free.Name, free.Dev)
	}
	if want := "unregister_netdevice: waiting for " + wait.Name + " to become free. Usage count = 2"; text.Text != want {
		t.Errorf("the kernel's message became %q, want %q", text.Text, want)
	}
	call := &record.StrandedCall{Address: []byte{2, 0, 1, 187, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0}}
	first, _ := r.Record(call).(*record.StrandedCall).Destination()
	again, ok := r.Record(call).(*record.StrandedCall).Destination()
	if !ok || first != again || first.Addr() == netip.MustParseAddr("192.0.2.1") || first.Port() == 443 {
		t.Errorf("192.0.2.1:443 became %s and %s", first, again)
	}
	stack := record.Stacks{Kernel: []uint64{0xffffffff81000000}, User: []uint64{0x7f0000001000}}
	clone := r.Record(&record.ThreadClone{Stacks: stack}).(*record.ThreadClone)
	symbol := r.Record(&record.Symbol{Addr: stack.Kernel[0], Text: "copy_process+0x1/0x2 0xffffffff81000000"}).(*record.Symbol)
	user := r.Record(&record.Symbol{TGID: 9, Addr: stack.User[0], Text: "main.secret+0x1 /home/me/main.go:9"}).(*record.Symbol)
	if symbol.Addr != clone.Stacks.Kernel[0] || symbol.Text != "copy_process+0x1/0x2" {
		t.Errorf("a kernel frame became %+v in the stack %x", symbol, clone.Stacks.Kernel)
	}
	if user.Addr != clone.Stacks.User[0] || strings.Contains(user.Text, "main") {
		t.Errorf("a user frame became %+v in the stack %x", user, clone.Stacks.User)
	}
	if stack.Kernel[0] != 0xffffffff81000000 {
		t.Error("the record itself was changed")
	}
}

func TestEveryTypeOfRecordCanBeRedacted(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	r := newRedactor()
	for range 20 {
		for _, typ := range registry() {
			v := reflect.New(typ)
			fill(v.Elem(), rng)
			rec := v.Interface().(record.Record)
			if got := r.Record(rec); got.When() != rec.When() {
				t.Errorf("%T has another time", rec)
			}
		}
	}
}
