// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// The kinds of what a search of the kernel's memory finds; objects are of KindHolder.
const (
	KindHeld   = "held"   // a device's references, and how they are explained
	KindLeaked = "leaked" // references that no object explains
)

// Searches words what a search of the kernel's memory found. It implements
// trace.Detector.
type Searches struct {
	known   *finding.Knowledge
	objects map[uint64][]*record.HeldObject // by device, of the search under way
	ledgers map[uint64]*joinable            // by device
}

// NewSearches returns a detector that words its findings with known.
func NewSearches(known *finding.Knowledge) *Searches {
	return &Searches{
		known: known, objects: make(map[uint64][]*record.HeldObject), ledgers: make(map[uint64]*joinable),
	}
}

// Class implements trace.Detector.
func (s *Searches) Class() finding.Class { return finding.Refs }

// Wake implements trace.Detector: nothing happens while time passes.
func (s *Searches) Wake() uint64 { return 0 }

// maxObjects bounds the objects of one device that are kept.
const maxObjects = 1 << 16

// Observe implements trace.Detector.
func (s *Searches) Observe(rec record.Record, emit func(*finding.Finding)) {
	switch r := rec.(type) {
	case *record.HeldObject:
		if list := s.objects[r.Dev]; len(list) < maxObjects {
			object := *r
			s.objects[r.Dev] = append(list, &object)
		}
	case *record.RefLedger:
		s.ledgers[r.Dev] = ledgerAtWork(r)
	case *record.RefTracker:
		if s.ledgers[r.Ledger.Dev] == nil { // a ledger has times and processes too
			s.ledgers[r.Ledger.Dev] = kernelTracker(r)
		}
	case *record.HolderSearch:
		s.searched(r, s.objects[r.Dev], emit)
		delete(s.objects, r.Dev)
		delete(s.ledgers, r.Dev)
	}
}

// account holds a device's references against the objects that were found.
type account struct {
	references      int64 // less those that the device has of itself
	known           bool
	certain, likely int64
}

func (a account) unexplained() int64 { return a.references - a.certain - a.likely }

// isLeaked reports whether what no object explains is to be told as such: what was
// dropped, or not saved, may be what explains it.
func (a account) isLeaked(r *record.HolderSearch) bool {
	return a.isSure(r) && a.unexplained() > 0
}

// isSure reports whether the search and the count are of the same time, and whole.
func (a account) isSure(r *record.HolderSearch) bool {
	return a.known && !r.Moved && r.Dropped == 0 && r.NotSaved == 0
}

// countFamilies counts the objects that hold a device by their family.
func countFamilies(objects []*record.HeldObject) map[string]int {
	families := make(map[string]int)
	for _, o := range objects {
		if o.Means == record.PointerCounted {
			families[o.Family]++
		}
	}
	return families
}

func accountFor(r *record.HolderSearch, objects []*record.HeldObject) account {
	a := account{references: int64(r.Usage) - int64(r.Own), known: r.UsageKnown && r.OwnKnown}
	for _, o := range objects {
		switch {
		case o.Means != record.PointerCounted:
		case o.Certain:
			a.certain++
		default:
			a.likely++
		}
	}
	return a
}

func (s *Searches) searched(r *record.HolderSearch, objects []*record.HeldObject, emit func(*finding.Finding)) {
	a := accountFor(r, objects)
	j := join(s.ledgers[r.Dev], objects)
	f := s.held(r, objects, a)
	s.joinHeld(f, j)
	emit(f)
	for _, o := range objects {
		if o.Means == record.PointerCounted {
			f := s.holder(r, o)
			s.joinHolder(f, o, j)
			emit(f)
		}
	}
	if a.isLeaked(r) {
		emit(s.leaked(r, objects, a, j))
	}
}

func (s *Searches) finding(r *record.HolderSearch, kind string, parts ...any) *finding.Finding {
	f := &finding.Finding{
		ID:    finding.NewID(finding.Refs, append([]any{kind, r.Dev, r.Name, r.When()}, parts...)...),
		State: finding.Opened, Class: finding.Refs, Kind: kind,
		Time:     s.known.At(r.When()),
		Netns:    s.known.Netns(r.Netns),
		Device:   &finding.Device{Name: r.Name, Ifindex: r.Ifindex},
		Evidence: s.known.Evidence(finding.Refs, howSearch(r)),
		Details:  map[string]any{"device_state": r.State},
	}
	if r.Dump != "" {
		f.Details["crash_dump_of"] = r.Dump
	}
	lose := func(cause string, n uint64) {
		if n == 0 {
			return
		}
		if f.Evidence.Lost == nil {
			f.Evidence.Lost = make(map[string]int64)
		}
		f.Evidence.Lost[cause] = int64(n)
		f.Evidence.Complete = false
	}
	lose("pages_vanished", r.Vanished)
	lose("pages_not_saved", r.NotSaved)
	lose("pointers_dropped", r.Dropped)
	return f
}

