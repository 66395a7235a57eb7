// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	_ "embed"
	"fmt"
	"path"
	"strings"
)

//go:embed families.txt
var familiesText string

//go:embed hot.txt
var hotText string

// Lookup is the family of functions whose caller owns the reference.
const Lookup = "lookup"

// Families says which family of holders a function belongs to. It is immutable.
type Families struct{ rules []familyRule }

type familyRule struct{ module, function, family string }

// LoadFamilies reads the table that is part of this program, families.txt.
func LoadFamilies() (Families, error) {
	f, err := parseFamilies(familiesText)
	if err != nil {
		return Families{}, fmt.Errorf("reading the families of holders: %w", err)
	}
	return f, nil
}

// LoadHot reads the table of the functions that take and drop a reference for every
// packet, hot.txt. What it says of a function is what the reference is for.
func LoadHot() (Families, error) {
	f, err := parseFamilies(hotText)
	if err != nil {
		return Families{}, fmt.Errorf("reading the functions that run for every packet: %w", err)
	}
	return f, nil
}

// Skipped is why a site needs no probe although one may be placed there; empty when it
// needs one. hot is what LoadHot gives; with allHot its functions need them too.
func Skipped(s *Site, hot Families, allHot bool) string {
	if s.Rule == Stored {
		return "the first reference of a new device, which is read from the device"
	}
	if what, is := hot.Of(s.Symbol, s.Module); is && !allHot {
		return "hit for every packet: " + what + " (--hot-sites)"
	}
	return ""
}

func parseFamilies(text string) (Families, error) {
	var f Families
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return f, fmt.Errorf("line %d: want pattern, kernels and family", number)
		}
		r := familyRule{function: fields[0], family: strings.Join(fields[2:], " ")}
		if module, function, ok := strings.Cut(r.function, ":"); ok {
			r.module, r.function = module, function
		}
		for _, pattern := range []string{r.module, r.function} {
			if _, err := path.Match(pattern, ""); err != nil {
				return f, fmt.Errorf("line %d: %q: %w", number, pattern, err)
			}
		}
		f.rules = append(f.rules, r)
	}
	return f, nil
}

// Of returns the family of a function of a module, or of the kernel when module is
// empty. When the table does not know it, the second result is false and the family is
// the function's name, or the module: what one function of it takes another drops.
func (f Families) Of(symbol, module string) (family string, known bool) {
	function, _, _ := strings.Cut(symbol, ".")
	module = strings.ReplaceAll(module, "-", "_") // as the kernel names it
	for _, r := range f.rules {
		if matches(r.module, module) && matches(r.function, function) {
			return r.family, true
		}
	}
	if module != "" {
		return "module " + module, false
	}
	return function, false
}

// matches takes a pattern that was found to be one.
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
