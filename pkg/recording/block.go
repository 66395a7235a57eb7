// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

var le = binary.LittleEndian

// The file header: magic, then the format's version and the one that a reader must at
// least know.
const (
	magic          = "\x89NTREC\r\n"
	fileHeaderSize = len(magic) + 8
	// formatVersion is raised by what old readers can pass over, readableSince by what
	// they cannot.
	formatVersion = 1
	readableSince = 1
)

// blockKind says what a block has.
type blockKind uint8

const (
	blockStart   blockKind = 1 // Start, as JSON
	blockRecords blockKind = 2
	blockEnd     blockKind = 3 // End, as JSON
)

const (
	blockMagic      = 0x4b42544e // "NTBK"
	blockHeaderSize = 24
	// maxPayload bounds what a reader allocates for a block, whatever its header says.
	maxPayload = 4 << 20
	// maxStored is what zstd makes of maxPayload at worst; a block that does not get
	// smaller is stored as it is.
	maxStored      = maxPayload
	flagCompressed = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packer makes blocks: it numbers, compresses and checksums them.
type packer struct {
	zstd *zstd.Encoder
	seq  uint32
}

func newPacker() (*packer, error) {
	// One goroutine and a small window: a block is compressed by itself, and a tracer
	// must stay small.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(512<<10), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("preparing to compress: %w", err)
	}
	return &packer{zstd: enc}, nil
}

// pack appends a block to dst.
func (p *packer) pack(dst []byte, kind blockKind, payload []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, blockHeaderSize)...)
	dst = p.zstd.EncodeAll(payload, dst)
	flags := byte(flagCompressed)
	if len(dst)-at-blockHeaderSize >= len(payload) {
		dst = append(dst[:at+blockHeaderSize], payload...)
		flags = 0
	}
	header := dst[at:]
	le.PutUint32(header, blockMagic)
	header[4], header[5] = byte(kind), flags
	le.PutUint32(header[12:], uint32(len(dst)-at-blockHeaderSize))
	le.PutUint32(header[16:], uint32(len(payload)))
	p.number(header)
	return dst
}

// number gives a packed block its place in a file: the next.
func (p *packer) number(block []byte) {
	le.PutUint32(block[8:], p.seq)
	p.seq++
	le.PutUint32(block[20:], blockSum(block))
}

// blockSum is the checksum of a block: of its header up to the sum, and its body.
func blockSum(block []byte) uint32 {
	sum := crc32.Update(0, castagnoli, block[:20])
	return crc32.Update(sum, castagnoli, block[blockHeaderSize:])
}

func fileHeader() []byte {
	b := append([]byte(magic), make([]byte, 8)...)
	le.PutUint16(b[len(magic):], formatVersion)
	le.PutUint16(b[len(magic)+2:], readableSince)
	le.PutUint32(b[len(magic)+4:], crc32.Checksum(b[:len(magic)+4], castagnoli))
	return b
}

// ErrNotRecording is returned for a file that does not begin as a recording does.
var ErrNotRecording = errors.New("not a recording of netns-trace")

// NewerFormatError is a recording that this version cannot read.
type NewerFormatError struct{ Version, Needs int }

func (e *NewerFormatError) Error() string {
	return fmt.Sprintf("the recording has format %d, which needs a reader of format %d; this one reads up to %d: use a newer netns-trace",
		e.Version, e.Needs, formatVersion)
}

// CutOffError says that the file ends before its end section. All before Offset was
// read.
type CutOffError struct {
	Offset int64 // of the last whole block's end
	Bytes  int64 // that follow it, of a block that is not whole
}

func (e *CutOffError) Error() string {
	return fmt.Sprintf("the recording is cut off: it is whole up to byte %d, %d bytes of an unfinished block follow, and it has no end", e.Offset, e.Bytes)
}

// DamagedError says where a file stops being good. All before Offset was read.
type DamagedError struct {
	Offset int64 // of the block that is not good
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the recording is damaged from byte %d on: %s", e.Offset, e.Reason)
}