func howSearch(r *record.HolderSearch) string {
	of := "the kernel's memory"
	if r.Dump != "" {
		of = "a crash dump of Linux " + r.Dump
	}
	return fmt.Sprintf("search of %s: %d MiB of it in %d pages that can have objects, in %s",
		of, r.Bytes>>20, r.Pages, time.Duration(r.TookNS).Round(10*time.Millisecond))
}

func called(r *record.HolderSearch, f *finding.Finding) string {
	return r.Name + " of netns " + f.Netns.String()
}

func (s *Searches) held(r *record.HolderSearch, objects []*record.HeldObject, a account) *finding.Finding {
	f := s.finding(r, KindHeld)
	what := "is " + r.State
	if r.Waiting {
		what = "waits in unregistration"
	}
	families := countFamilies(objects)
	if !a.known {
		foundDetails(f, r, families)
		f.Count = a.certain + a.likely
		f.Summary = fmt.Sprintf("%s %s: %s found; its usage count is not known", called(r, f), what, objectsWord(f.Count))
		return f
	}
	f.Count = a.references
	f.Details["usage_count"], f.Details["own"] = r.Usage, r.Own
	f.Details["references"], f.Details["certain"], f.Details["likely"] = a.references, a.certain, a.likely
	f.Details["unexplained"] = a.unexplained()
	f.Summary = fmt.Sprintf("%s %s: usage count %d: explained %d certain, %d likely, %d unexplained",
		called(r, f), what, r.Usage, a.certain, a.likely, max(0, a.unexplained()))
	f.Facts = append(f.Facts, finding.Fact{
		Label: "references",
		Text:  fmt.Sprintf("%d, beside %d that the device has of itself", a.references, r.Own),
	})
	foundFacts(f, r, families, a)
	f.Facts = append(f.Facts, finding.Fact{Label: "searched", Text: f.Evidence.How})
	return f
}

func foundDetails(f *finding.Finding, r *record.HolderSearch, families map[string]int) {
	f.Details["holders"] = families
	f.Details["pointers_without_reference"] = r.Plain
	f.Details["objects_of_unknown_kind"] = r.Unknown
}

// foundFacts says what was found, and what stands in the way of knowing all.
func foundFacts(f *finding.Finding, r *record.HolderSearch, families map[string]int, a account) {
	foundDetails(f, r, families)
	if len(families) > 0 {
		f.Facts = append(f.Facts, finding.Fact{Label: "held by", Text: wordFamilies(families)})
	}
	if a.known && a.unexplained() < 0 {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "too many",
			Text:  fmt.Sprintf("%d more objects point at it than it has references", -a.unexplained()),
		})
	}
	if r.Moved {
		f.Details["moved"] = true
		f.Facts = append(f.Facts, finding.Fact{Label: "moved", Text: "the count changed during the search: search again"})
	}
	if r.Dropped > 0 {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "dropped", Text: fmt.Sprintf("%d pointers were found that could not be kept: search for fewer devices", r.Dropped),
		})
	}
	if r.NotSaved > 0 {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "not saved", Text: fmt.Sprintf("%d pages that can have objects are not in the dump: what they had is not known", r.NotSaved),
		})
	}
}

func objectsWord(n int64) string {
	if n == 1 {
		return "1 object that holds it"
	}
	return fmt.Sprintf("%d objects that hold it", n)
}

