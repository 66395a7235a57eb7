// SPDX-License-Identifier: Apache-2.0

// Package pins finds network namespaces that nobody lives in and nobody can name any
// more, and that are alive all the same because a thread, a descriptor, a socket or a
// bind mount keeps them. See docs/pins.md.
package pins

import (
	"cmp"
	"maps"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// The kinds, of class refs.
const (
	KindPinned = "pinned" // a namespace that is kept alive
	KindPin    = "pin"    // what keeps it
)

// maxNamespaces bounds how many are remembered in one look.
const maxNamespaces = 1 << 16

// Detector takes in two looks at what keeps namespaces alive, and judges at the end of
// the second: what is pinned by both is.
type Detector struct {
	known      *finding.Knowledge
	look       record.NetnsLook
	before     map[uint32]uint64 // cookies of those that were pinned at the first look
	listed     bool
	namespaces map[uint32]*namespace
	mail       int // unix sockets with more messages than were looked at
	cut        bool
	unseen     []string
	statements []Statement
}

// New makes a detector that words its findings with known.
func New(known *finding.Knowledge) *Detector { return &Detector{known: known} }

// Class implements trace.Detector.
func (d *Detector) Class() finding.Class { return finding.Refs }

// Wake implements trace.Detector: it waits for nothing.
func (d *Detector) Wake() uint64 { return 0 }

// Observe implements trace.Detector.
func (d *Detector) Observe(rec record.Record, emit func(*finding.Finding)) {
	switch r := rec.(type) {
	case *record.NetnsLook:
		*d = Detector{known: d.known, look: *r, before: d.before, namespaces: make(map[uint32]*namespace)}
	case *record.NetnsTask:
		if n := d.namespace(r.Netns.Inode); n != nil {
			n.saw(r)
		}
	case *record.NetnsFile:
		d.file(r)
	case *record.NetnsMount:
		if n := d.namespace(r.Inode); n != nil {
			n.mounted(r)
		}
	case *record.NetnsAlive:
		if n := d.namespace(r.Netns.Inode); n != nil {
			alive := *r
			n.id, n.alive = r.Netns, &alive
		}
	case *record.NetnsList:
		d.listed = true
	case *record.NetnsLooked:
		d.unseen = slices.Clone(r.Unseen)
		d.judge(r.When(), emit)
	}
}

func (d *Detector) wanted(inode uint32) bool {
	if d.look.Only != 0 {
		return inode == d.look.Only
	}
	return inode != d.look.Skip
}

// namespace gives that of an inode; nil when it is not looked at, or there are too
// many.
func (d *Detector) namespace(inode uint32) *namespace {
	if n := d.namespaces[inode]; n != nil || !d.wanted(inode) {
		return n
	}
	if d.namespaces == nil || len(d.namespaces) >= maxNamespaces {
		d.cut = true
		return nil
	}
	n := &namespace{id: record.NetnsID{Inode: inode}}
	d.namespaces[inode] = n
	return n
}

// file takes in a descriptor. Of a namespace that is in use they are many, and are
// looked at only when the user asks for that one.
func (d *Detector) file(r *record.NetnsFile) {
	if r.Kind == record.NetnsFileCut {
		d.mail++
		return
	}
	n := d.namespace(r.Netns.Inode)
	if n == nil || d.look.Only == 0 && n.inhabited() {
		return
	}
	n.opened(r)
}

// judge tells what is pinned, and states what the user asked for and is not.
func (d *Detector) judge(at uint64, emit func(*finding.Finding)) {
	if !d.look.Again {
		d.remember()
		return
	}
	all := slices.SortedFunc(maps.Values(d.namespaces), func(a, b *namespace) int {
		return cmp.Compare(a.id.Inode, b.id.Inode)
	})
	for _, n := range all {
		cookie, before := d.before[n.id.Inode]
		switch {
		case d.gone(n):
		case n.verdict() != pinned:
			if d.look.Only != 0 {
				d.statements = append(d.statements, d.state(n))
			}
		case before && cookie == n.id.Cookie:
			d.report(n, at, emit)
		}
	}
}

// gone reports whether the cleanup of a namespace has begun: it is off the list, or
// about to be. If it was made after the list was gone through, that is not seen either.
func (d *Detector) gone(n *namespace) bool {
	return d.listed && (n.alive == nil || n.alive.References == 0)
}

// remember ends the first look.
func (d *Detector) remember() {
	d.before = make(map[uint32]uint64)
	for inode, n := range d.namespaces {
		if !d.gone(n) && n.verdict() == pinned {
			d.before[inode] = n.id.Cookie
		}
	}
}

// Statements are of the namespace that was asked for, if it is no finding: in use, or
// named.
func (d *Detector) Statements() []Statement { return d.statements }
