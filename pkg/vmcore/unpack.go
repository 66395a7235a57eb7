// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// makedumpfile makes no ELF file of one that it has compressed, but compresses it anew.
var errLZO = fmt.Errorf("%w: compressed by LZO (makedumpfile -l): makedumpfile -c FILE NEW makes one that is read", ErrRefused)

// unpacker uncompresses pages.
type unpacker struct {
	in   bytes.Reader
	zlib io.ReadCloser
	zstd *zstd.Decoder
}

// page fills to with what packed holds; flags say how.
func (u *unpacker) page(to *[PageSize]byte, packed []byte, flags uint32) error {
	n, err := 0, error(nil)
	switch {
	case flags&compressedZlib != 0:
		n, err = u.inflate(to[:], packed)
	case flags&compressedSnappy != 0:
		// Decode makes room for what is said to be in there, however much that is.
		if n, err = snappy.DecodedLen(packed); err == nil && n == PageSize {
			_, err = snappy.Decode(to[:], packed)
		}
	case flags&compressedZstd != 0:
		n, err = u.unzstd(to[:], packed)
	case flags&compressedLZO != 0:
		return errLZO
	default:
		n = copy(to[:], packed)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: a page that cannot be uncompressed: %w", ErrDamaged, err)
	case n != PageSize:
		return fmt.Errorf("%w: a page of %d bytes", ErrDamaged, n)
	}
	return nil
}

func (u *unpacker) inflate(to, packed []byte) (int, error) {
	u.in.Reset(packed)
	if u.zlib == nil {
		z, err := zlib.NewReader(&u.in)
		if err != nil {
			return 0, err
		}
		u.zlib = z
	} else if err := u.zlib.(zlib.Resetter).Reset(&u.in, nil); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(u.zlib, to)
	if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
		err = nil // its length is looked at
	}
	return n, err
}

func (u *unpacker) unzstd(to, packed []byte) (int, error) {
	if u.zstd == nil {
		// It unpacks whole pages only, and so starts no goroutine.
		const most = 1 << 20
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(most), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return 0, err
		}
		u.zstd = z
	}
	got, err := u.zstd.DecodeAll(packed, to[:0:len(to)])
	return len(got), err
}
