// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// purpose is all that was taken and dropped for one thing: what a hold of one
// function is for is known from where it is put, so both are of one family.
type purpose struct {
	family      string
	holds, puts uint64
	entries     []record.RefUse
}

func (p *purpose) net() int64 { return int64(p.holds - p.puts) }

// oneSided reports whether nothing was ever dropped: then every entry is unmatched.
func (p *purpose) oneSided() bool { return p.puts == 0 || p.holds == 0 }

// purposes sorts a ledger's sites by what the references are for, and puts first what
// has most references left.
func purposes(l *record.RefLedger) []purpose {
	byFamily := make(map[string]*purpose)
	for use := range l.Uses() {
		p := byFamily[use.Family]
		if p == nil {
			p = &purpose{family: use.Family}
			byFamily[use.Family] = p
		}
		if use.Put {
			p.puts += use.Count
		} else {
			p.holds += use.Count
		}
		p.entries = append(p.entries, use)
	}
	var out []purpose
	for _, a := range byFamily {
		slices.SortFunc(a.entries, func(x, y record.RefUse) int {
			return cmp.Or(cmp.Compare(x.First, y.First), strings.Compare(x.Place, y.Place))
		})
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b purpose) int {
		return cmp.Or(cmp.Compare(b.net(), a.net()), strings.Compare(a.family, b.family))
	})
	return out
}

// open are the purposes that are not balanced.
func open(all []purpose) []purpose {
	return slices.DeleteFunc(all, func(a purpose) bool { return a.net() == 0 })
}

// words is what people call what a family is.
func (p *purpose) words() string { return PurposeWords(p.family) }

// PurposeWords is what people call what references of a family are for.
func PurposeWords(family string) string {
	if words, ok := familyWords[family]; ok {
		return words
	}
	if family == record.FamilyLookup {
		return "whoever looked it up by name or number"
	}
	return family
}

// familyWords are for the families that have an object; the others' names are words.
var familyWords = func() map[string]string {
	words := make(map[string]string)
	for _, f := range families {
		words[f.name] = f.words
	}
	return words
}()
