// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

const (
	// maxPages bounds the pages of a machine: 64 TiB.
	maxPages = 1 << 34
	// maxRanges bounds how often there may be memory and then none: some tens.
	maxRanges = 1 << 16
	// blockBits is how many pages a block of a bitmap stands for.
	blockBits = PageSize * 8
)

// bitmap is a bit for each page, in a file.
type bitmap struct {
	file   io.ReaderAt
	offset uint64
	length uint64   // bits
	before []uint64 // bits that are set before each block
	block  [PageSize]byte
	number uint64 // of the block, plus 1; 0: there is none
}

// newBitmap reads a bitmap once, to know how many bits are set before each block.
func newBitmap(r io.ReaderAt, offset, length uint64) (*bitmap, error) {
	b := &bitmap{file: r, offset: offset, length: length}
	sum := uint64(0)
	err := eachBlock(r, offset, length, func(block []byte) error {
		b.before = append(b.before, sum)
		for ; len(block) >= 8; block = block[8:] {
			sum += uint64(bits.OnesCount64(binary.LittleEndian.Uint64(block)))
		}
		return nil
	})
	return b, err
}

// eachBlock calls see with each block of a bitmap of so many bits.
func eachBlock(r io.ReaderAt, offset, length uint64, see func(block []byte) error) error {
	if length > maxPages {
		return fmt.Errorf("%w: %d pages", ErrDamaged, length)
	}
	in := newChunks(io.NewSectionReader(r, int64(offset), 1<<62))
	var block [PageSize]byte
	for at := uint64(0); at < length; at += blockBits {
		if err := in.next(block[:], "bitmaps"); err != nil {
			return err
		}
		if err := see(block[:]); err != nil {
			return err
		}
	}
	return nil
}

// rank reports whether a page's bit is set, and how many are set before it.
func (b *bitmap) rank(page uint64) (before uint64, set bool, err error) {
	if page >= b.length {
		return 0, false, nil
	}
	number := page / blockBits
	if b.number != number+1 {
		b.number = 0
		if err := readHeader(b.file, b.block[:], b.offset+number*PageSize, "bitmaps"); err != nil {
			return 0, false, err
		}
		b.number = number + 1
	}
	bit := page % blockBits
	if b.block[bit/8]&(1<<(bit%8)) == 0 {
		return 0, false, nil
	}
	before = b.before[number]
	word := bit / 64
	for i := range word {
		before += uint64(bits.OnesCount64(binary.LittleEndian.Uint64(b.block[8*i:])))
	}
	last := binary.LittleEndian.Uint64(b.block[8*word:])
	return before + uint64(bits.OnesCount64(last&(1<<(bit%64)-1))), true, nil
}

// bitmapRanges are the stretches of pages whose bit is set.
func bitmapRanges(r io.ReaderAt, offset, length uint64) ([]Range, error) {
	var list []Range
	page := uint64(0)
	err := eachBlock(r, offset, length, func(block []byte) error {
		for ; len(block) >= 8; block = block[8:] {
			list = appendRuns(list, page, binary.LittleEndian.Uint64(block))
			page += 64
		}
		if len(list) > maxRanges {
			return fmt.Errorf("%w: its memory is in more than %d pieces", ErrDamaged, maxRanges)
		}
		return nil
	})
	return list, err
}

// appendRuns adds the pages that the bits of a word say, the first of which is page.
func appendRuns(list []Range, page, word uint64) []Range {
	for word != 0 {
		skip := uint64(bits.TrailingZeros64(word))
		run := uint64(bits.TrailingZeros64(^(word >> skip)))
		start := (page + skip) * PageSize
		if last := len(list) - 1; last >= 0 && list[last].Start+list[last].Size == start {
			list[last].Size += run * PageSize
		} else {
			list = append(list, Range{start, run * PageSize})
		}
		if skip+run >= 64 {
			break
		}
		word = word >> (skip + run) << (skip + run)
	}
	return list
}
