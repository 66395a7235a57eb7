// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"errors"
	"io"
)

// image is what is kept of a file between look-ups: where things are in it, and
// an index of its ELF symbols. It holds no descriptor: an open file keeps the
// file system of a container from being unmounted.
type image struct {
	elf  *elfFile
	gos  *goTable    // nil without a Go function table
	syms *elfSymbols // nil without ELF symbols
	err  error       // why there are no names; kept so as not to try again
}

// newImage reads a file's headers and tables; an unusable file gives an image
// without names.
func newImage(r io.ReaderAt, size, maxBytes int64) *image {
	f, err := readELF(r, size)
	if err != nil {
		return &image{err: err}
	}
	im := &image{elf: f}
	var goErr, symErr error
	im.gos, goErr = readGoTable(r, f)
	im.syms, symErr = readELFSymbols(r, f, maxBytes)
	if im.gos == nil && im.syms == nil {
		im.err = errors.Join(goErr, symErr)
	}
	f.sections = nil // read; only the segments are needed from here on
	return im
}

// bytes estimates what the image uses.
func (im *image) bytes() int64 {
	n := int64(512)
	if im.elf != nil {
		n += int64(len(im.elf.segments)) * 32
	}
	if im.syms != nil {
		n += int64(len(im.syms.funcs)) * elfFuncSize
	}
	return n
}

// name fills in what the file says of the frame. lookupOffset is the file
// offset to look at, which for a return address is one less than the frame's.
func (im *image) name(r io.ReaderAt, f *Frame, lookupOffset uint64) {
	if im.err != nil {
		return
	}
	pc, ok := im.elf.vaddr(lookupOffset)
	if !ok {
		return
	}
	adjust := f.FileOffset - lookupOffset
	if im.gos != nil {
		if fn, err := im.gos.lookup(r, pc); err == nil && fn.name != "" {
			f.Symbol, f.Offset = fn.name, pc-fn.entry+adjust
			f.Source, f.Line = fn.file, fn.line
			return
		}
	}
	if im.syms != nil {
		if name, entry, err := im.syms.lookup(r, pc); err == nil && name != "" {
			f.Symbol, f.Offset = name, pc-entry+adjust
		}
	}
}
