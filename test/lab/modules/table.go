// SPDX-License-Identifier: Apache-2.0

package modules

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The files of a table, named and written as depmod does so that kmod's own tools
// read them too.
const (
	depFile     = "modules.dep"
	aliasFile   = "modules.alias"
	builtinFile = "modules.builtin"
)

// ErrUnknown says that a name is neither a module nor an alias of one.
var ErrUnknown = errors.New("no such module")

// Table tells which files to load for a module name or alias.
type Table struct {
	modules map[string]module // by normalized name
	aliases []alias
	builtin map[string]bool
}

type module struct {
	file    string // relative to the table's directory
	depends []string
}

type alias struct{ pattern, module string }

// Scan makes a table from the uncompressed module files (.ko) below dir and dir's
// modules.builtin, if it has one.
func Scan(dir string) (*Table, error) {
	t := &Table{modules: map[string]module{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(file) != ".ko" {
			return err
		}
		return t.scanFile(dir, file)
	})
	if err != nil {
		return nil, fmt.Errorf("scanning modules: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, builtinFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("scanning modules: %w", err)
	}
	t.readBuiltin(string(data))
	t.sortAliases()
	return t, nil
}

func (t *Table) scanFile(dir, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := ReadInfo(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return err
	}
	if info.Name == "" {
		info.Name = nameOfFile(file)
	}
	t.modules[info.Name] = module{file: filepath.ToSlash(rel), depends: info.Depends}
	for _, pattern := range info.Aliases {
		t.aliases = append(t.aliases, alias{pattern, info.Name})
	}
	return nil
}

// sortAliases makes the written table the same whatever the order of the walk.
func (t *Table) sortAliases() {
	slices.SortFunc(t.aliases, func(a, b alias) int {
		return cmp.Or(strings.Compare(a.pattern, b.pattern), strings.Compare(a.module, b.module))
	})
	t.aliases = slices.Compact(t.aliases)
}

func nameOfFile(file string) string {
	base, _, _ := strings.Cut(path.Base(filepath.ToSlash(file)), ".ko")
	return Normalize(base)
}

// Names returns the names of all modules, sorted.
func (t *Table) Names() []string { return slices.Sorted(maps.Keys(t.modules)) }

// Keep drops every module but those that wanted accepts, by name and by file
// relative to the table's directory, and what they depend on. It returns the files
// of the dropped ones.
func (t *Table) Keep(wanted func(name, file string) bool) (dropped []string) {
	keep := map[string]bool{}
	var mark func(name string)
	mark = func(name string) {
		if m, ok := t.modules[name]; ok && !keep[name] {
			keep[name] = true
			for _, dep := range m.depends {
				mark(dep)
			}
		}
	}
	for name, m := range t.modules {
		if wanted(name, m.file) {
			mark(name)
		}
	}
	for name, m := range t.modules {
		if !keep[name] {
			dropped = append(dropped, m.file)
			delete(t.modules, name)
		}
	}
	t.aliases = slices.DeleteFunc(t.aliases, func(a alias) bool { return !keep[a.module] })
	slices.Sort(dropped)
	return dropped
}

// Resolve returns the files to load for a module name or an alias, each after
// those that it depends on. Nothing is to be loaded for what is built in. The error
// is [ErrUnknown] when the table does not have it.
func (t *Table) Resolve(name string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	var load func(name string) error
	load = func(name string) error {
		if seen[name] || t.builtin[name] {
			return nil
		}
		m, ok := t.modules[name]
		if !ok {
			return fmt.Errorf("module %s: %w", name, ErrUnknown)
		}
		seen[name] = true
		for _, dep := range m.depends {
			if err := load(dep); err != nil {
				return fmt.Errorf("module %s: %w", name, err)
			}
		}
		files = append(files, m.file)
		return nil
	}
	names := t.find(name)
	if len(names) == 0 {
		return nil, fmt.Errorf("module %s: %w", name, ErrUnknown)
	}
	for _, n := range names {
		if err := load(n); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// find returns the modules that answer to name. Like kmod it prefers a module of
// that name to aliases, and takes every module that an alias fits.
func (t *Table) find(name string) []string {
	plain := Normalize(name)
	if _, ok := t.modules[plain]; ok || t.builtin[plain] {
		return []string{plain}
	}
	var names []string
	for _, a := range t.aliases {
		if matches(Normalize(a.pattern), plain) {
			names = append(names, a.module)
		}
	}
	return names
}

// matches reports whether text fits a pattern of literal characters, * and ?. Sets
// in brackets occur only in the aliases of hardware that the lab's machines lack.
func matches(pattern, text string) bool {
	star, mark := -1, 0
	p, s := 0, 0
	for s < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, s
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[s]):
			p, s = p+1, s+1
		case star >= 0:
			mark++
			p, s = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// Write writes the table's files into dir.
func (t *Table) Write(dir string) error {
	var deps, aliases, builtin strings.Builder
	for _, name := range t.Names() {
		deps.WriteString(t.modules[name].file + ":")
		for _, dep := range t.modules[name].depends {
			if m, ok := t.modules[dep]; ok {
				deps.WriteString(" " + m.file)
			}
		}
		deps.WriteString("\n")
	}
	for _, a := range t.aliases {
		fmt.Fprintf(&aliases, "alias %s %s\n", a.pattern, a.module)
	}
	for _, name := range slices.Sorted(maps.Keys(t.builtin)) {
		fmt.Fprintf(&builtin, "kernel/%s.ko\n", name)
	}
	for name, text := range map[string]string{
		depFile: deps.String(), aliasFile: aliases.String(), builtinFile: builtin.String(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing the module table: %w", err)
		}
	}
	return nil
}

// Read reads the table's files from dir.
func Read(dir fs.FS) (*Table, error) {
	t := &Table{modules: map[string]module{}, builtin: map[string]bool{}}
	for name, parse := range map[string]func(string){
		depFile: t.readDeps, aliasFile: t.readAliases, builtinFile: t.readBuiltin,
	} {
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("reading the module table: %w", err)
		}
		parse(string(data))
	}
	return t, nil
}

func (t *Table) readDeps(text string) {
	scanner := bufio.NewScanner(strings.NewReader(text))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		file, rest, ok := strings.Cut(scanner.Text(), ":")
		if !ok {
			continue
		}
		m := module{file: file}
		for _, dep := range strings.Fields(rest) {
			m.depends = append(m.depends, nameOfFile(dep))
		}
		t.modules[nameOfFile(file)] = m
	}
}

func (t *Table) readAliases(text string) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
			t.aliases = append(t.aliases, alias{pattern: f[1], module: f[2]})
		}
	}
}

func (t *Table) readBuiltin(text string) {
	for line := range strings.Lines(text) {
		if file := strings.TrimSpace(line); file != "" {
			t.builtin[nameOfFile(file)] = true
		}
	}
}
