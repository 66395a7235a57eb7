// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	recordHeader = 16      // sizeof(struct record_header)
	recordMost   = 1 << 16 // bytes that no record of an iterator has
)

// eachRecord reads the records that an iterator's program writes, to the end. Each is
// valid during the call of use.
func eachRecord(from io.Reader, use func(rec record.Record)) error {
	var decoder record.Decoder
	in := bufio.NewReaderSize(patient{from}, 1<<15)
	raw := make([]byte, recordHeader)
	for {
		if _, err := io.ReadFull(in, raw[:recordHeader]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		size := int(binary.NativeEndian.Uint32(raw[4:]))
		if size < recordHeader || size > recordMost {
			return fmt.Errorf("a record of %d bytes from this program's own iterator", size)
		}
		if size > len(raw) {
			raw = append(raw, make([]byte, size-len(raw))...)
		}
		if _, err := io.ReadFull(in, raw[recordHeader:size]); err != nil {
			return err
		}
		rec, err := decoder.Decode(raw[:size])
		if err != nil {
			return err
		}
		use(rec)
	}
}

// eachRow runs an iterator whose program writes rows of one size, to the end. Each is
// valid during the call of see, whose error ends it.
func eachRow(it *link.Iter, size int, see func(raw []byte) error) error {
	from, err := it.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	in, raw := bufio.NewReaderSize(patient{from}, 1<<15), make([]byte, size)
	for {
		if _, err := io.ReadFull(in, raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := see(raw); err != nil {
			return err
		}
	}
}

// patient asks again when the kernel gives up for now: it has gone through a million
// objects of which its program wrote nothing.
type patient struct{ from io.Reader }

func (p patient) Read(b []byte) (int, error) {
	for {
		n, err := p.from.Read(b)
		if n > 0 || !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
}
