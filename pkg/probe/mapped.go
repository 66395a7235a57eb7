// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
)

// readMapped reads an array from its first entry on without a system call, which would
// keep kprobes' programs from running meanwhile: see headers/emit.h.
func readMapped(m *ebpf.Map, values any) error {
	memory, err := m.Memory()
	if err != nil {
		return err
	}
	raw := make([]byte, binary.Size(values))
	if _, err := memory.ReadAt(raw, 0); err != nil {
		return err
	}
	_, err = binary.Decode(raw, binary.NativeEndian, values)
	return err
}

// writeMapped is its counterpart, from entry first on.
func writeMapped(m *ebpf.Map, first uint32, values any) error {
	memory, err := m.Memory()
	if err != nil {
		return err
	}
	raw := make([]byte, binary.Size(values))
	if _, err := binary.Encode(raw, binary.NativeEndian, values); err != nil {
		return err
	}
	_, err = memory.WriteAt(raw, int64(first)*int64(m.ValueSize()))
	return err
}
