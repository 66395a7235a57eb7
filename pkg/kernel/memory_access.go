// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

const (
	kcorePath        = "/proc/kcore"
	hostKcorePath    = "/host/proc/kcore" // in a container, where the DaemonSet mounts it
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

// errMasked is what containers see: runtimes bind /dev/null over /proc/kcore.
var errMasked = errors.New("there is nothing in it, as in containers: mount the host's at " + hostKcorePath)

// openKcore opens the kernel's memory at the first path, and at the second where there
// is nothing in the first. The open is what lockdown=confidentiality and a missing
// CAP_SYS_RAWIO refuse.
func openKcore(path, host string) (*os.File, error) {
	f, err := openCoreFile(path)
	if !errors.Is(err, errMasked) {
		return f, err
	}
	f, hostErr := openCoreFile(host)
	if errors.Is(hostErr, fs.ErrNotExist) {
		return nil, err
	}
	return f, hostErr
}

func openCoreFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, len(elf.ELFMAG))
	switch _, err = f.ReadAt(magic, 0); {
	case errors.Is(err, io.EOF):
		err = errMasked
	case err == nil && string(magic) != elf.ELFMAG:
		err = errors.New("it is no ELF file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return f, nil
}

// readKcore reports whether the kernel's memory can be opened.
func readKcore(path string) (bool, error) {
	f, err := openKcore(path, hostKcorePath)
	if err != nil {
		return false, err
	}
	return true, f.Close()
}
