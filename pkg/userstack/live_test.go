// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"bufio"
	"debug/elf"
	"debug/gosym"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// toolchainsVariable lists further Go toolchains to build with, such as
// "go1.16.15 go1.18.10": each changed the function table.
const toolchainsVariable = "NETNS_TRACE_GO_TOOLCHAINS"

// build is one way to link a Go program.
type build struct {
	what string
	cgo  bool
	args []string
}

func builds() []build {
	return []build{
		{"plain", false, nil},
		{"stripped", false, []string{"-ldflags=-s -w"}},
		{"stripped PIE", false, []string{"-buildmode=pie", "-ldflags=-s -w"}},
		{"stripped cgo", true, []string{"-ldflags=-s -w -linkmode=external"}},
		{"stripped cgo PIE", true, []string{"-buildmode=pie", "-ldflags=-s -w -linkmode=external"}},
	}
}

// buildWaiter links testdata/waiter, or skips.
func buildWaiter(t *testing.T, toolchain string, b build) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("no Go toolchain to build a test program with: %v", err)
	}
	cgo := "CGO_ENABLED=0"
	if b.cgo {
		if _, err := exec.LookPath("gcc"); err != nil {
			t.Skipf("no C compiler: %v", err)
		}
		cgo = "CGO_ENABLED=1"
	}
	dir := t.TempDir()
	for _, name := range []string{"main.go", "cgo.go"} {
		src, err := os.ReadFile(filepath.Join("testdata/waiter", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), src, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module waiter\n\ngo 1.16\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "waiter")
	cmd := exec.Command("go", append(append([]string{"build", "-o", exe}, b.args...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), cgo, "GOFLAGS=-mod=mod", "GOTOOLCHAIN="+toolchain)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s: building %s: %v\n%s", toolchain, b.what, err, out)
	}
	return exe
}

// waiter is a running test program and what its own runtime says of its stack.
type waiter struct {
	pid   int
	addrs []uint64
	want  []Frame
}

func startWaiter(t *testing.T, exe string) waiter {
	t.Helper()
	cmd := exec.Command(exe)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("test program: %v", err)
		}
	})
	w := waiter{pid: cmd.Process.Pid}
	sc := bufio.NewScanner(stdout)
	for sc.Scan() && sc.Text() != "" {
		f := strings.Split(sc.Text(), "\t")
		addr, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		line, err := strconv.Atoi(f[3])
		if err != nil {
			t.Fatal(err)
		}
		w.addrs = append(w.addrs, addr)
		w.want = append(w.want, Frame{Symbol: f[1], Source: f[2], Line: line})
	}
	if len(w.addrs) < 4 {
		t.Fatalf("the test program printed %d frames", len(w.addrs))
	}
	return w
}

// check compares with what the program's runtime said.
func (w waiter) check(t *testing.T, frames []Frame) {
	t.Helper()
	if len(frames) != len(w.addrs) {
		t.Fatalf("%d frames for %d addresses", len(frames), len(w.addrs))
	}
	for i, f := range frames {
		want := w.want[i]
		// The first address is taken as it is, the program printed the
		// line of the call before it.
		sameLine := f.Line == want.Line || i == 0
		if f.Symbol != want.Symbol || f.Source != want.Source || !sameLine || f.Addr != w.addrs[i] {
			t.Errorf("frame %d is %v (%+v), want %s %s:%d", i, f, f, want.Symbol, want.Source, want.Line)
		}
	}
}

func TestGoProgramsOfEveryLinkMode(t *testing.T) {
	toolchains := append([]string{"local"}, strings.Fields(os.Getenv(toolchainsVariable))...)
	for _, toolchain := range toolchains {
		for _, b := range builds() {
			t.Run(toolchain+"/"+b.what, func(t *testing.T) {
				exe := buildWaiter(t, toolchain, b)
				w := startWaiter(t, exe)
				w.check(t, New(Options{}).Resolve(w.pid, w.addrs))
				compareWithGosym(t, exe)
			})
		}
	}
}

// compareWithGosym asks debug/gosym about every 50th function of a program.
func compareWithGosym(t *testing.T, exe string) {
	t.Helper()
	file, im := openImage(t, exe)
	if im.gos == nil {
		t.Fatalf("no Go function table: %v", im.err)
	}
	data := make([]byte, im.gos.size)
	if _, err := file.ReadAt(data, int64(im.gos.offset)); err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, im.gos.textStart))
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Funcs) < 500 {
		t.Fatalf("debug/gosym knows only %d functions", len(table.Funcs))
	}
	for i := 0; i < len(table.Funcs); i += 50 {
		for _, pc := range []uint64{table.Funcs[i].Entry, table.Funcs[i].End - 1} {
			wantFile, wantLine, wantFunc := table.PCToLine(pc)
			if wantFunc == nil {
				continue
			}
			got, err := im.gos.lookup(file, pc)
			if err != nil || got.name != wantFunc.Name || got.entry != wantFunc.Entry {
				t.Fatalf("%#x is %q at %#x (%v), debug/gosym says %q at %#x", pc, got.name, got.entry, err, wantFunc.Name, wantFunc.Entry)
			}
			if wantLine > 0 && wantFile != "" && (got.file != wantFile || got.line != wantLine) {
				t.Fatalf("%#x is %s:%d, debug/gosym says %s:%d", pc, got.file, got.line, wantFile, wantLine)
			}
		}
	}
}

