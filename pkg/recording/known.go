// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"cmp"
	"maps"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// known keeps what records have taught so far, so that a file which does not begin at
// the beginning can say it first.
type known struct {
	clock   *record.Clock
	setup   *record.Setup
	losses  map[lossKey]record.Loss
	netns   map[uint32]record.NetnsName
	process map[uint32]record.ProcessName
	symbols map[symbolKey]record.Symbol
}

type lossKey struct{ detector, cause string }

type symbolKey struct {
	tgid uint32
	addr uint64
}

// knownMax bounds each table, as record.Names does.
const knownMax = 32768

// teaches reports whether a record is one of those that are kept.
func teaches(rec record.Record) bool {
	switch rec.(type) {
	case *record.Clock, *record.Setup, *record.Loss, *record.NetnsName, *record.NetnsBirth, *record.ProcessName, *record.Symbol:
		return true
	}
	return false
}

func copyOf[T any](v *T) *T {
	c := *v
	return &c
}

func (k *known) learn(rec record.Record) {
	switch r := rec.(type) {
	case *record.Clock:
		k.clock = copyOf(r)
	case *record.Setup:
		k.setup = copyOf(r)
	case *record.Loss:
		keep(&k.losses, lossKey{r.Detector, r.Cause}, *r)
	case *record.NetnsName:
		keep(&k.netns, r.Netns.Inode, *r)
	case *record.NetnsBirth:
		delete(k.netns, r.Netns.Inode)
	case *record.ProcessName:
		keep(&k.process, r.TGID, *r)
	case *record.Symbol:
		keep(&k.symbols, symbolKey{r.TGID, r.Addr}, *r)
	}
}

func keep[K comparable, V any](m *map[K]V, key K, v V) {
	if *m == nil || len(*m) >= knownMax {
		*m = make(map[K]V)
	}
	(*m)[key] = v
}

// records are what is kept, in the order of their times.
func (k *known) records() []record.Record {
	var out []record.Record
	if k.clock != nil {
		out = append(out, k.clock)
	}
	if k.setup != nil {
		out = append(out, k.setup)
	}
	rest := slices.Concat(pointers(k.losses), pointers(k.netns), pointers(k.process), pointers(k.symbols))
	slices.SortStableFunc(rest, func(a, b record.Record) int { return cmp.Compare(a.When(), b.When()) })
	return append(out, rest...)
}

// pointers are the values of a map in an order that does not depend on chance, as far
// as times tell.
func pointers[K comparable, V any, P interface {
	*V
	record.Record
}](m map[K]V) []record.Record {
	var out []record.Record
	for v := range maps.Values(m) {
		out = append(out, P(&v))
	}
	return out
}
