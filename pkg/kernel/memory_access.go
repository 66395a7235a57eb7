// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	kcorePath        = "/proc/kcore"
	kptrRestrictPath = "/proc/sys/kernel/kptr_restrict"
	perfParanoidPath = "/proc/sys/kernel/perf_event_paranoid"
)

// SymbolAccess is what this process sees in /proc/kallsyms.
type SymbolAccess string

// SymbolsReadable shows addresses; SymbolsHidden shows 0 for every address.
// KptrRestrict, PerfEventParanoid and CAP_SYSLOG decide between them.
const (
	SymbolsReadable SymbolAccess = "readable"
	SymbolsHidden   SymbolAccess = "hidden"
)

func readSymbolAccess() (SymbolAccess, error) {
	f, err := os.Open(kallsymsPath)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return symbolAccess(f)
}

// symbolAccess looks at addresses until one is not 0. The first symbols of an
// amd64 kernel before 6.15 are per-CPU offsets, the very first of them 0, so
// one line is not enough; 4096 are more than any kernel has at 0.
func symbolAccess(r io.Reader) (SymbolAccess, error) {
	sc := bufio.NewScanner(r)
	seen := false
	for n := 0; n < 4096 && sc.Scan(); n++ {
		l, ok := parseKallsymsLine(bytes.Clone(sc.Bytes()))
		if ok && l.addr != 0 {
			return SymbolsReadable, nil
		}
		seen = seen || ok
	}
	if err := sc.Err(); err != nil {
		return "", fmt.Errorf("reading %s: %w", kallsymsPath, err)
	}
	if !seen {
		return "", errors.New("no symbol in " + kallsymsPath)
	}
	return SymbolsHidden, nil
}

// readKcore opens /proc/kcore and reads its ELF header: the open is what
// lockdown=confidentiality and a missing CAP_SYS_RAWIO refuse.
func readKcore(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return false, fmt.Errorf("reading %s: %w", path, err)
	}
	if string(magic[:]) != "\x7fELF" {
		return false, fmt.Errorf("%s is no ELF file", path)
	}
	return true, nil
}
