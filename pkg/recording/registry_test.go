// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A record type that was added to pkg/record and not to the registry would be lost
// from recordings: each is a struct that embeds Time.
func TestEveryTypeOfRecordIsInTheRegistry(t *testing.T) {
	files, err := filepath.Glob("../record/*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := make(map[string]bool)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if ok && slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
				name, ok := f.Type.(*ast.Ident)
				return ok && len(f.Names) == 0 && name.Name == "Time"
			}) {
				declared[spec.Name.Name] = true
			}
			return true
		})
	}
	registered := make(map[string]bool)
	for _, typ := range registry() {
		registered[typ.Name()] = true
	}
	if diff := cmp.Diff(declared, registered); diff != "" {
		t.Errorf("records of pkg/record and lines of registry() (-only declared +only registered):\n%s", diff)
	}
}

// A type that cannot be stored would fail when the first such record comes.
func TestEveryTypeOfRecordCanBeDescribed(t *testing.T) {
	schema, err := describe(registry())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.layouts(typesByName(registry())); err != nil {
		t.Error(err)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Structs)) {
		for _, f := range schema.Structs[name] {
			if f.Type == "" {
				t.Errorf("%s.%s has no type", name, f.Name)
			}
		}
	}
}
