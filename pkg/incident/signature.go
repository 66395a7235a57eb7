// SPDX-License-Identifier: Apache-2.0

package incident

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// Signature recognises an incident again, on this host or on another with the same
// kernel: class, kind, cause or family, symbols of the stack, kind of device, kernel
// release. It has no address, no offset, no name of a device and no process id. It
// is 16 hexadecimal digits.
func Signature(f *finding.Finding, release string) string {
	h := fnv.New64a()
	part := func(text string) { _, _ = io.WriteString(h, text+"\n") } // of a hash, it cannot fail
	part(string(f.Class))
	part(f.Kind)
	for _, key := range []string{"cause", "family", "by"} {
		text, _ := f.Details[key].(string)
		part(text)
	}
	part(deviceKindOf(f))
	for _, frame := range f.Stack {
		part(symbol(frame))
	}
	// Where references were taken, when that was seen in several places: in the order
	// of the finding, most references first.
	for _, t := range f.Traces {
		part(symbol(t.Place))
	}
	part(release)
	return fmt.Sprintf("%016x", h.Sum64())
}

// symbol is a frame without its offsets, which differ by the path taken inside a
// function: "dst_alloc+0x4e/0x140 [ipv6]" is "dst_alloc [ipv6]".
func symbol(frame string) string {
	name, rest, cut := strings.Cut(frame, "+0x")
	if !cut {
		return frame
	}
	if _, module, ok := strings.Cut(rest, " "); ok {
		return name + " " + module
	}
	return name
}

func deviceKindOf(f *finding.Finding) string {
	if f.Device == nil {
		return ""
	}
	return DeviceKind(f.Device.Name)
}
