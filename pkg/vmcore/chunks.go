// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// chunks reads what lies one after the other in a file.
type chunks struct{ in *bufio.Reader }

func newChunks(r io.Reader) chunks {
	const size = 64 << 10
	return chunks{bufio.NewReaderSize(r, size)}
}

// next fills b with what comes next; what is told if the file ends before that.
func (c chunks) next(b []byte, what string) error {
	_, err := io.ReadFull(c.in, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends before its %s", ErrDamaged, what)
	}
	return err
}
