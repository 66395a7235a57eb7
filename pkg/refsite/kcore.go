// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"debug/elf"
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// Kcore is the running kernel's memory. It is a [Text].
type Kcore struct{ core *kernel.Core }

// OpenKcore opens /proc/kcore, which takes CAP_SYS_RAWIO and a kernel that is not
// locked down for confidentiality. Returns an error wrapping [ErrArchitecture] on
// machines other than x86-64. The caller closes it.
func OpenKcore() (*Kcore, error) {
	core, err := kernel.OpenCore()
	if err != nil {
		return nil, err
	}
	if machine := core.Machine(); machine != elf.EM_X86_64 {
		core.Close()
		return nil, fmt.Errorf("the running kernel: %w, not %s", ErrArchitecture, machine)
	}
	return &Kcore{core}, nil
}

// Close closes the file, of which nothing is kept.
func (k *Kcore) Close() { k.core.Close() }

// ReadText implements [Text].
func (k *Kcore) ReadText(b []byte, addr uint64) error { return k.core.Read(b, addr) }
