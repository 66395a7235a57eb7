// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

func TestOpen(t *testing.T) {
	for name, e := range map[string]encoding{"6.0": fromBaseBelow, "6.15": fromBase, "7.0": fromPlace} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			m.tell(e)
			k, err := Open(t.Context(), m.dump(t), "")
			if err != nil {
				t.Fatal(err)
			}
			wantKernel(t, k)
			if e == fromBaseBelow {
				wantSymbol(t, k, kernel.Symbol{Name: "cpu_hot", Addr: 0x1c0, Type: 'A'})
			}
		})
	}
}

// QEMU 10.0 calls the machine "Unknown" in dumps of the compressed format.
func TestMachineThatIsNotNamed(t *testing.T) {
	m := newMachine()
	m.tell(fromBase)
	m.is = elf.EM_NONE
	k, err := Open(t.Context(), m.dump(t), "")
	if err != nil {
		t.Fatal(err)
	}
	wantKernel(t, k)
}

// wantKernel checks what every machine of these tests has.
func wantKernel(t *testing.T, k *Kernel) {
	t.Helper()
	if k.Release != release || k.ModulesMissing {
		t.Errorf("release %q, modules missing: %t", k.Release, k.ModulesMissing)
	}
	wantSymbol(t, k, kernel.Symbol{Name: "dev_hold", Addr: imageAt + 0x100, Type: 'T'})
	wantSymbol(t, k, kernel.Symbol{Name: "llc_bind", Addr: modulesAt, Type: 't', Module: "llc2"})
	if _, ok := k.Types.Struct("llc_sock"); !ok || !slices.Equal(k.Types.Modules(), []string{"llc2"}) {
		t.Errorf("types of modules %v, of llc_sock %t", k.Types.Modules(), ok)
	}
	if want := (Clock{When: time.Unix(1763840000, 5e8), Boottime: 120*time.Second + 5e8}); !k.Clock.When.Equal(want.When) || k.Clock.Boottime != want.Boottime {
		t.Errorf("the clock was %v, want %v", k.Clock, want)
	}
	wantSegments := []kernel.Segment{
		{Addr: directAt, Size: memorySize, PhysicalKnown: true},
		{Addr: imageAt, Size: imageSize, Physical: imagePhys, PhysicalKnown: true},
	}
	if got := k.Memory.Segments(); !slices.Equal(got, wantSegments) {
		t.Errorf("segments %+v", got)
	}
	for at, want := range map[uint64]string{vmallocAt: "by vmalloc", direct(physVmalloc): "by vmalloc", variable(1): "Linux version"} {
		b := make([]byte, len(want))
		if err := k.Memory.Read(b, at); err != nil || string(b) != want {
			t.Errorf("at %#x is %q (%v), want %q", at, b, err, want)
		}
	}
	for _, at := range []uint64{vmallocAt + vmcore.PageSize, 0x1000, 0xffffc90000000000, directAt + memorySize} {
		if err := k.Memory.Read(make([]byte, 8), at); err == nil || errors.Is(err, memory.ErrNotSaved) {
			t.Errorf("at %#x, where nothing is: %v", at, err)
		}
	}
}

func wantSymbol(t *testing.T, k *Kernel, want kernel.Symbol) {
	t.Helper()
	if got := append(k.Symbols.Lookup(want.Name), k.Symbols.LookupData(want.Name)...); !slices.Equal(got, []kernel.Symbol{want}) {
		t.Errorf("symbol %s is %+v, want %+v", want.Name, got, want)
	}
}

// A kernel that does not tell its symbols: they come from a file, in which the image is
// where it was linked to.
func TestOpenWithSystemMap(t *testing.T) {
	m := newMachine()
	if _, err := Open(t.Context(), m.dump(t), ""); !errors.Is(err, ErrNoSymbols) {
		t.Fatalf("without symbols it says %v", err)
	}
	var text strings.Builder
	for _, s := range m.symbols {
		fmt.Fprintf(&text, "%016x %c %s\n", s.at-unmovedBy, s.kind, s.name)
	}
	fmt.Fprintf(&text, "00000000000001c0 A cpu_hot\n%x t gone\t[module_of_then]\n", uint64(modulesAt))
	path := filepath.Join(t.TempDir(), "System.map")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := Open(t.Context(), m.dump(t), path)
	if err != nil {
		t.Fatal(err)
	}
	wantKernel(t, k)
	wantSymbol(t, k, kernel.Symbol{Name: "cpu_hot", Addr: 0x1c0, Type: 'A'})
	if len(k.Symbols.Lookup("gone")) > 0 {
		t.Error("a module of another time is there")
	}

	// The banner is elsewhere in another kernel.
	other := strings.Replace(text.String(), fmt.Sprintf("%016x d linux_banner", variable(1)-unmovedBy), fmt.Sprintf("%016x d linux_banner", variable(8)-unmovedBy), 1)
	if err := os.WriteFile(path, []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), m.dump(t), path); !errors.Is(err, ErrOtherKernel) {
		t.Errorf("with another kernel's System.map it says %v", err)
	}
	if _, err := Open(t.Context(), m.dump(t), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a file that is not there it says %v", err)
	}
}

