// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// spool holds text until it can be printed: little of it in memory, much in a file.
type spool struct {
	memory bytes.Buffer
	file   *os.File // nil as long as there is little
}

// spoolMemory is what is held in memory.
const spoolMemory = 16 << 20

// Write implements io.Writer.
func (s *spool) Write(b []byte) (int, error) {
	if s.file == nil && s.memory.Len()+len(b) > spoolMemory {
		f, err := os.CreateTemp("", "netns-trace-report-*")
		if err != nil {
			return 0, fmt.Errorf("making room for a long report: %w", err)
		}
		// Nobody else needs it, and it is gone with this process.
		os.Remove(f.Name())
		s.file = f
	}
	if s.file == nil {
		return s.memory.Write(b)
	}
	return s.file.Write(b)
}

// writeTo writes all that is held, after an empty line.
func (s *spool) writeTo(w io.Writer) error {
	if s.memory.Len() == 0 && s.file == nil {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if _, err := s.memory.WriteTo(w); err != nil {
		return err
	}
	if s.file == nil {
		return nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("going back to the beginning of a long report: %w", err)
	}
	_, err := io.Copy(w, s.file)
	return err
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}
