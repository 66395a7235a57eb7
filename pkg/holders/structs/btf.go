// SPDX-License-Identifier: Apache-2.0

// Package structs reads the layout of the kernel's structs from BTF and keeps little
// beside the bytes that the kernel gives.
//
// A question such as "which structs have a pointer to a net_device at offset 16" goes
// through every type. Decoding all of a kernel's 150,000 types into objects takes over
// 100 MB; here a type stays the bytes that it is, found by an index of 4 bytes a type.
package structs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The kinds of BTF types (include/uapi/linux/btf.h).
const (
	kindInt       = 1
	kindPtr       = 2
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindFwd       = 7
	kindTypedef   = 8
	kindVolatile  = 9
	kindConst     = 10
	kindRestrict  = 11
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindFloat     = 16
	kindDeclTag   = 17
	kindTypeTag   = 18
	kindEnum64    = 19
)

const (
	magic      = 0xeb9f
	headerSize = 24
	typeSize   = 12
	// maxTypes and maxBytes bound one blob: a distribution kernel's has 150,000
	// types in 6 MB.
	maxTypes = 1 << 22
	maxBytes = 256 << 20
)

var errFormat = errors.New("not BTF as this program knows it")

// blob is the BTF of the kernel image, or of one module on top of it.
type blob struct {
	name     string // the module's, "" for the kernel image
	types    []byte
	strings  []byte
	index    []uint32 // where in types each type begins
	firstID  uint32   // number of the first type here
	firstStr uint32   // offset of the first string here
}

// parseBlob indexes raw BTF. base is nil for the kernel image. The bytes are kept.
func parseBlob(name string, raw []byte, base *blob) (*blob, error) {
	le := binary.LittleEndian
	if len(raw) < headerSize || len(raw) > maxBytes || le.Uint16(raw) != magic {
		return nil, errFormat
	}
	header := uint64(le.Uint32(raw[4:]))
	typeOff, typeLen := uint64(le.Uint32(raw[8:])), uint64(le.Uint32(raw[12:]))
	strOff, strLen := uint64(le.Uint32(raw[16:])), uint64(le.Uint32(raw[20:]))
	size := uint64(len(raw))
	if header < headerSize || header+typeOff+typeLen > size || header+strOff+strLen > size {
		return nil, fmt.Errorf("%w: sections beyond its end", errFormat)
	}
	b := &blob{name: name, types: raw[header+typeOff:][:typeLen], strings: raw[header+strOff:][:strLen], firstID: 1}
	if base != nil {
		b.firstID = base.firstID + uint32(len(base.index))
		b.firstStr = base.firstStr + uint32(len(base.strings))
	}
	return b, b.makeIndex()
}

func (b *blob) makeIndex() error {
	b.index = make([]uint32, 0, len(b.types)/32)
	for at := uint64(0); at < uint64(len(b.types)); {
		if at+typeSize > uint64(len(b.types)) || len(b.index) == maxTypes {
			return fmt.Errorf("%w: a type beyond its end", errFormat)
		}
		info := binary.LittleEndian.Uint32(b.types[at+4:])
		length, ok := tailLength(info>>24&0x1f, uint64(info&0xffff))
		if !ok {
			return fmt.Errorf("%w: type %d is of kind %d", errFormat, b.firstID+uint32(len(b.index)), info>>24&0x1f)
		}
		b.index = append(b.index, uint32(at))
		at += typeSize + length
	}
	last := len(b.index) - 1
	if last >= 0 {
		info := binary.LittleEndian.Uint32(b.types[b.index[last]+4:])
		length, _ := tailLength(info>>24&0x1f, uint64(info&0xffff))
		if uint64(b.index[last])+typeSize+length > uint64(len(b.types)) {
			return fmt.Errorf("%w: a type beyond its end", errFormat)
		}
	}
	return nil
}

// tailLength is how many bytes follow a type of n members.
func tailLength(kind uint32, n uint64) (uint64, bool) {
	switch kind {
	case kindInt, kindVar, kindDeclTag:
		return 4, true
	case kindArray:
		return 12, true
	case kindStruct, kindUnion, kindDatasec, kindEnum64:
		return 12 * n, true
	case kindEnum, kindFuncProto:
		return 8 * n, true
	case kindPtr, kindFwd, kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunc, kindFloat, kindTypeTag:
		return 0, true
	}
	return 0, false
}

// text returns the string at an offset, which may be the base's.
func (b *blob) text(base *blob, offset uint32) []byte {
	if b.firstStr > 0 && offset < b.firstStr {
		b = base
	}
	offset -= b.firstStr
	if offset >= uint32(len(b.strings)) {
		return nil
	}
	s := b.strings[offset:]
	if end := bytes.IndexByte(s, 0); end >= 0 {
		return s[:end]
	}
	return nil
}
