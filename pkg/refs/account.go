// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// account is all that was taken and dropped for one purpose: what a hold of one
// function is for is known from where it is put, so both are of one family.
type account struct {
	family      string
	holds, puts uint64
	entries     []entry
}

// entry is one line of an account: a call trace, and how often it took or dropped a
// reference.
type entry struct {
	put   bool
	place string
	record.RefTrace
}

// untraced tells the hits of a site of which no call trace was kept.
func (e *entry) untraced() bool { return len(e.Kernel) == 0 }

func (a *account) net() int64 { return int64(a.holds - a.puts) }

// oneSided reports whether nothing was ever dropped: then every entry is unmatched.
func (a *account) oneSided() bool { return a.puts == 0 || a.holds == 0 }

// accounts sorts a ledger's sites by what the references are for, and puts first what
// has most references left.
func accounts(l *record.RefLedger) []account {
	byFamily := make(map[string]*account)
	add := func(family string, put bool, n uint64) *account {
		a := byFamily[family]
		if a == nil {
			a = &account{family: family}
			byFamily[family] = a
		}
		if put {
			a.puts += n
		} else {
			a.holds += n
		}
		return a
	}
	for i := range l.Sites {
		s := &l.Sites[i]
		left := s.Hits
		for _, t := range s.Traces {
			// A trace that came while the counts were read is not among them.
			t.Count = min(t.Count, left)
			if t.Count == 0 {
				continue
			}
			left -= t.Count
			a := add(t.Family, s.Put, t.Count)
			a.entries = append(a.entries, entry{put: s.Put, place: s.Place, RefTrace: t})
		}
		if left > 0 {
			family := s.Family
			a := add(family, s.Put, left)
			a.entries = append(a.entries, entry{put: s.Put, place: s.Place, RefTrace: record.RefTrace{Family: family, Count: left}})
		}
	}
	var out []account
	for _, a := range byFamily {
		slices.SortFunc(a.entries, func(x, y entry) int {
			return cmp.Or(cmp.Compare(x.First, y.First), strings.Compare(x.place, y.place))
		})
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b account) int {
		return cmp.Or(cmp.Compare(b.net(), a.net()), strings.Compare(a.family, b.family))
	})
	return out
}

// open are the accounts that are not balanced.
func open(all []account) []account {
	return slices.DeleteFunc(all, func(a account) bool { return a.net() == 0 })
}

// words is what people call what a family is.
func (a *account) words() string {
	if words, ok := familyWords[a.family]; ok {
		return words
	}
	if a.family == record.FamilyLookup {
		return "whoever looked it up by name or number"
	}
	return a.family
}

// familyWords are for the families that have an object; the others' names are words.
var familyWords = func() map[string]string {
	words := make(map[string]string)
	for _, f := range families {
		words[f.name] = f.words
	}
	return words
}()