func openImage(t testing.TB, path string) (*os.File, *image) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, newImage(f, st.Size(), defaultMaxBytes)
}

func TestProgramDeletedWhileItRuns(t *testing.T) {
	w := startWaiter(t, func() string {
		exe := buildWaiter(t, "local", builds()[1])
		t.Cleanup(func() {
			if _, err := os.Stat(exe); err == nil {
				t.Error("the program was not deleted")
			}
		})
		return exe
	}())
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", w.pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadDir(fmt.Sprintf("/proc/%d/map_files", w.pid)); err != nil {
		t.Skipf("deleted files need /proc/PID/map_files: %v", err)
	}
	frames := New(Options{}).Resolve(w.pid, w.addrs)
	if len(frames) > 0 && frames[0].Symbol == "" && !canOpenMapFiles(t) {
		t.Skip("opening /proc/PID/map_files needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN")
	}
	w.check(t, frames)
	if !strings.HasSuffix(frames[0].File, " (deleted)") {
		t.Errorf("file is %q", frames[0].File)
	}
}

func canOpenMapFiles(t *testing.T) bool {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/map_files")
	if err != nil || len(entries) == 0 {
		return false
	}
	fd, err := unix.Open("/proc/self/map_files/"+entries[0].Name(), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// TestPathBelowRoot goes the way that is taken without the capability for
// map_files.
func TestPathBelowRoot(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, newline := write("plain"), write("two\nlines")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(plain, link); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what, path string
		ok         bool
	}{
		{"file", plain, true},
		{"file with an escaped newline", strings.ReplaceAll(newline, "\n", `\012`), true},
		{"a symbolic link could lead out of a container", link, false},
		{"a FIFO would block the reader", fifo, false},
		{"a directory", dir, false},
		{"deleted: another file may have the name", plain + " (deleted)", false},
		{"not a path", "[vdso]", false},
		{"up and out", dir + "/../../../../../../../../etc/passwd", false},
	} {
		m := &mapping{start: 1, end: 2, path: tc.path} // no such map_files entry
		f, _, err := openMapped(os.Getpid(), m)
		if (err == nil) != tc.ok {
			t.Errorf("%s: error %v", tc.what, err)
		}
		if err == nil {
			if b, err := io.ReadAll(f); err != nil || string(b) != "content" {
				t.Errorf("%s: read %q, %v", tc.what, b, err)
			}
			f.Close()
		}
	}
}

func TestProcessThatIsGone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	frames := New(Options{}).Resolve(cmd.Process.Pid, []uint64{0x401000, 0x7f0000001234})
	if len(frames) != 2 || frames[0] != (Frame{Addr: 0x401000}) || frames[1].String() != "0x7f0000001234" {
		t.Errorf("frames of a process that is gone: %+v", frames)
	}
}

func TestResolverKeepsNoFileOpen(t *testing.T) {
	w := startWaiter(t, buildWaiter(t, "local", builds()[1]))
	r := New(Options{})
	r.Resolve(w.pid, w.addrs)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasSuffix(to, "/waiter") {
			t.Errorf("descriptor %s still holds %s: its file system cannot be unmounted", e.Name(), to)
		}
	}
}

// TestCLibrary resolves a function of the C library of a running program.
func TestCLibrary(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	var libc *mapping
	for tries := 0; libc == nil && tries < 1000; tries++ {
		libc = findLibc(t, cmd.Process.Pid)
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	}
	if libc == nil {
		t.Skip("cat is not linked with a shared C library")
	}
	_, im := openImage(t, libc.path)
	f, err := elf.Open(libc.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if s.Name != "setns" {
			continue
		}
		addr := libc.start + fileOffset(t, im.elf, s.Value) - libc.offset
		frames := New(Options{}).Resolve(cmd.Process.Pid, []uint64{addr + 4, addr + 5})
		if got := frames[0].String(); !strings.HasPrefix(got, "setns+0x4 [libc") {
			t.Errorf("4 bytes into setns is %s", got)
		}
		if frames[1].Symbol != "setns" || frames[1].Offset != 5 {
			t.Errorf("a return address 5 bytes into setns is %+v", frames[1])
		}
		return
	}
	t.Fatal("the C library has no setns")
}

func fileOffset(t *testing.T, f *elfFile, vaddr uint64) uint64 {
	t.Helper()
	for _, s := range f.segments {
		if s.executable && vaddr >= s.vaddr && vaddr-s.vaddr < s.fileSize {
			return vaddr - s.vaddr + s.offset
		}
	}
	t.Fatalf("%#x is in no segment", vaddr)
	return 0
}

// findLibc returns the executable mapping of the C library.
func findLibc(t *testing.T, pid int) *mapping {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if m, ok := parseMapsLine([]byte(line)); ok && strings.Contains(line, " r-xp ") && strings.Contains(line, "/libc.so") {
			c := clonePath(m)
			return &c.mapping
		}
	}
	return nil
}
