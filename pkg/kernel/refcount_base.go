// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"strconv"
	"strings"
)

// RefcountBase is the reference count of a net_device that nobody holds.
type RefcountBase struct {
	// Base is 0 or 1: leaked references are the usage count minus Base.
	Base int `json:"base"`
	// Sure is true when the kernel's release agrees with its symbols.
	Sure bool `json:"sure"`
}

// RefcountBase says from where the kernel counts references of a net_device.
//
// Since add2d7363107 (5.13) the count starts at 1 and the device is freed at 1;
// before, it starts at 0. The commit leaves no trace in symbols or types, so
// the variable netdev_unregister_timeout_secs stands for it: it came with the
// same release. That is an inference, right for every kernel
// that has both or neither. A vendor kernel may have backported one of them
// alone; when release and symbol disagree the answer follows the symbol and is
// not Sure, and the count of a device at rest should decide.
//
// The variable has moved since (7.3 has no such symbol), so from 5.17 on a field
// stands for it: net_device.refcnt_tracker (4d92b95ff2f9). types may be nil.
func (f Facts) RefcountBase(s *Symbols, types *Types) Fact[RefcountBase] {
	const variable = "netdev_unregister_timeout_secs"
	newer, releaseErr := false, f.Release.Err
	if releaseErr == nil {
		newer, releaseErr = atLeast(f.Release.Value, 5, 13)
	}
	const structName, field = "net_device", "refcnt_tracker"
	if types != nil {
		if has, err := types.HasField(structName, field); err == nil && has {
			return Fact[RefcountBase]{
				Value:  RefcountBase{Base: 1, Sure: true},
				Source: "BTF " + structName + "." + field + " (5.17)",
			}
		}
	}
	switch {
	case s != nil && len(s.LookupData(variable)) > 0:
		return Fact[RefcountBase]{
			Value:  RefcountBase{Base: 1, Sure: releaseErr == nil && newer},
			Source: "symbol " + variable + " (5.13)",
		}
	case s != nil && len(s.LookupData("init_net")) > 0:
		// init_net is data of every kernel: this table does list data.
		return Fact[RefcountBase]{
			Value:  RefcountBase{Base: 0, Sure: releaseErr == nil && !newer},
			Source: "no symbol " + variable + " (5.13)",
		}
	case releaseErr != nil:
		return Fact[RefcountBase]{Source: "symbols and release", Err: releaseErr}
	}
	// Without CONFIG_KALLSYMS_ALL no variable is listed; the release is all
	// there is.
	base := 0
	if newer {
		base = 1
	}
	return Fact[RefcountBase]{
		Value:  RefcountBase{Base: base},
		Source: "release " + f.Release.Value + " (no data symbols to look at)",
	}
}

// atLeast compares the first two numbers of a release such as
// "6.1.0-42-amd64".
func atLeast(release string, major, minor int) (bool, error) {
	numbers := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(numbers) < 2 || !strings.HasPrefix(release, numbers[0]+"."+numbers[1]) {
		return false, errors.New("kernel release not understood: " + strconv.Quote(release))
	}
	a, errA := strconv.Atoi(numbers[0])
	b, errB := strconv.Atoi(numbers[1])
	if err := errors.Join(errA, errB); err != nil {
		return false, err
	}
	return a > major || a == major && b >= minor, nil
}
