// SPDX-License-Identifier: Apache-2.0

// Command marktc loads a tc program, or with -lwt one for a route, that marks every
// packet as verified, by bpf_csum_level(skb, BPF_CSUM_LEVEL_INC), without having looked
// at its checksum. It pins it in a BPF file system, for tc or ip to attach:
//
//	marktc /sys/fs/bpf/mark
//	tc qdisc add dev veth1 clsact
//	tc filter add dev veth1 ingress bpf da object-pinned /sys/fs/bpf/mark
//
//	marktc -lwt /sys/fs/bpf/route
//	ip route add 10.9.0.2 encap bpf xmit pinned /sys/fs/bpf/route dev veth0
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "marktc:", err)
		os.Exit(1)
	}
}

const (
	levelInc = 1 // BPF_CSUM_LEVEL_INC
	actOK    = 0 // TC_ACT_OK, BPF_OK
)

func run(args []string) error {
	kind := ebpf.SchedCLS
	if len(args) > 0 && args[0] == "-lwt" {
		kind, args = ebpf.LWTXmit, args[1:]
	}
	if len(args) != 1 {
		return errors.New("usage: marktc [-lwt] FILE-IN-BPFFS")
	}
	// Before 5.11 programs count as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("raising the limit of locked memory: %w", err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "mark", Type: kind, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R2, levelInc), // R1 is the packet
			asm.FnCsumLevel.Call(),
			asm.Mov.Imm(asm.R0, actOK),
			asm.Return(),
		},
	})
	if err != nil {
		return fmt.Errorf("loading the program: %w", err)
	}
	defer prog.Close()
	if err := prog.Pin(args[0]); err != nil {
		return fmt.Errorf("pinning the program: %w", err)
	}
	return nil
}
