// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// redactor replaces what tells of a machine and its users, the same by the same all
// through a recording: names of devices, namespaces, containers and processes,
// network addresses and ports, addresses in memory, paths and functions of programs.
// What is needed to see the bug stays: kinds, times, counts, process and inode
// numbers, and the kernel's own functions.
//
// What a new type of record has is replaced too: every string, address of the network
// or of the kernel, and every run of bytes, but for strings that redactedKept lists.
type redactor struct {
	texts  map[textKey]string
	used   map[string]int
	ips    map[netip.Addr]netip.Addr
	ports  map[uint16]uint16
	kernel map[uint64]uint64
	user   map[uint64]uint64
}

type textKey struct{ kind, text string }

// redactedMax bounds each table; what does not fit is all replaced by the same.
const redactedMax = 1 << 20

// newRedactor makes one for a recording: all its files.
func newRedactor() *redactor {
	return &redactor{
		texts: make(map[textKey]string), used: make(map[string]int),
		ips: make(map[netip.Addr]netip.Addr), ports: make(map[uint16]uint16),
		kernel: make(map[uint64]uint64), user: make(map[uint64]uint64),
	}
}

// redactedKept are the strings that tell nothing of a machine: names of classes, kinds
// and states, places in the kernel's text, its modules and types.
var redactedKept = map[string]bool{
	"Loss.Detector": true, "Loss.Cause": true, "ModuleLoad.Name": true,
	"RefSite.Place": true, "RefSite.Family": true, "RefTrace.Family": true, "OpenSocket.Protocol": true,
	"HeldObject.Field": true, "HeldObject.Cache": true, "HeldObject.Family": true, "HeldFact.Name": true,
	"Socket.Protocol": true, "HolderSearch.Kind": true, "HolderSearch.State": true, "HolderSearch.Untyped": true, "HolderSearch.Dump": true,
}

// redactedKinds are what the replacement of a string is called; others are "name".
var redactedKinds = map[string]string{
	"Thread.Comm": "comm", "AwayThread.Comm": "comm", "NetnsMount.Comm": "comm", "NetnsMount.Path": "path",
	"NetnsName.Name": "netns", "NetnsName.ContainerName": "container", "ProcessName.ContainerName": "container",
	"NetnsName.Container": "id", "ProcessName.Container": "id",
	"DevWait.Name": "dev", "DevFree.Name": "dev", "CsumDevice.Name": "dev", "CsumDevice.PeerName": "dev",
	"DstFailure.Name": "dev", "Holder.Text": "dev", "RefLedger.Name": "dev", "HolderSearch.Name": "dev", "HeldObject.Other": "dev",
}

// Record returns a copy without them. It has no bytes of the ring.
func (r *redactor) Record(rec record.Record) record.Record {
	from := reflect.ValueOf(rec).Elem()
	to := reflect.New(from.Type())
	to.Elem().Set(from)
	switch c := to.Interface().(type) {
	case *record.Symbol:
		r.symbol(c)
		return c
	case *record.ConsoleWait:
		c.Text = r.console(c.Text)
		return c
	case *record.StrandedCall:
		address := r.sockaddr(c)
		r.value(to.Elem(), "")
		c.Address = address
		return c
	case *record.Holder:
		text, address := c.Text, [16]byte{}
		if ip, ok := c.IP(); ok {
			copy(address[:], r.ip(ip).AsSlice())
		}
		r.value(to.Elem(), "")
		if c.Address = address; c.Family == record.HolderQdisc {
			c.Text = text // its kind
		}
		return c
	}
	r.value(to.Elem(), "")
	return to.Interface().(record.Record)
}

// value replaces what is in v, a copy; of is the field that it is.
func (r *redactor) value(v reflect.Value, of string) {
	if v.Type() == timeType {
		return
	}
	switch a := v.Addr().Interface().(type) {
	case *netip.AddrPort:
		if a.IsValid() {
			*a = netip.AddrPortFrom(r.ip(a.Addr()), r.port(a.Port()))
		}
		return
	case *netip.Addr:
		*a = r.ip(*a)
		return
	case *netip.Prefix:
		if a.IsValid() {
			*a = netip.PrefixFrom(r.ip(a.Addr()), a.Bits())
		}
		return
	case *record.Stacks:
		a.Kernel, a.User = r.addresses(a.Kernel, r.kernelAddress), r.addresses(a.User, r.userAddress)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if !redactedKept[of] {
			v.SetString(r.text(kindOf(of), v.String()))
		}
	case reflect.Uint64:
		v.SetUint(r.kernelAddress(v.Uint()))
	case reflect.Slice, reflect.Array:
		r.elements(v, of)
	case reflect.Pointer:
		if !v.IsNil() {
			inner := reflect.New(v.Type().Elem())
			inner.Elem().Set(v.Elem())
			r.value(inner.Elem(), of)
			v.Set(inner)
		}
	case reflect.Map:
		r.mapping(v, of)
	case reflect.Struct:
		for i := range v.NumField() {
			r.value(v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name)
		}
	}
}

func kindOf(field string) string {
	if kind, ok := redactedKinds[field]; ok {
		return kind
	}
	return "name"
}