// holder words one object.
func (s *Searches) holder(r *record.HolderSearch, o *record.HeldObject) *finding.Finding {
	f := s.finding(r, KindHolder, o.Object, o.Field)
	f.Count = 1
	sure := "likely"
	if o.Certain {
		sure = "certain"
	}
	f.Details["family"], f.Details["object_type"], f.Details["confidence"], f.Details["reason"] = o.Family, o.Field, sure, o.Reason
	if o.Cache != "" {
		f.Details["slab_cache"] = o.Cache
	}
	words := foundFamilyOf(o.Family)
	text := words.words
	if o.Other != "" {
		f.Details["other_device"] = o.Other
		text += " " + o.Other
	}
	for _, fact := range o.Facts {
		f.Details[fact.Name] = fact.Value
		text += factWords(fact)
	}
	if len(o.Sockets) > 0 {
		if o.Family == "queued_packet" {
			text += ", which is read by " + socketWords(o.Sockets)
		} else {
			text = socketWords(o.Sockets)
		}
		s.sockets(f, o)
	}
	verb := "is held by"
	if !o.Certain {
		verb = "is likely held by"
	}
	f.Summary = fmt.Sprintf("%s %s %s%s", called(r, f), verb, text, s.ownerWords(o.Sockets))
	f.Facts = append(f.Facts, finding.Fact{Label: "object", Text: objectWords(o)})
	for i, owner := range owners(o.Sockets) {
		label := ""
		if i == 0 {
			label = "open in"
		}
		f.Facts = append(f.Facts, finding.Fact{Label: label, Text: s.descriptor(owner)})
	}
	if release := releaseWords(r, o, words); release != "" {
		f.Details["release"] = release
		f.Facts = append(f.Facts, finding.Fact{Label: "release", Text: release})
	}
	return f
}

func factWords(fact record.HeldFact) string {
	switch fact.Name {
	case "address", "qdisc", "handle", "queue", "bpf_map", "queue_number":
		return " " + fact.Value
	case "map_index":
		return ", index " + fact.Value
	case "gateway":
		return " via " + fact.Value
	case "route":
		return " for " + fact.Value
	}
	return ""
}

func objectWords(o *record.HeldObject) string {
	text := o.Field
	if o.Cache != "" {
		text += " in slab cache " + o.Cache
	}
	text += "; " + o.Reason
	for _, fact := range o.Facts {
		if fact.Name == "object_references" {
			text += "; its own reference count is " + fact.Value
		}
	}
	return text
}

// leaked words the references that no object explains.
func (s *Searches) leaked(r *record.HolderSearch, objects []*record.HeldObject, a account, j *joined) *finding.Finding {
	f := s.finding(r, KindLeaked)
	f.Count = a.unexplained()
	f.Details["usage_count"], f.Details["references"] = r.Usage, a.references
	f.Details["explained"] = a.certain + a.likely
	look := "look"
	if f.Count == 1 {
		look = "looks"
	}
	by := "no known kind of object in memory holds it"
	if a.certain+a.likely > 0 {
		by = "beside the objects found, no known kind of object in memory holds it"
	}
	f.Summary = fmt.Sprintf("%s: %s: %s %s leaked by code", called(r, f), by, references(f.Count), look)
	if !r.Waiting {
		f.Summary = fmt.Sprintf("%s: %s: %s not explained", called(r, f), by, references(f.Count))
	}
	f.Facts = append(f.Facts, finding.Fact{Label: "searched", Text: f.Evidence.How})
	if unknown := unknownObjects(objects); len(unknown) > 0 && !j.explains(f.Count) {
		f.Details["unknown_objects"] = unknown
		f.Summary += ", or held by an object of unknown kind"
		f.Facts = append(f.Facts, finding.Fact{
			Label: "may hold it", Text: strings.Join(unknown, ", ") + ": of unknown kind; what they have may be an old copy",
		})
	}
	if len(r.Untyped) > 0 {
		f.Details["untyped_modules"] = r.Untyped
		f.Facts = append(f.Facts, finding.Fact{
			Label: "not known", Text: "the structs of " + countedModules(r.Untyped) + ": the kernel does not describe them",
		})
	}
	release := releaseLeaked
	if s.joinLeaked(f, j) {
		release = releaseTraced
	}
	if r.Waiting {
		f.Details["release"] = release
		f.Facts = append(f.Facts, finding.Fact{Label: "release", Text: release})
	}
	return f
}

const releaseLeaked = "nothing that can be closed, killed or deleted is known to release it; " +
	"to learn which code takes it, trace from before the device is made, and cause it again"

// unknownTold is how many objects of unknown kind are told.
const unknownTold = 8

func unknownObjects(objects []*record.HeldObject) []string {
	var list []string
	for _, o := range objects {
		switch {
		case o.Means != record.PointerUnknown || strings.HasPrefix(o.Cache, "task_struct"):
			// Saved registers of a thread have all sorts of words.
		case o.Cache != "":
			list = append(list, o.Cache+o.Field)
		case !strings.HasPrefix(o.Field, "+"):
			list = append(list, o.Field)
		}
	}
	slices.Sort(list)
	if len(list) > unknownTold {
		list = list[:unknownTold]
	}
	return list
}

func countedModules(names []string) string {
	const told = 6
	text := strings.Join(names[:min(told, len(names))], ", ")
	if len(names) > told {
		text += fmt.Sprintf(" and %d more modules", len(names)-told)
	}
	return text
}
