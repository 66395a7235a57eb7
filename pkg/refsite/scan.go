// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Bounds on what is read at once. The largest function of Debian's kernels has
// 40 KiB.
const (
	chunkSize       = 1 << 20
	maxFunctionSize = 256 << 10
)

// maxAttempts is how often a function that does not decode is read: the kernel may
// just be patching it, with an int3 in place of an instruction's first byte.
const maxAttempts = 3

// scanner is the state of one scan.
type scanner struct {
	text    Text
	symbols Symbols
	layout  Layout
	sites   []Site

	flow  flow
	bytes []byte
	code  []instruction
	cold  []instruction
}

// Scan returns the sites in these ranges of text, in order of address. What is
// found where no probe may be placed is among them, with the reason.
func Scan(ctx context.Context, text Text, ranges []Range, symbols Symbols, layout Layout) ([]Site, error) {
	s := &scanner{text: text, symbols: symbols, layout: layout}
	var chunk []byte
	for _, r := range ranges {
		if size := min(chunkSize, r.End-r.Start); uint64(len(chunk)) < size {
			chunk = make([]byte, size)
		}
		var functions []Function
		for start := r.Start; start < r.End; {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("looking for reference sites: %w", err)
			}
			part := chunk[:min(uint64(len(chunk)), r.End-start)]
			if err := text.ReadText(part, start); err != nil {
				return nil, fmt.Errorf("reading text at %#x: %w", start, err)
			}
			functions = s.candidates(functions, part, start)
			if start+uint64(len(part)) == r.End {
				break
			}
			// A site may lie across the end of a chunk.
			start += uint64(len(part)) - longestSite
		}
		for _, f := range functions {
			if err := s.function(f); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(s.sites, func(a, b Site) int { return cmp.Compare(a.Addr, b.Addr) })
	return s.sites, nil
}

// candidates appends the functions that may have a site.
func (s *scanner) candidates(list []Function, text []byte, start uint64) []Function {
	candidates(text, func(at int) {
		addr := start + uint64(at)
		if n := len(list); n > 0 && addr >= list[n-1].Start && addr < list[n-1].End {
			return
		}
		if f, ok := s.symbols.FunctionAt(addr); ok && f.Start <= addr && addr < f.End {
			list = append(list, f)
		}
	})
	return list
}

// function looks for the sites of one function.
func (s *scanner) function(f Function) error {
	code, whole, err := s.decode(s.code[:0], f)
	for attempt := 1; err == nil && !whole && attempt < maxAttempts; attempt++ {
		time.Sleep(time.Millisecond)
		code, whole, err = s.decode(code[:0], f)
	}
	if err != nil {
		return err
	}
	s.code = code
	s.flow.follow(s.layout, code)
	found := len(s.sites)
	s.flow.counted(func(i int, v value) {
		if rule := s.flow.rule(s.layout, v); rule != 0 {
			s.add(f, i, rule, refusal(f, whole))
		}
	})
	return s.checkCold(f, s.sites[found:])
}

// add adds the site that is instruction i of function f.
func (s *scanner) add(f Function, i int, rule Rule, refused Reason) {
	in := s.code[i]
	site := Site{
		Addr:     f.Start + uint64(in.at),
		Symbol:   f.Name,
		Offset:   uint64(in.at),
		Module:   f.Module,
		Op:       Hold,
		Register: in.src,
		Rule:     rule,
		Base:     noRegister,
		Refused:  refused,

		AfterRegister: noRegister,
	}
	if in.disp < 0 {
		site.Op = Put
	}
	if before, ok := s.flow.loadBefore(s.layout, i); ok && rule == Loaded {
		site.LoadAddr, site.Base = f.Start+uint64(s.code[before].at), s.code[before].src
	}
	if after, ok := s.flow.behind(s.layout, i); ok {
		addr := f.Start + uint64(s.code[after.index].at)
		if !s.symbols.StaticBranchInto(f.Module, site.Addr, addr) {
			site.AfterAddr, site.AfterRegister, site.AfterDevice = addr, after.register, after.device
		}
	}
	s.sites = append(s.sites, site)
}

// refusal says why no probe may be placed in a function.
func refusal(f Function, whole bool) Reason {
	switch {
	case f.Module != "" && f.Last:
		return LastInModule
	case !whole:
		return Undecodable
	}
	return ""
}

// decode reads and decodes a function.
func (s *scanner) decode(list []instruction, f Function) ([]instruction, bool, error) {
	size := f.End - f.Start
	whole := size <= maxFunctionSize
	size = min(size, maxFunctionSize)
	if uint64(cap(s.bytes)) < size {
		s.bytes = make([]byte, size)
	}
	text := s.bytes[:size]
	if err := s.text.ReadText(text, f.Start); err != nil {
		return nil, false, fmt.Errorf("reading %s at %#x: %w", f.Name, f.Start, err)
	}
	list, ok := decode(list, text)
	return list, whole && ok, nil
}

// checkCold drops the addresses before and behind sites between which and the site the
// cold part of their function branches. gcc moves what it believes rare to a function of its own, and
// that comes back by a jump.
func (s *scanner) checkCold(f Function, sites []Site) error {
	if !slices.ContainsFunc(sites, func(site Site) bool { return site.LoadAddr != 0 || site.AfterAddr != 0 }) {
		return nil
	}
	for _, cold := range s.symbols.FunctionsNamed(f.Name+".cold", f.Module) {
		code, _, err := s.decode(s.cold[:0], cold)
		if err != nil {
			return err
		}
		s.cold = code
		for _, in := range code {
			if in.kind != jump && in.kind != branch {
				continue
			}
			to := cold.Start + uint64(in.target)
			for i := range sites {
				sites[i].enteredAt(to)
			}
		}
	}
	return nil
}
