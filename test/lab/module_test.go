// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faultsDir is where the sources of the faults lie, seen from this package.
const faultsDir = "../faults"

func TestBuildModuleForEveryKernel(t *testing.T) {
	cache := testCache(t)
	for _, name := range KernelNames() {
		t.Run(name, func(t *testing.T) {
			kernel, err := FetchKernel(t.Context(), cache, name, FlavourCloud)
			if err != nil {
				t.Fatal(err)
			}
			ko, err := BuildModule(t.Context(), cache, kernel, filepath.Join(faultsDir, "refleak"))
			if err != nil {
				t.Fatal(err)
			}
			checkVermagic(t, ko, kernel)
			again, err := BuildModule(t.Context(), cache, kernel, filepath.Join(faultsDir, "refleak"))
			if err != nil || again != ko {
				t.Errorf("the second build gave %q, %v, want the cached %q", again, err, ko)
			}
		})
	}
}

// checkVermagic looks whether a module says that it is for this kernel.
func checkVermagic(t *testing.T, ko string, kernel Kernel) {
	t.Helper()
	modinfo, err := administrationProgram("modinfo") // of kmod, which depmod is of too
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), modinfo, "-F", "vermagic", ko).Output()
	if err != nil {
		t.Fatalf("modinfo: %v", withStderr(err))
	}
	if !strings.HasPrefix(string(out), kernel.Release+" ") {
		t.Errorf("the module is for kernel %q, not for %s", strings.TrimSpace(string(out)), kernel.Release)
	}
}

// testCache is the cache of everyday work: a test that fetched for itself would move
// hundreds of megabytes.
func testCache(t *testing.T) Cache {
	t.Helper()
	if testing.Short() {
		t.Skip("fetches packages or boots kernels, which -short leaves out")
	}
	cache, err := OpenCache(testWriter{t})
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

func TestCompilerErrorsAreShown(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"Makefile": "broken: broken.c\n",
		"broken.c": "int main(void) { return nonsense; }\n",
	})
	_, err := BuildC(t.Context(), Cache{Dir: t.TempDir()}, dir)
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v, want an error with the compiler's words", err)
	}
}

func TestSourcesLeaveOutWhatABuildByHandLeft(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"refleak.c": "c", "Makefile": "m", "part.h": "h", "client.sh": "s",
		"refleak.ko": "x", "refleak.mod.c": "x", "refleak.o": "x", ".refleak.o.cmd": "x", "Module.symvers": "x",
	})
	tree, err := readSources(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range tree.files {
		names = append(names, f.name)
	}
	want := []string{"Makefile", "client.sh", "part.h", "refleak.c"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestSourcesThatDifferAreBuiltAgain(t *testing.T) {
	// The last one moves a byte from one file's end to the next one's start.
	variants := []map[string]string{
		{"a.c": "1", "b.c": "2"},
		{"a.c": "1", "b.c": "3"},
		{"a.c": "1", "c.c": "2"},
		{"a.c": "12", "b.c": ""},
	}
	seen := map[string]int{}
	for i, files := range variants {
		dir := t.TempDir()
		writeFiles(t, dir, files)
		tree, err := readSources(dir)
		if err != nil {
			t.Fatal(err)
		}
		if other, dup := seen[tree.hash()]; dup {
			t.Errorf("sources %v and %v have the same hash", files, variants[other])
		}
		seen[tree.hash()] = i
	}
}

func TestGlibcVersionsCompareAsNumbers(t *testing.T) {
	for _, tt := range []struct {
		a, b  string
		newer bool
	}{
		{"2.38", "2.36", true},
		{"2.36", "2.38", false},
		{"2.36", "2.36", false},
		{"2.4", "2.36", false}, // as text it would be newer
		{"2.3.4", "2.2", true},
		{"3.0", "2.99", true},
	} {
		a, okA := parseGlibc(tt.a)
		b, okB := parseGlibc(tt.b)
		if !okA || !okB {
			t.Fatalf("cannot parse %s or %s", tt.a, tt.b)
		}
		if got := a.newerThan(b); got != tt.newer {
			t.Errorf("%s newer than %s: got %v", tt.a, tt.b, got)
		}
	}
	for _, bad := range []string{"", "2", "PRIVATE", "2.x"} {
		if v, ok := parseGlibc(bad); ok {
			t.Errorf("%q was parsed as %v", bad, v)
		}
	}
}

func TestWantedGlibcOfAScriptIsNone(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"script": "#!/bin/sh\necho a script long enough to hold the header of an ELF file, which has 64 bytes\n",
		"empty":  "",
		"short":  "\x7fEL",
	})
	for _, name := range []string{"script", "empty", "short"} {
		got, err := wantedGlibc(filepath.Join(dir, name))
		if err != nil || got != (glibcVersion{}) {
			t.Errorf("%s wants %v, %v", name, got, err)
		}
	}
}

func TestWrappedToolKeepsItsNameAndArguments(t *testing.T) {
	// Stands for the dynamic loader: prints what it was asked to run.
	dir := filepath.Join(t.TempDir(), "a 'quoted' dir")
	loader := filepath.Join(dir, "ld.so")
	tool := filepath.Join(dir, "modpost")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeExecutable(t, loader, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
	writeExecutable(t, tool, wrapperScript(loader, tool+".elf"))

	out, err := exec.CommandContext(t.Context(), tool, "-o", "two words").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{"--library-path", dir, "--argv0", tool, tool + ".elf", "-o", "two words"}, "\n") + "\n"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("what the loader was given (-want +got):\n%s", diff)
	}
}

func TestHeadersMakefileOfAnotherFormIsAnError(t *testing.T) {
	tree := headersTree{root: "/cache/headers/k", release: "6.1.0-1-cloud-amd64"}
	for _, tt := range []struct{ name, text, want string }{
		{
			"6.1", "include /usr/src/linux-headers-6.1.0-1-common/Makefile\n",
			"include /cache/headers/k/usr/src/linux-headers-6.1.0-1-common/Makefile\n",
		},
		{
			"7.3", "KBUILD_OUTPUT=/usr/src/linux-headers-7\ninclude /usr/src/linux-headers-7-common/Makefile\n",
			"KBUILD_OUTPUT=/cache/headers/k/usr/src/linux-headers-7\ninclude /cache/headers/k/usr/src/linux-headers-7-common/Makefile\n",
		},
		{"unknown", "include ../common/Makefile\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			sub := filepath.Join(dir, "usr/src/linux-headers-"+tree.release)
			if err := os.MkdirAll(sub, 0o755); err != nil {
				t.Fatal(err)
			}
			writeFiles(t, sub, map[string]string{"Makefile": tt.text})
			err := relocateHeaders(dir, tree)
			if tt.want == "" {
				if err == nil {
					t.Error("no error for a Makefile that cannot be relocated")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(sub, "Makefile"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("Makefile (-want +got):\n%s", diff)
			}
		})
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func writeExecutable(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}
