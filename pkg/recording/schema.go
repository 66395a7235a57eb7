// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Schema describes the records that user space made, so that a file can be read
// without this program.
type Schema struct {
	// Records are the names of the records' structs; the index is the number that
	// stands in the blocks.
	Records []string `json:"records"`
	// Structs are the fields of each struct, in the order in which they are stored.
	Structs map[string][]SchemaField `json:"structs"`
}

// SchemaField is a field of a struct. Type is one of: time, bool, uint, int, float,
// string, bytes, text (a string that stands for an address or a time), the name of a
// struct, []TYPE, [N]TYPE, map[TYPE]TYPE, ?TYPE (may be absent).
type SchemaField struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// form is how a value is stored.
type form uint8

const (
	formTime form = 1 + iota
	formBool
	formUint
	formInt
	formFloat
	formString
	formBytes
	formText
	formStruct
	formList
	formArray
	formMap
	formOptional
)

var formNames = map[string]form{
	"time": formTime, "bool": formBool, "uint": formUint, "int": formInt, "float": formFloat,
	"string": formString, "bytes": formBytes, "text": formText,
}

// node is a type as it is stored, and how it lies in a Go type.
type node struct {
	form   form
	slot   int // formUint, formInt: where the last value is kept, of which the next is a difference
	length int // formArray
	key    *node
	elem   *node
	fields []fieldNode
}

type fieldNode struct {
	node  *node
	index int // in the Go struct; -1: the Go type has no such field
}

// layout is a record's type: its node and how many slots it needs.
type layout struct {
	root   *node
	slots  int
	goType reflect.Type // nil: this version does not know the type
}

// depthMax, nodesMax and cellsMax bound what a file can describe: nesting, types in
// all, elements of arrays in arrays.
const (
	depthMax = 12
	nodesMax = 4096
	cellsMax = 1 << 16
)

var (
	timeType       = reflect.TypeFor[record.Time]()
	marshalerType  = reflect.TypeFor[encoding.TextMarshaler]()
	unmarshaleType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// describe makes the schema of Go types.
func describe(types []reflect.Type) (*Schema, error) {
	s := &Schema{Structs: make(map[string][]SchemaField)}
	for _, t := range types {
		if _, err := s.typeName(t, 0); err != nil {
			return nil, fmt.Errorf("describing %s: %w", t, err)
		}
		s.Records = append(s.Records, t.Name())
	}
	return s, nil
}

func (s *Schema) typeName(t reflect.Type, depth int) (string, error) {
	if depth > depthMax {
		return "", fmt.Errorf("%s is nested too deeply", t)
	}
	inner := func(prefix string, t reflect.Type) (string, error) {
		name, err := s.typeName(t, depth+1)
		return prefix + name, err
	}
	switch {
	case t == timeType:
		return "time", nil
	case t.Implements(marshalerType) && reflect.PointerTo(t).Implements(unmarshaleType):
		return "text", nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return "bool", nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "int", nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "uint", nil
	case reflect.Float32, reflect.Float64:
		return "float", nil
	case reflect.String:
		return "string", nil
	case reflect.Pointer:
		return inner("?", t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes", nil
		}
		return inner("[]", t.Elem())
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes", nil
		}
		return inner("["+strconv.Itoa(t.Len())+"]", t.Elem())
	case reflect.Map:
		key, err := s.typeName(t.Key(), depth+1)
		if err != nil {
			return "", err
		}
		return inner("map["+key+"]", t.Elem())
	case reflect.Struct:
		return t.Name(), s.addStruct(t, depth)
	}
	return "", fmt.Errorf("a recording has no form for %s", t)
}

func (s *Schema) addStruct(t reflect.Type, depth int) error {
	if t.Name() == "" || formNames[t.Name()] != 0 {
		return fmt.Errorf("a struct named %q cannot be described", t.Name())
	}
	if _, done := s.Structs[t.Name()]; done {
		return nil
	}
	s.Structs[t.Name()] = nil
	var fields []SchemaField
	for f := range t.Fields() {
		if !f.IsExported() {
			return fmt.Errorf("%s.%s is not exported: it would be lost", t, f.Name)
		}
		name, err := s.typeName(f.Type, depth+1)
		if err != nil {
			return err
		}
		fields = append(fields, SchemaField{Name: f.Name, Type: name})
	}
	s.Structs[t.Name()] = fields
	return nil
}

// layouts are those of the schema's records, each bound to the Go type of its name.
func (s *Schema) layouts(known map[string]reflect.Type) ([]layout, error) {
	c := compiler{schema: s}
	var out []layout
	for _, name := range s.Records {
		c.slots, c.cells = 0, 1
		root, err := c.compile(name, known[name], 0)
		if err != nil {
			return nil, fmt.Errorf("the description of %q: %w", name, err)
		}
		if root.form != formStruct {
			return nil, fmt.Errorf("the record %q is no struct", name)
		}
		out = append(out, layout{root: root, slots: c.slots, goType: known[name]})
	}
	return out, nil
}

