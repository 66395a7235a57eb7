// SPDX-License-Identifier: Apache-2.0

package memory

// maxList bounds the walk along a list, which may change under the reader.
const maxList = 1 << 16

// eachInList is [Memory.EachInList] of a list that has at most so many.
func (m *Memory) eachInList(head, offset uint64, most int, see func(uint64)) {
	at, err := m.Uint64(head)
	for n := 0; n < most && err == nil && at != head && at != 0; n++ {
		see(at - offset)
		at, err = m.Uint64(at)
	}
}

// EachInList calls see with the address of each struct of a list: head is the address
// of the list's list_head, offset where the list_head is within the structs.
func (m *Memory) EachInList(head, offset uint64, see func(addr uint64)) {
	m.eachInList(head, offset, maxList, see)
}
