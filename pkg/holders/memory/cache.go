// SPDX-License-Identifier: Apache-2.0

package memory

import "fmt"

// cachedPages bounds what is kept: 8 MiB.
const cachedPages = 2048

// cache keeps pages that were read, so that the many small fields of an object cost
// one read.
type cache struct {
	reader Reader
	pages  map[uint64]*[PageSize]byte // nil: it cannot be read
	spare  []*[PageSize]byte
}

func (c *cache) read(b []byte, addr uint64) error {
	for len(b) > 0 {
		page, err := c.page(addr &^ (PageSize - 1))
		if err != nil {
			return err
		}
		n := copy(b, page[addr&(PageSize-1):])
		b, addr = b[n:], addr+uint64(n)
	}
	return nil
}

func (c *cache) page(addr uint64) (*[PageSize]byte, error) {
	if addr < 1<<63 {
		return nil, fmt.Errorf("%#x is no address of the kernel", addr)
	}
	page, known := c.pages[addr]
	if !known {
		if c.pages == nil || len(c.pages) >= cachedPages {
			c.forget()
		}
		page = c.room()
		if err := c.reader.Read(page[:], addr); err != nil {
			c.spare = append(c.spare, page)
			page = nil
		}
		c.pages[addr] = page
	}
	if page == nil {
		return nil, fmt.Errorf("kernel memory at %#x cannot be read", addr)
	}
	return page, nil
}

func (c *cache) room() *[PageSize]byte {
	if n := len(c.spare); n > 0 {
		page := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return page
	}
	return new([PageSize]byte)
}

func (c *cache) forget() {
	for _, page := range c.pages {
		if page != nil {
			c.spare = append(c.spare, page)
		}
	}
	c.pages = make(map[uint64]*[PageSize]byte)
}
