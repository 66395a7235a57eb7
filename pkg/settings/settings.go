// SPDX-License-Identifier: Apache-2.0

// Package settings fills in flags that were not typed: from the environment, and
// from a small YAML file. All three have the same names. What is typed wins over the
// environment, and that over the file.
package settings

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Source is where settings come from beside the command line.
type Source struct {
	Prefix  string   // of the environment's names, such as NETNS_TRACE_
	Environ []string // as os.Environ has it
	Flag    string   // the flag that names the file
	Not     []string // flags that only the command line has
	// Fresh makes flags of the same names whose values nobody uses: what is overridden
	// is checked all the same.
	Fresh func() *pflag.FlagSet
}

// Places say where a setting was made, for those that were not typed.
type Places map[string]string

// Error is a setting that cannot be.
type Error struct {
	Place string // "FILE:LINE", or the name in the environment
	Err   error
}

func (e *Error) Error() string { return e.Place + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Load fills in flags, which have been parsed. All mistakes are told, each an *Error.
func (s Source) Load(flags *pflag.FlagSet) (Places, error) {
	places := make(Places)
	var errs []error
	settable(flags, s.Not, func(f *pflag.Flag) {
		name := s.Prefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := lookUp(s.Environ, name)
		if !ok {
			return
		}
		errs = append(errs, s.put(flags, places, setting{name: f.Name, place: name, values: []string{value}}))
	})
	if f := flags.Lookup(s.Flag); f != nil && f.Value.String() != "" {
		path := f.Value.String()
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, errors.Join(append(errs, fmt.Errorf("reading the settings: %w", err))...)
		}
		made, err := parse(path, text)
		errs = append(errs, err)
		for _, m := range made {
			errs = append(errs, s.put(flags, places, m))
		}
	}
	return places, errors.Join(errs...)
}

// setting is one that was made.
type setting struct {
	name, place string
	values      []string
	list        bool
}

func settable(flags *pflag.FlagSet, not []string, do func(*pflag.Flag)) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !slices.Contains(not, f.Name) {
			do(f)
		}
	})
}

func lookUp(environ []string, name string) (string, bool) {
	for _, e := range slices.Backward(environ) {
		if key, value, _ := strings.Cut(e, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// put sets what nothing of more weight has set, and checks it in any case.
func (s Source) put(flags *pflag.FlagSet, places Places, m setting) error {
	var names []string
	settable(flags, s.Not, func(f *pflag.Flag) { names = append(names, f.Name) })
	if !slices.Contains(names, m.name) {
		return &Error{m.place, fmt.Errorf("there is no setting %q; there are %s", m.name, strings.Join(names, ", "))}
	}
	if err := set(s.Fresh().Lookup(m.name), m); err != nil {
		return &Error{m.place, err}
	}
	f := flags.Lookup(m.name)
	if f.Changed {
		return nil
	}
	if err := set(f, m); err != nil {
		return &Error{m.place, err}
	}
	f.Changed = true
	places[m.name] = m.place
	return nil
}

func set(f *pflag.Flag, m setting) error {
	if f == nil {
		return fmt.Errorf("there is no setting %q", m.name)
	}
	list, takesList := f.Value.(pflag.SliceValue)
	var err error
	switch {
	case !m.list:
		err = f.Value.Set(m.values[0])
	case takesList:
		err = list.Replace(m.values)
	default:
		return fmt.Errorf("%s takes one value, not a list", m.name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	return nil
}

// Locate adds to an error that names flags as --NAME where the first of those that
// were not typed was set.
func (p Places) Locate(err error) error {
	if err == nil {
		return nil
	}
	for _, word := range strings.FieldsFunc(err.Error(), func(r rune) bool {
		return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}) {
		name, ok := strings.CutPrefix(word, "--")
		if place := p[name]; ok && place != "" {
			return &Error{place, err}
		}
	}
	return err
}
