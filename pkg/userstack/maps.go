// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
)

// mapping is one line of /proc/PID/maps.
type mapping struct {
	start, end uint64 // end is exclusive
	offset     uint64 // of start in the file
	inode      uint64 // 0 when no file is mapped
	path       string // as printed; "" for anonymous memory
}

// maxMapsLine: a path is at most 4096 bytes, four times that when every byte is
// escaped, and the fields before it under 100.
const maxMapsLine = 20 << 10

// findMappings reads the text of /proc/PID/maps and returns, by address, the
// mappings that hold the wanted addresses. Only those are kept: a process may
// have 65,530 mappings and more.
func findMappings(r io.Reader, addrs []uint64) (map[uint64]*mapping, error) {
	wanted := append([]uint64(nil), addrs...)
	sort.Slice(wanted, func(i, j int) bool { return wanted[i] < wanted[j] })
	found := make(map[uint64]*mapping)
	br := bufio.NewReaderSize(r, maxMapsLine)
	for {
		line, err := br.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if m, ok := parseMapsLine(line); ok && !tooLong {
			kept := false
			from := sort.Search(len(wanted), func(i int) bool { return wanted[i] >= m.start })
			for _, a := range wanted[from:] {
				if a >= m.end {
					break
				}
				if !kept {
					m, kept = clonePath(m), true
				}
				found[a] = &m.mapping
			}
		}
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("reading memory map: %w", err)
		}
	}
}

// mapsLine is a mapping whose path is still in the line's buffer.
type mapsLine struct {
	mapping
	rawPath []byte
}

func clonePath(m mapsLine) mapsLine {
	m.path = string(m.rawPath)
	return m
}

// parseMapsLine takes
//
//	55a3968e5000-55a3968eb000 r-xp 00002000 fe:00 247278    /usr/bin/head
//
// where the path may be missing and may contain spaces.
func parseMapsLine(line []byte) (mapsLine, bool) {
	var m mapsLine
	line = bytes.TrimSuffix(line, []byte{'\n'})
	var fields [5][]byte
	rest := line
	for i := range fields {
		rest = bytes.TrimLeft(rest, " ")
		end := bytes.IndexByte(rest, ' ')
		if end < 0 {
			end = len(rest)
		}
		fields[i], rest = rest[:end], rest[end:]
	}
	from, to, ok := bytes.Cut(fields[0], []byte{'-'})
	var errs [4]error
	m.start, errs[0] = strconv.ParseUint(string(from), 16, 64)
	m.end, errs[1] = strconv.ParseUint(string(to), 16, 64)
	m.offset, errs[2] = strconv.ParseUint(string(fields[2]), 16, 64)
	m.inode, errs[3] = strconv.ParseUint(string(fields[4]), 10, 64)
	if !ok || errs != [4]error{} || m.start >= m.end || m.offset+(m.end-m.start) < m.offset {
		return m, false
	}
	m.rawPath = bytes.TrimLeft(rest, " ")
	return m, true
}
