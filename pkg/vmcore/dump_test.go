// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"slices"
	"strings"
	"testing"
)

func mustOpen(t *testing.T, file []byte) *Dump {
	t.Helper()
	d, err := Open(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantPage reads a page in two steps that are not on its borders.
func wantPage(t *testing.T, d *Dump, addr uint64, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	err := errors.Join(d.Read(got[:100], addr), d.Read(got[100:], addr+100))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("page at %#x is not what was saved (%v)", addr, err)
	}
}

func wantNotSaved(t *testing.T, d *Dump, addr uint64) {
	t.Helper()
	if err := d.Read(make([]byte, 8), addr); !errors.Is(err, ErrNotSaved) {
		t.Errorf("memory at %#x, which was not saved: %v", addr, err)
	}
}

func TestELFDump(t *testing.T) {
	notes := append(note("CORE", strings.Repeat("x", 336)), note("VMCOREINFO", noted)...)
	d := mustOpen(t, elfDump([]load{
		{at: 0x100000, data: slices.Concat(pageOf(1), pageOf(2)), leftOut: 2 * PageSize},
		{at: 0x101000, data: pageOf(2)}, // the kernel image, which is in memory as a whole too
		{at: 0x105800, data: pageOf(3)[:0x800]},
		{at: 0x106000, data: pageOf(3)[0x800:]},
	}, notes))
	wantPage(t, d, 0x100000, pageOf(1))
	wantPage(t, d, 0x101000, pageOf(2))
	wantPage(t, d, 0x105800, pageOf(3))
	wantNotSaved(t, d, 0x102000)
	wantNotSaved(t, d, 0x101ffc)
	wantNotSaved(t, d, 0x106800)
	want := []Range{{0x100000, 4 * PageSize}, {0x105800, PageSize}}
	if got := d.Memory(); !slices.Equal(got, want) {
		t.Errorf("the machine had memory at %x, want %x", got, want)
	}
	if d.Machine() != elf.EM_X86_64 || d.Info().Release() != "6.12.1-test" {
		t.Errorf("machine %v, release %q", d.Machine(), d.Info().Release())
	}
}

// More program headers than fit into 16 bits: their number is in the first section header.
func TestELFDumpOfManyPieces(t *testing.T) {
	file := elfDump([]load{{at: 0x1000, data: pageOf(1)}}, nil)
	put(file, 56, uint16(manyHeaders))
	put(file, 40, uint64(len(file)))
	section := make([]byte, 64)
	put(section, 44, uint32(2))
	d := mustOpen(t, append(file, section...))
	wantPage(t, d, 0x1000, pageOf(1))
}

func TestKdump(t *testing.T) {
	// Pages in three blocks of the bitmap, and beyond a table of descriptors.
	saved := map[int][]byte{0: pageOf(0), 5: make([]byte, PageSize), 40_000: pageOf(40_000), 70_000: pageOf(70_000)}
	for n := 100; n < 400; n++ {
		saved[n] = pageOf(n)
	}
	file := kdump{saved: saved, leftOut: []int{1, 2, 70_001}}
	for name, pack := range map[string]func([]byte) ([]byte, uint32){
		"uncompressed": nil, "zlib": packZlib, "snappy": packSnappy, "zstd": packZstd(t),
	} {
		t.Run(name, func(t *testing.T) {
			file.pack = pack
			for form, raw := range map[string][]byte{"raw": file.file(), "flattened": flatten(file.file(), 16<<10)} {
				d := mustOpen(t, raw)
				for n, page := range saved {
					wantPage(t, d, uint64(n)*PageSize, page)
				}
				for _, n := range []uint64{1, 2, 99, 400, 70_001, 70_002, 1 << 40} {
					wantNotSaved(t, d, n*PageSize)
				}
				want := []Range{
					{0, 3 * PageSize},
					{5 * PageSize, PageSize},
					{100 * PageSize, 300 * PageSize},
					{40_000 * PageSize, PageSize},
					{70_000 * PageSize, 2 * PageSize},
				}
				if got := d.Memory(); !slices.Equal(got, want) {
					t.Errorf("%s: the machine had memory at %x, want %x", form, got, want)
				}
				if d.Info().Release() != "6.12.1-test" || d.Machine() != elf.EM_X86_64 {
					t.Errorf("%s: release %q, machine %v", form, d.Info().Release(), d.Machine())
				}
			}
		})
	}
}

// An early version has no number of pages in the second header.
func TestKdumpOfAnEarlierVersion(t *testing.T) {
	d := mustOpen(t, kdump{version: 3, saved: map[int][]byte{3: pageOf(3), 9: pageOf(9)}}.file())
	wantPage(t, d, 3*PageSize, pageOf(3))
	wantPage(t, d, 9*PageSize, pageOf(9))
	if d.Info().Release() != "6.12.1-test" {
		t.Errorf("release %q", d.Info().Release())
	}
}

// A dump that was cut off: what is there can be read, the rest counts as not saved.
func TestDumpThatWasCutOff(t *testing.T) {
	compressed := kdump{saved: map[int][]byte{0: pageOf(0), 1: pageOf(1)}}.file()
	whole := elfDump([]load{{at: 0, data: slices.Concat(pageOf(0), pageOf(1))}}, nil)
	for name, file := range map[string][]byte{"kdump": compressed, "ELF": whole, "flattened": flatten(compressed, 5000)} {
		t.Run(name, func(t *testing.T) {
			d := mustOpen(t, file[:len(file)-PageSize/2])
			wantPage(t, d, 0, pageOf(0))
			wantNotSaved(t, d, 2*PageSize-8)
		})
	}
}

// makedumpfile writes its header again at the end.
func TestFlattenedPartThatIsReplaced(t *testing.T) {
	file := kdump{saved: map[int][]byte{0: pageOf(0)}}.file()
	parts := make([]byte, flattenedHeader)
	copy(parts, flatten(file, len(file))[:flattenedHeader])
	parts = flattenedPart(parts, 0, make([]byte, PageSize))
	parts = flattenedPart(parts, PageSize, file[PageSize:])
	parts = flattenedPart(parts, 0, file[:PageSize])
	wantPage(t, mustOpen(t, parts), 0, pageOf(0))
}

func TestWhatIsNoDump(t *testing.T) {
	kdumpWith := func(change func(header, sub []byte)) []byte {
		return kdump{saved: map[int][]byte{0: pageOf(0)}, change: change}.file()
	}
	program := elfDump(nil, nil)
	put(program, 16, uint16(elf.ET_EXEC))
	small := elfDump(nil, nil)
	small[elf.EI_CLASS] = byte(elf.ELFCLASS32)
	overlapping := flattenedPart(flatten(nil, 1)[:flattenedHeader], 0, make([]byte, 100))
	overlapping = flattenedPart(overlapping, 50, make([]byte, 100))
	for name, c := range map[string]struct {
		file []byte
		want error
		says string
	}{
		"nothing":                {nil, ErrNotDump, ""},
		"text":                   {bytes.Repeat([]byte("text "), 100), ErrNotDump, ""},
		"a program":              {program, ErrNotDump, "no core file"},
		"32 bits":                {small, ErrRefused, "64 bits"},
		"LZO":                    {kdumpWith(func(h, _ []byte) { put(h, 424, uint32(compressedLZO)) }), ErrRefused, "LZO"},
		"a part":                 {kdumpWith(func(_, sub []byte) { put(sub, 12, uint32(1)) }), ErrRefused, "makedumpfile --reassemble"},
		"other pages":            {kdumpWith(func(h, _ []byte) { put(h, 428, uint32(65536)) }), ErrRefused, "pages of 65536 bytes"},
		"no headers":             {kdumpWith(func(h, _ []byte) { put(h, 432, uint32(0)) }), ErrDamaged, ""},
		"a short bitmap":         {kdumpWith(func(_, sub []byte) { put(sub, 96, uint64(1<<33)) }), ErrDamaged, "8589934592 pages"},
		"too many pages":         {kdumpWith(func(h, sub []byte) { put(h, 436, uint32(1<<30)); put(sub, 96, uint64(1<<35)) }), ErrDamaged, "pages"},
		"cut off early":          {kdumpWith(nil)[:PageSize+10], ErrDamaged, "ends before its header"},
		"no bitmap":              {kdumpWith(nil)[:2*PageSize+10], ErrDamaged, "ends before its bitmaps"},
		"flattened twice":        {flatten(flatten(program, 100), 100), ErrDamaged, "twice"},
		"flattened nothing":      {flatten(nil, 1), ErrNotDump, ""},
		"flattened, overlapping": {overlapping, ErrRefused, "makedumpfile -R"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(bytes.NewReader(c.file))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, want %v and %q", err, c.want, c.says)
			}
		})
	}
}

