// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/binary"
)

// message is a protobuf message that is being put together, as far as a trace of
// Perfetto needs it.
type message []byte

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

func (m message) tag(field, wire uint64) message { return binary.AppendUvarint(m, field<<3|wire) }

func (m message) uint(field, v uint64) message {
	return binary.AppendUvarint(m.tag(field, wireVarint), v)
}

func (m message) int(field uint64, v int64) message { return m.uint(field, uint64(v)) }

func (m message) fixed64(field, v uint64) message {
	return binary.LittleEndian.AppendUint64(m.tag(field, wireFixed64), v)
}

func (m message) text(field uint64, s string) message {
	return append(binary.AppendUvarint(m.tag(field, wireBytes), uint64(len(s))), s...)
}

func (m message) message(field uint64, inner message) message { return m.text(field, string(inner)) }
