// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"cmp"
	"slices"
)

// block is a run of instructions that is entered at its first only.
type block struct {
	first, end int32    // instructions, end exclusive
	next       [2]int32 // blocks that may follow; -1 is none
	preds      []int32  // blocks that may come before
	// root says that it is also entered from where the graph does not show: the
	// function's first block, and what is reached through a table, after an
	// exception, from a cold part, or through a static branch that is off.
	root bool
}

// graph is the control flow of one function. It is used again for the next, to
// keep its memory.
type graph struct {
	code   []instruction
	blocks []block
	starts []bool // of each instruction: does a block start there
}

// build makes the graph of code.
func (g *graph) build(code []instruction) {
	g.code = code
	g.starts = cleared(g.starts, len(code))
	g.blocks = g.blocks[:0]
	if len(code) == 0 {
		return
	}
	g.starts[0] = true
	for i, in := range code {
		switch in.kind {
		case jump, branch:
			if to, ok := g.find(in.target); ok {
				g.starts[to] = true
			}
		case leave:
		default:
			continue
		}
		if i+1 < len(code) {
			g.starts[i+1] = true
		}
	}
	for i := range code {
		if g.starts[i] {
			g.addBlock(int32(i))
		}
	}
	g.blocks[len(g.blocks)-1].end = int32(len(code))
	g.join()
}

func (g *graph) addBlock(first int32) {
	n := len(g.blocks)
	if n > 0 {
		g.blocks[n-1].end = first
	}
	if n < cap(g.blocks) {
		g.blocks = g.blocks[:n+1]
	} else {
		g.blocks = append(g.blocks, block{})
	}
	b := &g.blocks[n]
	*b = block{first: first, next: [2]int32{-1, -1}, preds: b.preds[:0]}
}

// join connects the blocks.
func (g *graph) join() {
	for i := range g.blocks {
		b := &g.blocks[i]
		last := g.code[b.end-1]
		if last.kind == jump || last.kind == branch {
			if to, ok := g.find(last.target); ok {
				b.next[0] = g.blockOf(int32(to))
			}
		}
		if last.kind != jump && last.kind != leave && i+1 < len(g.blocks) {
			b.next[1] = int32(i + 1)
		}
		for _, to := range b.next {
			if to >= 0 {
				g.blocks[to].preds = append(g.blocks[to].preds, int32(i))
			}
		}
	}
}

// find returns the instruction that starts at offset at.
func (g *graph) find(at int64) (int, bool) {
	return slices.BinarySearchFunc(g.code, at, func(in instruction, at int64) int {
		return cmp.Compare(int64(in.at), at)
	})
}

// blockOf returns the block that holds instruction i.
func (g *graph) blockOf(i int32) int32 {
	n, found := slices.BinarySearchFunc(g.blocks, i, func(b block, i int32) int { return cmp.Compare(b.first, i) })
	if !found {
		n--
	}
	return int32(n)
}
