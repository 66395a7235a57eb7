// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The flattened form of a dump is for pipes: each part of the file is preceded by where
// in the file it belongs. makedumpfile -F writes it, and QEMU for all but ELF. Source:
// makedumpfile.h.
const (
	flattenedSignature = "makedumpfile\x00"
	flattenedHeader    = 4096
	flattenedVersion   = 1

	// maxParts bounds the parts: QEMU makes them of 16 KiB, so that this is 64 GiB.
	maxParts = 1 << 22
)

// part is a piece of the file that the flattened one stands for.
type part struct {
	at, size uint64
	offset   uint64 // in the flattened file
}

// flattenedFile reads the file that a flattened one stands for.
type flattenedFile struct {
	file  io.ReaderAt
	parts []part // by place, none in two
}

func openFlattened(r io.ReaderAt) (*flattenedFile, error) {
	var h [32]byte
	if err := readHeader(r, h[:], 0, "header"); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	if version := be.Uint64(h[24:]); be.Uint64(h[16:]) != 1 || version != flattenedVersion {
		return nil, fmt.Errorf("%w: flattened, of version %d", ErrRefused, version)
	}
	f := &flattenedFile{file: r}
	for offset := uint64(flattenedHeader); ; {
		var head [16]byte
		if err := readSaved(r, head[:], offset); err != nil {
			break // it was cut off: what is missing was not saved
		}
		p := part{at: be.Uint64(head[:]), size: be.Uint64(head[8:]), offset: offset + uint64(len(head))}
		if p.at == ^uint64(0) { // the end
			break
		}
		if p.at >= 1<<62 || p.size == 0 || p.size >= 1<<62 {
			return nil, fmt.Errorf("%w: a part of %d bytes at %#x", ErrDamaged, p.size, p.at)
		}
		if len(f.parts) == maxParts {
			return nil, fmt.Errorf("%w: flattened, and large: makedumpfile -R NEW < FILE rearranges it", ErrRefused)
		}
		f.parts = append(f.parts, p)
		offset = p.offset + p.size
	}
	return f, f.sort()
}

// sort orders the parts. Of two for the same place the later holds.
func (f *flattenedFile) sort() error {
	slices.SortStableFunc(f.parts, func(a, b part) int { return cmp.Compare(a.at, b.at) })
	list := f.parts[:0]
	for _, p := range f.parts {
		last := len(list) - 1
		switch {
		case last < 0 || p.at >= list[last].at+list[last].size:
			list = append(list, p)
		case p.at == list[last].at && p.size == list[last].size:
			list[last] = p
		default:
			return fmt.Errorf("%w: flattened, with parts that overlap: makedumpfile -R NEW < FILE rearranges it", ErrRefused)
		}
	}
	f.parts = list
	return nil
}

// ReadAt implements [io.ReaderAt].
func (f *flattenedFile) ReadAt(b []byte, offset int64) (int, error) {
	done := 0
	for done < len(b) {
		at := uint64(offset) + uint64(done)
		i, exact := slices.BinarySearchFunc(f.parts, at, func(p part, at uint64) int { return cmp.Compare(p.at, at) })
		if !exact {
			i--
		}
		rest := b[done:]
		if i < 0 || at-f.parts[i].at >= f.parts[i].size {
			if i+1 >= len(f.parts) {
				return done, io.EOF
			}
			// A hole, as a sparse file has: zeros.
			n := min(uint64(len(rest)), f.parts[i+1].at-at)
			clear(rest[:n])
			done += int(n)
			continue
		}
		p := &f.parts[i]
		within := at - p.at
		n, err := f.file.ReadAt(rest[:min(uint64(len(rest)), p.size-within)], int64(p.offset+within))
		done += n
		if err != nil && uint64(n) < min(uint64(len(rest)), p.size-within) {
			return done, err
		}
	}
	return done, nil
}
