// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"fmt"
	"os"
)

// Defaults of Options.
const (
	defaultMaxFiles = 128
	defaultMaxBytes = 32 << 20
)

// Options bounds what a Resolver keeps; 0 takes the default.
type Options struct {
	// MaxFiles is the number of files remembered, 128 by default.
	MaxFiles int
	// MaxBytes is the memory for their symbol indexes, 32 MiB by default. A
	// file whose index alone would need more is not indexed.
	MaxBytes int64
}

// Resolver names addresses of processes. It keeps no file open and is safe for
// concurrent use.
type Resolver struct {
	cache *cache
}

// New returns a Resolver that has read nothing yet.
func New(o Options) *Resolver {
	if o.MaxFiles <= 0 {
		o.MaxFiles = defaultMaxFiles
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	return &Resolver{cache: newCache(o.MaxFiles, o.MaxBytes)}
}

// Resolve names the addresses of a call stack of the process tgid (in the PID
// namespace of /proc), innermost first, one frame for each address. The first is
// taken for an instruction pointer, the others for return addresses: their
// function and line are those of the call before. What cannot be found out is
// left empty in its frame; for a process that is gone that is everything but the
// address. The answer describes the process as it is now: after an exec it is
// not the one that had this stack.
func (r *Resolver) Resolve(tgid int, addrs []uint64) []Frame {
	frames := make([]Frame, len(addrs))
	for i, a := range addrs {
		frames[i].Addr = a
	}
	if len(addrs) == 0 {
		return frames
	}
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", tgid))
	if err != nil {
		return frames
	}
	// A process that exits while its map is read ends the map early; what
	// was found stays right.
	found, _ := findMappings(maps, addrs)
	maps.Close()

	byMapping := make(map[*mapping][]int)
	for i, a := range addrs {
		m, ok := found[a]
		if !ok {
			continue
		}
		frames[i].File = m.path
		frames[i].FileOffset = a - m.start + m.offset
		if m.inode != 0 {
			byMapping[m] = append(byMapping[m], i)
		}
	}
	for m, indexes := range byMapping {
		r.nameFrames(tgid, m, frames, indexes)
	}
	return frames
}

// nameFrames names the frames that lie in one mapping.
func (r *Resolver) nameFrames(tgid int, m *mapping, frames []Frame, indexes []int) {
	file, key, err := openMapped(tgid, m)
	if err != nil {
		return
	}
	defer file.Close()
	im := r.cache.get(key, func() *image { return newImage(file, key.size, r.cache.maxBytes) })
	for _, i := range indexes {
		f := &frames[i]
		lookup := f.FileOffset
		if i > 0 && lookup > 0 {
			lookup--
		}
		im.name(file, f, lookup)
	}
}
