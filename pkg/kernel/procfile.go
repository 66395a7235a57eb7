// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// maxSmallFile bounds files that hold one value or a short list.
const maxSmallFile = 1 << 20

// readTrimmed returns the text of a small file of /proc or /sys without the
// white space around it.
func readTrimmed(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmallFile))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func readInt(path string) (int, error) {
	text, err := readTrimmed(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s is no number: %w", path, err)
	}
	return n, nil
}

// readSwitch reads a file that holds 0 or 1.
func readSwitch(path string) (bool, error) {
	n, err := readInt(path)
	if err != nil {
		return false, err
	}
	if n != 0 && n != 1 {
		return false, fmt.Errorf("%s holds %d, neither 0 nor 1", path, n)
	}
	return n == 1, nil
}

// explained adds to "no such file" what its absence means.
func explained[T any](meaning string, read func(path string) (T, error), path string) func() (T, error) {
	return func() (T, error) {
		v, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w", meaning, err)
		}
		return v, err
	}
}