// What makedumpfile should not have left out, and did.
func TestModulesThatWereNotSaved(t *testing.T) {
	for name, page := range map[string]uint64{"the list of types": physModuleText, "the module": physModule, "the types": physModuleBTF} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			m.tell(fromBase)
			m.leftOut = page
			k, err := Open(t.Context(), m.dump(t), "")
			if err != nil {
				t.Fatal(err)
			}
			if !k.ModulesMissing {
				t.Error("it does not say that something of modules is missing")
			}
			if err := k.Memory.Read(make([]byte, 8), direct(page)); !errors.Is(err, memory.ErrNotSaved) {
				t.Errorf("what was not saved is read as %v", err)
			}
		})
	}
}

func TestWhatIsNotUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *machine)
		want   error
	}{
		"no page tables":  {func(m *machine) { delete(m.info, "SYMBOL(swapper_pg_dir)") }, ErrNotUnderstood},
		"no phys_base":    {func(m *machine) { delete(m.info, "NUMBER(phys_base)") }, ErrNotUnderstood},
		"another machine": {func(m *machine) { m.is = elf.EM_AARCH64 }, ErrNotUnderstood},
		"another release": {func(m *machine) { m.info["OSRELEASE"] = "6.12.2-test" }, ErrOtherKernel},
		"symbols elsewhere": {func(m *machine) {
			m.info["SYMBOL(_stext)"], m.info["SYMBOL(init_uts_ns)"] = "1", "2"
		}, ErrNotUnderstood},
		"too many symbols": {func(m *machine) { copy(m.memory[physNames:], "\xff\xff\xff\xff") }, ErrNotUnderstood},
		"memory elsewhere": {func(m *machine) { m.put(physVariables, 0xffffc00000000000) }, ErrNotUnderstood},
		"no types":         {func(m *machine) { clear(m.memory[physBTF:][:64]) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			m.tell(fromBase)
			c.change(m)
			_, err := Open(t.Context(), m.dump(t), "")
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("it says %v, want %v", err, c.want)
			}
		})
	}
}

// The kernel notes when it crashed; its own clock stood still a moment before.
func TestTimeOfACrash(t *testing.T) {
	for name, c := range map[string]struct {
		crashed string
		clock   bool // can be read
		want    Clock
	}{
		"noted":      {"1763840003", true, Clock{time.Unix(1763840003, 0), 123 * time.Second}},
		"only noted": {"1763840003", false, Clock{When: time.Unix(1763840003, 0)}},
		"not known":  {"", false, Clock{}},
	} {
		m := newMachine()
		if !c.clock {
			m.put(physVariables+0x400+24, 0) // xtime_sec of shadow_timekeeper
		}
		if c.crashed != "" {
			m.info["CRASHTIME"] = c.crashed
		}
		m.tell(fromBase)
		k, err := Open(t.Context(), m.dump(t), "")
		if err != nil {
			t.Fatal(err)
		}
		if !k.Clock.When.Equal(c.want.When) || k.Clock.Boottime != c.want.Boottime {
			t.Errorf("%s: %+v, want %+v", name, k.Clock, c.want)
		}
	}
}

func TestOpenInterrupted(t *testing.T) {
	m := newMachine()
	m.tell(fromBase)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, m.dump(t), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
}

// FuzzOpen puts words of its own into a kernel's memory, where it is believed.
func FuzzOpen(f *testing.F) {
	f.Add(uint32(physTables), uint64(physPUD|0x63), uint32(physNames), uint64(1<<40))
	f.Add(uint32(physModule+8), direct(physModule+8), uint32(physModule+0x108), ^uint64(0))
	f.Add(uint32(physModuleText), direct(physModuleText), uint32(physModuleText+0x108), uint64(1<<31))
	f.Add(uint32(physNames+0x2000), ^uint64(0), uint32(physNames+0x400), ^uint64(0))
	f.Add(uint32(physBTF+8), ^uint64(0), uint32(physVariables), uint64(1<<63))
	m := newMachine()
	m.tell(fromBaseBelow)
	saved := bytes.Clone(m.memory)
	f.Fuzz(func(t *testing.T, first uint32, a uint64, second uint32, b uint64) {
		copy(m.memory, saved)
		m.put(uint64(first)%(memorySize-8), a)
		m.put(uint64(second)%(memorySize-8), b)
		k, err := Open(t.Context(), m.dump(t), "")
		if err != nil {
			return
		}
		for _, s := range k.Memory.Segments() {
			_ = k.Memory.Read(make([]byte, 8), s.Addr+s.Size-8)
		}
	})
}