// elements replaces those of a slice, which the copy shares with its original, or of
// an array. Bytes can be anything: none are kept.
func (r *redactor) elements(v reflect.Value, of string) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetZero()
		return
	}
	if v.Kind() == reflect.Slice && !v.IsNil() {
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		v.Set(c)
	}
	for i := range v.Len() {
		r.value(v.Index(i), of)
	}
}

func (r *redactor) mapping(v reflect.Value, of string) {
	if v.IsNil() {
		return
	}
	c := reflect.MakeMap(v.Type())
	for key, elem := range v.Seq2() {
		k, e := reflect.New(key.Type()).Elem(), reflect.New(elem.Type()).Elem()
		k.Set(key)
		e.Set(elem)
		r.value(k, of)
		r.value(e, of)
		c.SetMapIndex(k, e)
	}
	v.Set(c)
}

// text replaces a name. Those that every machine has stay.
func (r *redactor) text(kind, text string) string {
	if text == "" || kind == "netns" && text == "host" || kind == "dev" && text == "lo" {
		return text
	}
	key := textKey{kind, text}
	if got, ok := r.texts[key]; ok {
		return got
	}
	if len(r.texts) >= redactedMax {
		return kind
	}
	r.used[kind]++
	made := fmt.Sprintf("%s%d", kind, r.used[kind])
	if kind == "id" {
		made = fmt.Sprintf("%012x", r.used[kind])
	}
	r.texts[key] = made
	return made
}

// rawAddress is what --raw-addresses adds to a frame.
var rawAddress = regexp.MustCompile(` 0x[0-9a-f]+$`)

func (r *redactor) symbol(s *record.Symbol) {
	if s.TGID == 0 {
		s.Addr, s.Text = r.kernelAddress(s.Addr), rawAddress.ReplaceAllString(s.Text, "")
		return
	}
	s.Addr, s.Text = r.userAddress(s.Addr), r.text("user", s.Text)
}

// consoleWait is the kernel's message about a device that waits.
var consoleWait = regexp.MustCompile(`(unregister_netdevice: waiting for )(\S+)( to become free)`)

// console keeps of a kernel message the one that is known, with the device's name
// replaced.
func (r *redactor) console(text string) string {
	m := consoleWait.FindStringSubmatchIndex(text)
	if m == nil {
		return r.text("message", text)
	}
	return text[m[2]:m[4]] + r.text("dev", text[m[4]:m[5]]) + strings.TrimRight(text[m[6]:], "\n")
}

// sockaddr replaces the address of a connect, in the bytes that it has.
func (r *redactor) sockaddr(c *record.StrandedCall) []byte {
	to, ok := c.Destination()
	if !ok {
		if len(c.Address) < 2 {
			return nil
		}
		return bytes.Clone(c.Address[:2]) // the family
	}
	out := make([]byte, len(c.Address))
	copy(out, c.Address[:2])
	port := r.port(to.Port())
	out[2], out[3] = byte(port>>8), byte(port)
	ip := r.ip(to.Addr()).AsSlice()
	if len(ip) == 4 {
		copy(out[4:], ip)
	} else {
		copy(out[8:], ip)
	}
	return out
}

func (r *redactor) ip(a netip.Addr) netip.Addr {
	if !a.IsValid() || a.IsLoopback() || a.IsUnspecified() {
		return a
	}
	if got, ok := r.ips[a]; ok {
		return got
	}
	n := min(len(r.ips)+1, redactedMax)
	var made netip.Addr
	if a.Is4() {
		// 198.18.0.0/15 is for benchmarks: nobody's.
		made = netip.AddrFrom4([4]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)})
	} else {
		made = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
	}
	if len(r.ips) < redactedMax {
		r.ips[a] = made
	}
	return made
}

func (r *redactor) port(p uint16) uint16 {
	if p == 0 {
		return 0
	}
	if _, ok := r.ports[p]; !ok {
		r.ports[p] = uint16(len(r.ports) + 1)
	}
	return r.ports[p]
}

// kernelSpace is where the addresses of a 64-bit kernel begin.
const kernelSpace = 0xffff_0000_0000_0000

// kernelAddress replaces a number if it can be an address of the kernel.
func (r *redactor) kernelAddress(a uint64) uint64 {
	if a < kernelSpace || a > 1<<64-1<<20 { // the last are small numbers below zero
		return a
	}
	return replaced(r.kernel, a, kernelSpace+0x1000, 0x40)
}

func (r *redactor) userAddress(a uint64) uint64 { return replaced(r.user, a, 0x10000, 0x10) }

func replaced(m map[uint64]uint64, a, base, step uint64) uint64 {
	if got, ok := m[a]; ok {
		return got
	}
	if len(m) >= redactedMax {
		return base
	}
	m[a] = base + step*uint64(len(m)+1)
	return m[a]
}

func (r *redactor) addresses(from []uint64, replace func(uint64) uint64) []uint64 {
	out := make([]uint64, len(from))
	for i, a := range from {
		out[i] = replace(a)
	}
	return out
}

// Start removes from a start section what tells of the machine.
func (r *redactor) Start(s Start) Start {
	s.Host.Name, s.Host.BootID, s.Command, s.Watched, s.Redacted = "", "", nil, nil, true
	return s
}

// End does so with an end section.
func (r *redactor) End(e End) End {
	e.Watched = nil
	return e
}
