// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

// maxTargets bounds the addresses that are counted.
const maxTargets = 4096

// counter is a program that counts its hits by address.
type counter struct {
	program *ebpf.Program
	hits    *ebpf.Map
}

func newCounter() (counter, error) {
	hits, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "hits", Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: maxTargets,
	})
	if err != nil {
		return counter{}, err
	}
	const ip = 16 * 8 // in struct pt_regs of x86-64
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "count_hits", Type: ebpf.Kprobe, License: "GPL",
		Instructions: asm.Instructions{
			// The address is one below: where the int3 was hit, and where the kernel
			// says it was when a jump has replaced that.
			asm.LoadMem(asm.R2, asm.R1, ip, asm.DWord),
			asm.Sub.Imm(asm.R2, 1),
			asm.StoreMem(asm.RFP, -8, asm.R2, asm.DWord),
			asm.LoadMapPtr(asm.R1, hits.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -8),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	return counter{program, hits}, err
}

// expect makes room for the counts of these addresses.
func (c counter) expect(targets []textprobe.Target) error {
	for _, t := range targets {
		err := c.hits.Update(t.Addr, uint64(0), ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("making room for a count: %w", err)
		}
	}
	return nil
}

// tell prints the sum of all hits, and at how many addresses they were.
func (c counter) tell() error {
	var addr, n, hits uint64
	places := 0
	it := c.hits.Iterate()
	for it.Next(&addr, &n) {
		if n > 0 {
			places++
			hits += n
		}
	}
	fmt.Printf("hits=%d places=%d\n", hits, places)
	return it.Err()
}
