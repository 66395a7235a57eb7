// SPDX-License-Identifier: Apache-2.0

package lab

import "context"

const qemuProgram = "qemu-system-x86_64"

// emulator is the QEMU of a release that is newer than a host may have. That of
// bookworm (7.2) can go on executing what was there before a kernel patched its code,
// if another processor translated it at that moment. The kernel then meets a breakpoint
// that it took away long ago, and dies ("Oops: int3"): after seconds, where static
// branches are switched to and fro (the lab's test "patched code").
func emulator() Portable {
	return Portable{
		Name:     "qemu",
		Suite:    "trixie",
		Packages: []string{"qemu-system-x86"},
		Programs: []string{qemuProgram},
		Data: []string{
			"usr/share/seabios/bios-256k.bin",
			"usr/share/qemu/kvmvapic.bin",
			"usr/share/qemu/linuxboot_dma.bin",
		},
	}
}

// FetchEmulator returns the directory of the emulator, which [Boot] would fetch too.
func FetchEmulator(ctx context.Context, cache Cache) (dir string, err error) {
	return emulator().Fetch(ctx, cache)
}