// unpacker takes blocks out of a file.
type unpacker struct {
	in     io.Reader
	zstd   *zstd.Decoder
	seq    uint32
	offset int64 // of the next block
	// header and stored keep what was read of a block that is not all there yet.
	header  [blockHeaderSize]byte
	have    int
	stored  []byte
	payload []byte
}

func newUnpacker(in io.Reader) (*unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxPayload), zstd.WithDecoderMaxWindow(maxPayload))
	if err != nil {
		return nil, fmt.Errorf("preparing to decompress: %w", err)
	}
	return &unpacker{in: in, zstd: dec}, nil
}

func (u *unpacker) fileHeader() error {
	b := make([]byte, fileHeaderSize)
	n, err := io.ReadFull(u.in, b)
	if err != nil && !isEnd(err) {
		return fmt.Errorf("reading the file's beginning: %w", err)
	}
	if string(b[:min(n, len(magic))]) != magic[:min(n, len(magic))] || n == 0 {
		return ErrNotRecording
	}
	if n < fileHeaderSize {
		return &CutOffError{Bytes: int64(n)}
	}
	if crc32.Checksum(b[:len(magic)+4], castagnoli) != le.Uint32(b[len(magic)+4:]) {
		return &DamagedError{Reason: "the checksum of its header is wrong"}
	}
	if needs := int(le.Uint16(b[len(magic)+2:])); needs > formatVersion {
		return &NewerFormatError{Version: int(le.Uint16(b[len(magic):])), Needs: needs}
	}
	u.offset = int64(fileHeaderSize)
	return nil
}

// next returns the next block; its payload is valid until the next call. io.EOF: the
// file ends here, which need not be its end for good: it may be called again.
func (u *unpacker) next() (blockKind, []byte, error) {
	if err := u.fill(u.header[:], 0); err != nil {
		return 0, nil, err
	}
	h := u.header[:]
	stored, size := le.Uint32(h[12:]), le.Uint32(h[16:])
	switch {
	case le.Uint32(h) != blockMagic:
		return 0, nil, u.damaged("no block begins here")
	case stored > maxStored || size > maxPayload:
		return 0, nil, u.damaged("a block says that it is larger than any can be")
	}
	u.stored = slices.Grow(u.stored[:0], int(stored))[:stored]
	if err := u.fill(u.stored, blockHeaderSize); err != nil {
		return 0, nil, err
	}
	sum := crc32.Update(crc32.Checksum(h[:20], castagnoli), castagnoli, u.stored)
	if sum != le.Uint32(h[20:]) {
		return 0, nil, u.damaged("the checksum of a block is wrong")
	}
	if got := le.Uint32(h[8:]); got != u.seq {
		return 0, nil, u.damaged(fmt.Sprintf("block %d follows where %d should", got, u.seq))
	}
	payload := u.stored
	if h[5]&flagCompressed != 0 {
		var err error
		if u.payload, err = u.zstd.DecodeAll(u.stored, u.payload[:0]); err != nil {
			return 0, nil, u.damaged("a block does not decompress: " + err.Error())
		}
		payload = u.payload
	}
	if len(payload) != int(size) {
		return 0, nil, u.damaged("a block has another size than it says")
	}
	u.seq++
	u.offset += int64(blockHeaderSize) + int64(stored)
	u.have = 0
	return blockKind(h[4]), payload, nil
}

// fill reads a part of a block that begins at the block's byte `from`, going on where
// an earlier call found the file to end.
func (u *unpacker) fill(part []byte, from int) error {
	done := min(max(u.have-from, 0), len(part))
	n, err := io.ReadFull(u.in, part[done:])
	u.have += n
	if err != nil && isEnd(err) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("reading at byte %d: %w", u.offset+int64(u.have), err)
	}
	return nil
}

func (u *unpacker) damaged(reason string) error {
	return &DamagedError{Offset: u.offset, Reason: reason}
}

func (u *unpacker) close() { u.zstd.Close() }

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
