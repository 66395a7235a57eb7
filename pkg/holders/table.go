// SPDX-License-Identifier: Apache-2.0

package holders

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed references.txt
var referencesText string

// rule is a line of references.txt.
type rule struct {
	counted    bool
	place      string // STRUCT.FIELD, or private:KIND and so on
	family     string
	nonzero    string   // this field must not be 0
	zero       string   // this field must be 0
	listed     string   // this list_head must be on a list
	has        string   // the struct must have this field
	kinds      []string // the device must be of one of these kinds
	isAnywhere bool
	isPlaced   bool
}

// selfRule is a line of references.txt for a reference that a device has of itself.
type selfRule struct{ field, bit, family string }

// table is references.txt.
type table struct {
	rules    []rule
	places   map[string][]int  // place to rules, in order
	structs  map[string]string // place to the struct that is there
	anywhere map[string]bool   // structs that lie in arrays
	placed   map[string]bool   // structs that are not guessed
	selves   []selfRule
}

func newTable(text string) (*table, error) {
	t := &table{places: make(map[string][]int), structs: make(map[string]string), anywhere: make(map[string]bool), placed: make(map[string]bool)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "type" && len(words) == 3 {
			t.structs[words[1]] = words[2]
			t.placed[words[2]] = t.placed[words[2]] || strings.HasPrefix(words[1], "private:")
			continue
		}
		if words[0] == "self" && len(words) == 3 {
			field, bit, _ := strings.Cut(words[1], "/")
			t.selves = append(t.selves, selfRule{field, bit, words[2]})
			continue
		}
		r, err := parseRule(words)
		if err != nil {
			return nil, fmt.Errorf("line %d of the table of references: %w", n, err)
		}
		if structName, _, ok := strings.Cut(r.place, "."); ok {
			t.anywhere[structName] = t.anywhere[structName] || r.isAnywhere
			t.placed[structName] = t.placed[structName] || r.isPlaced
		}
		t.places[r.place] = append(t.places[r.place], len(t.rules))
		t.rules = append(t.rules, r)
	}
	return t, nil
}

func parseRule(words []string) (rule, error) {
	if len(words) < 3 {
		return rule{}, fmt.Errorf("%d words, not a verdict, a place and a family", len(words))
	}
	r := rule{counted: words[0] == "counted", place: words[1], family: words[2]}
	if !r.counted && words[0] != "plain" {
		return rule{}, fmt.Errorf("verdict %q", words[0])
	}
	for words = words[3:]; len(words) > 0; words = words[1:] {
		if words[0] == "anywhere" || words[0] == "placed" {
			r.isAnywhere, r.isPlaced = r.isAnywhere || words[0] == "anywhere", r.isPlaced || words[0] == "placed"
			continue
		}
		if len(words) < 2 {
			return rule{}, fmt.Errorf("condition %q", words[0])
		}
		switch words[0] {
		case "if":
			r.nonzero = words[1]
		case "unless":
			r.zero = words[1]
		case "listed":
			r.listed = words[1]
		case "has":
			r.has = words[1]
		case "kind":
			r.kinds = strings.Split(words[1], ",")
		default:
			return rule{}, fmt.Errorf("condition %q", words[0])
		}
		words = words[1:]
	}
	return r, nil
}

// fits reports whether a rule's conditions hold for the struct at addr, which is
// about a device of the kind.
func (k *Kernel) fits(r rule, structName string, addr uint64, kind string) bool {
	if r.has != "" {
		if _, ok := k.field(structName + "." + r.has); !ok {
			return false
		}
	}
	if r.nonzero != "" {
		if v, ok := k.get(addr, structName+"."+r.nonzero); !ok || v == 0 {
			return false
		}
	}
	if r.zero != "" {
		if v, ok := k.get(addr, structName+"."+r.zero); !ok || v != 0 {
			return false
		}
	}
	if r.listed != "" {
		// list_del_rcu() leaves the way on, for who is still on it.
		const prev = 8
		at, ok := k.at(addr, structName+"."+r.listed)
		v, err := k.memory.Uint64(at + prev)
		if !ok || err != nil || v == listPoison2 {
			return false
		}
	}
	return len(r.kinds) == 0 || slices.Contains(r.kinds, kind)
}

// find returns the first rule for a place that fits.
func (k *Kernel) find(t *table, place, structName string, addr uint64, kind string) (rule, bool) {
	for _, i := range t.places[place] {
		if k.fits(t.rules[i], structName, addr, kind) {
			return t.rules[i], true
		}
	}
	return rule{}, false
}

// selves are the families of the references that a device has of itself now.
func (k *Kernel) selves(t *table, device uint64) []string {
	var held []string
	looked := make(map[string]bool)
	for _, r := range t.selves {
		at, ok := k.at(device, "net_device."+r.field)
		if !ok || looked[r.family] {
			continue
		}
		looked[r.family] = true
		if k.isSet(r, device, at) {
			held = append(held, r.family)
		}
	}
	return held
}

// isSet reports whether a field of a device, which is at an address, says that the
// device has a reference of itself.
func (k *Kernel) isSet(r selfRule, device, at uint64) bool {
	if r.bit == "list" {
		next, err := k.memory.Uint64(at)
		return err == nil && next >= minPointer && next != at && next != listPoison1
	}
	v, ok := k.get(device, "net_device."+r.field)
	if r.bit != "" {
		bit, known := k.bit(r.bit)
		return ok && known && v>>bit&1 == 1
	}
	return ok && v != 0
}