func TestPageThatCannotBeUncompressed(t *testing.T) {
	page := pageOf(1)
	for name, c := range map[string]struct {
		pack func([]byte) ([]byte, uint32)
		want error
	}{
		"not zlib":    {func([]byte) ([]byte, uint32) { return []byte("not zlib"), compressedZlib }, ErrDamaged},
		"not zstd":    {func([]byte) ([]byte, uint32) { return []byte("not zstd"), compressedZstd }, ErrDamaged},
		"not snappy":  {func([]byte) ([]byte, uint32) { return []byte("\xff\xff\xff\xff\x0fx"), compressedSnappy }, ErrDamaged},
		"half a page": {func([]byte) ([]byte, uint32) { return packZlib(page[:2048]) }, ErrDamaged},
		"two pages":   {func([]byte) ([]byte, uint32) { return packSnappy(slices.Concat(page, page)) }, ErrDamaged},
		"LZO":         {func([]byte) ([]byte, uint32) { return []byte("lzo"), compressedLZO }, ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			d := mustOpen(t, kdump{saved: map[int][]byte{0: page}, pack: c.pack}.file())
			if err := d.Read(make([]byte, 8), 0); !errors.Is(err, c.want) {
				t.Errorf("it says %v, want %v", err, c.want)
			}
		})
	}
}

