// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"reflect"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// registry has every type of record. A new one needs its line here and nothing else;
// a test fails if it has none. The names of the types and of their fields are in
// files: they are never changed, and a field keeps its meaning.
func registry() []reflect.Type {
	records := []record.Record{
		new(record.NetnsSwitch),
		new(record.ThreadClone),
		new(record.ThreadExit),
		new(record.ThreadSeen),
		new(record.Process),
		new(record.StrandedCall),
		new(record.NetnsBirth),
		new(record.ModuleLoad),
		new(record.Clock),
		new(record.Tick),
		new(record.Loss),
		new(record.AwayThreads),
		new(record.NetnsName),
		new(record.ProcessName),
		new(record.Symbol),
		new(record.Setup),
		new(record.DevWait),
		new(record.DevFree),
		new(record.ConsoleWait),
		new(record.Holder),
		new(record.HolderScan),
		new(record.CsumRewrite),
		new(record.CsumCorrupt),
		new(record.DstFailure),
		new(record.DstCrossing),
		new(record.DstCounter),
		new(record.RefLedger),
		new(record.ThreadState),
		new(record.HeldObject),
		new(record.HolderSearch),
		new(record.NetnsAlive),
		new(record.NetnsList),
		new(record.NetnsTask),
		new(record.NetnsFile),
		new(record.NetnsMount),
		new(record.NetnsLook),
		new(record.NetnsLooked),
		new(record.RefTracker),
	}
	types := make([]reflect.Type, len(records))
	for i, r := range records {
		types[i] = reflect.TypeOf(r).Elem()
	}
	return types
}

func typesByName(types []reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type, len(types))
	for _, t := range types {
		out[t.Name()] = t
	}
	return out
}
