// SPDX-License-Identifier: Apache-2.0

package record

// Names is what the records so far have taught of names: of namespaces, processes
// and code addresses. It is filled by records alone, so a replay knows exactly
// what the live run knew. Names of the dead stay.
type Names struct {
	netns   map[uint32]NetnsName
	process map[uint32]ProcessName
	symbols map[symbolKey]string
}

type symbolKey struct {
	tgid uint32
	addr uint64
}

// namesMax bounds each table. A full table starts over: a name is looked up and
// recorded again with the next record that needs it.
const namesMax = 32768

// Observe learns from rec if it is a record of names, and reports whether it is.
func (n *Names) Observe(rec Record) bool {
	switch r := rec.(type) {
	case *NetnsBirth:
		// Before 5.12 there is no cookie to tell the two by.
		delete(n.netns, r.Netns.Inode)
	case *NetnsName:
		put(&n.netns, r.Netns.Inode, *r)
	case *ProcessName:
		put(&n.process, r.TGID, *r)
	case *Symbol:
		put(&n.symbols, symbolKey{r.TGID, r.Addr}, r.Text)
	default:
		return false
	}
	return true
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil || len(*m) >= namesMax {
		*m = make(map[K]V)
	}
	(*m)[k] = v
}

// Netns returns what is known of a namespace; the zero NetnsName if nothing is.
// A name learnt of another namespace that had the same inode number is not given.
func (n *Names) Netns(id NetnsID) NetnsName {
	if got, ok := n.netns[id.Inode]; ok && got.Netns.Same(id) {
		return got
	}
	return NetnsName{Netns: id}
}

// Process returns what is known of a process.
func (n *Names) Process(tgid uint32) ProcessName { return n.process[tgid] }

// Symbol returns the name of a code address, "" when it has none.
func (n *Names) Symbol(tgid uint32, addr uint64) string {
	return n.symbols[symbolKey{tgid, addr}]
}