type compiler struct {
	schema *Schema
	slots  int
	nodes  int
	cells  int // elements that the arrays around the present type have together
}

// compile makes the node of a described type. to is the Go type that it is read into
// or written from, nil when there is none; what does not fit it is passed over.
func (c *compiler) compile(name string, to reflect.Type, depth int) (*node, error) {
	if c.nodes++; depth > depthMax || c.nodes > nodesMax {
		return nil, errors.New("it is too large")
	}
	if f := formNames[name]; f != 0 {
		n := &node{form: f}
		if f == formUint || f == formInt {
			n.slot = c.slots
			c.slots++
		}
		return n, nil
	}
	if rest, ok := strings.CutPrefix(name, "?"); ok {
		elem, err := c.compile(rest, elemOf(to), depth+1)
		return &node{form: formOptional, elem: elem}, err
	}
	if rest, ok := strings.CutPrefix(name, "[]"); ok {
		elem, err := c.compile(rest, elemOf(to), depth+1)
		return &node{form: formList, elem: elem}, err
	}
	if rest, ok := strings.CutPrefix(name, "map["); ok {
		key, rest, ok := strings.Cut(rest, "]")
		if !ok {
			return nil, fmt.Errorf("%q is no type", name)
		}
		var keyTo reflect.Type
		if to != nil && to.Kind() == reflect.Map {
			keyTo = to.Key()
		}
		k, err := c.compile(key, keyTo, depth+1)
		if err != nil {
			return nil, err
		}
		elem, err := c.compile(rest, elemOf(to), depth+1)
		return &node{form: formMap, key: k, elem: elem}, err
	}
	if rest, ok := strings.CutPrefix(name, "["); ok {
		number, rest, _ := strings.Cut(rest, "]")
		length, err := strconv.ParseUint(number, 10, 16)
		if err != nil || length == 0 {
			return nil, fmt.Errorf("%q is no type", name)
		}
		if uint64(c.cells)*length > cellsMax {
			return nil, errors.New("it is too large")
		}
		c.cells *= int(length)
		elem, err := c.compile(rest, elemOf(to), depth+1)
		c.cells /= int(length)
		return &node{form: formArray, length: int(length), elem: elem}, err
	}
	return c.compileStruct(name, to, depth)
}

func (c *compiler) compileStruct(name string, to reflect.Type, depth int) (*node, error) {
	fields, ok := c.schema.Structs[name]
	if !ok || len(fields) == 0 { // each value takes a byte at least: that bounds lists
		return nil, fmt.Errorf("there is no type %q", name)
	}
	n := &node{form: formStruct}
	for _, f := range fields {
		index, fieldType := -1, reflect.Type(nil)
		if to != nil && to.Kind() == reflect.Struct {
			if sf, ok := to.FieldByName(f.Name); ok && len(sf.Index) == 1 {
				index, fieldType = sf.Index[0], sf.Type
			}
		}
		inner, err := c.compile(f.Type, fieldType, depth+1)
		if err != nil {
			return nil, err
		}
		if index >= 0 && !fits(inner, fieldType) {
			index = -1
		}
		n.fields = append(n.fields, fieldNode{node: inner, index: index})
	}
	return n, nil
}

func elemOf(t reflect.Type) reflect.Type {
	if t == nil {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return t.Elem()
	}
	return nil
}

// fits reports whether a stored value can be put into a Go type.
func fits(n *node, t reflect.Type) bool {
	kind := t.Kind()
	switch n.form {
	case formTime:
		return t == timeType
	case formBool:
		return kind == reflect.Bool
	case formUint:
		return kind >= reflect.Uint && kind <= reflect.Uint64
	case formInt:
		return kind >= reflect.Int && kind <= reflect.Int64
	case formFloat:
		return kind == reflect.Float32 || kind == reflect.Float64
	case formString:
		return kind == reflect.String
	case formBytes:
		return (kind == reflect.Slice || kind == reflect.Array) && t.Elem().Kind() == reflect.Uint8
	case formText:
		return reflect.PointerTo(t).Implements(unmarshaleType)
	case formStruct:
		return kind == reflect.Struct
	case formList:
		return kind == reflect.Slice && fits(n.elem, t.Elem())
	case formArray:
		return kind == reflect.Array && fits(n.elem, t.Elem())
	case formMap:
		return kind == reflect.Map && fits(n.key, t.Key()) && fits(n.elem, t.Elem())
	case formOptional:
		return kind == reflect.Pointer && fits(n.elem, t.Elem())
	}
	return false
}
