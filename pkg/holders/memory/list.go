// SPDX-License-Identifier: Apache-2.0

package memory

// maxList bounds the walk along a list, which may change under the reader.
const maxList = 1 << 16

// eachInList is [Memory.EachInList] of a list that has at most so many. A struct that is
// put on another list leads there, and that one's head does not end the walk: what is
// remembered, at each power of two, ends a walk in a circle.
func (m *Memory) eachInList(head, offset uint64, most int, see func(uint64)) (whole bool) {
	at, err := m.Uint64(head)
	mark, next := head, 1
	for n := 0; n < most && err == nil && at != head && at != 0 && at != mark; n++ {
		if n == next {
			mark, next = at, 2*next
		}
		see(at - offset)
		at, err = m.Uint64(at)
	}
	return err == nil && at == head
}

// EachInList calls see with the address of each struct of a list: head is the address
// of the list's list_head, offset where the list_head is within the structs. It reports
// whether it came to the list's end. If the list changes meanwhile it may not, and see
// may be called with structs of another list, and with one several times.
func (m *Memory) EachInList(head, offset uint64, see func(addr uint64)) (whole bool) {
	return m.eachInList(head, offset, maxList, see)
}