func TestInfo(t *testing.T) {
	i := ParseInfo([]byte(noted + "\x00SYMBOL(beyond)=1\n"))
	if at, ok := i.Symbol("swapper_pg_dir"); at != 0xffffffffba822000 || !ok {
		t.Errorf("swapper_pg_dir is at %#x, %t", at, ok)
	}
	if n, ok := i.Number("phys_base"); n != -708837376 || !ok {
		t.Errorf("phys_base is %d, %t", n, ok)
	}
	if when, ok := i.CrashTime(); when.Unix() != 1763840000 || !ok {
		t.Errorf("it crashed %v, %t", when, ok)
	}
	if _, ok := i.Symbol("beyond"); ok {
		t.Error("what follows the end was read")
	}
	if _, ok := i.Number("VMALLOC_START"); ok { // as a signed number it has no place
		t.Error("a number of 64 bits was read as a signed one")
	}
}

// QEMU knows nothing of the note, which is in the memory.
func TestSearchInfo(t *testing.T) {
	page, template := pageOf(1), pageOf(2)
	copy(page, noted+"\x00")
	copy(template, "OSRELEASE=%s\n\x00") // what the kernel makes it of
	inside := append([]byte("x"), page[:PageSize-1]...)
	d := mustOpen(t, elfDump([]load{{at: 0x1000, data: slices.Concat(template, inside, page), leftOut: PageSize}}, nil))
	if err := d.SearchInfo(t.Context()); err != nil || d.Info().Release() != "6.12.1-test" {
		t.Errorf("it found %v (%v)", d.Info(), err)
	}
	d = mustOpen(t, elfDump([]load{{at: 0, data: slices.Concat(template, inside)}}, nil))
	if err := d.SearchInfo(t.Context()); !errors.Is(err, ErrNoInfo) {
		t.Errorf("without a note it says %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := d.SearchInfo(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted, it says %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	pages := map[int][]byte{0: pageOf(0), 3: pageOf(3), 33_000: pageOf(1)}
	for _, pack := range []func([]byte) ([]byte, uint32){nil, packZlib, packSnappy, packZstd(f)} {
		f.Add(kdump{saved: pages, leftOut: []int{7}, pack: pack}.file())
	}
	f.Add(flatten(kdump{saved: map[int][]byte{0: pageOf(0)}, pack: packZlib}.file(), 5000))
	f.Add(elfDump([]load{{at: 0x1000, data: pageOf(1), leftOut: PageSize}}, note("VMCOREINFO", noted)))
	f.Fuzz(func(t *testing.T, file []byte) {
		d, err := Open(bytes.NewReader(file))
		if err != nil {
			return
		}
		total := uint64(0)
		for _, r := range d.Memory() {
			total += r.Size
			var b [2 * PageSize]byte
			for _, at := range []uint64{r.Start, r.Start + r.Size/2, r.Start + r.Size - PageSize} {
				_ = d.Read(b[:], at)
			}
		}
		const most = 64 << 20
		if total < most {
			_ = d.SearchInfo(t.Context())
		}
	})
}
