// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInitrdReadsBack(t *testing.T) {
	host := t.TempDir()
	writeFiles(t, host, map[string]string{"three": "abc", "four": "abcd", "empty": ""})
	if err := os.Chmod(filepath.Join(host, "three"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("three", filepath.Join(host, "link")); err != nil {
		t.Fatal(err)
	}
	r := &initrd{entries: map[string]initrdEntry{}}
	if err := r.file("/opt/tree", host); err != nil {
		t.Fatal(err)
	}
	if err := r.file("/sbin/tool", filepath.Join(host, "link")); err != nil {
		t.Fatal(err)
	}
	r.bytes("opt/tree/four", []byte("replaced"))
	r.add("dev/null", initrdEntry{mode: cpioChar | 0o666, major: 1, minor: 3})

	var archive, again bytes.Buffer
	if err := errors.Join(r.write(&archive), r.write(&again)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(archive.Bytes(), again.Bytes()) {
		t.Error("the same tree was written differently the second time")
	}
	want := []string{
		"dev 40755 0:0 ", "dev/null 20666 1:3 ",
		"opt 40755 0:0 ", "opt/tree 40755 0:0 ",
		"opt/tree/empty 100644 0:0 ", "opt/tree/four 100644 0:0 replaced",
		"opt/tree/link 120777 0:0 three", "opt/tree/three 100755 0:0 abc",
		"usr 40755 0:0 ", "usr/bin 40755 0:0 ", "usr/bin/tool 100755 0:0 abc",
	}
	if diff := cmp.Diff(want, readCpio(t, archive.Bytes())); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

// readCpio is a reader of the newc format of its own, written from the format's
// description and not from the writer.
func readCpio(t *testing.T, data []byte) (entries []string) {
	t.Helper()
	inodes := map[uint64]bool{}
	for pos := 0; ; {
		if pos%4 != 0 || len(data)-pos < 110 || string(data[pos:pos+6]) != "070701" {
			t.Fatalf("no header at %d", pos)
		}
		var fields [13]uint64
		for i := range fields {
			text := string(data[pos+6+8*i : pos+14+8*i])
			n, err := strconv.ParseUint(text, 16, 32)
			if err != nil {
				t.Fatalf("field %d at %d: %v", i, pos, err)
			}
			fields[i] = n
		}
		size, nameSize := int(fields[6]), int(fields[11])
		name := string(data[pos+110 : pos+110+nameSize-1])
		if data[pos+110+nameSize-1] != 0 {
			t.Fatalf("name %q does not end with NUL", name)
		}
		pos = (pos + 110 + nameSize + 3) / 4 * 4
		if name == "TRAILER!!!" {
			if pos != len(data) {
				t.Errorf("%d bytes after the end", len(data)-pos)
			}
			return entries
		}
		if inodes[fields[0]] {
			t.Errorf("%s shares inode %d: it would be taken for a hard link", name, fields[0])
		}
		inodes[fields[0]] = true
		entries = append(entries, fmt.Sprintf("%s %o %d:%d %s", name, fields[1], fields[9], fields[10], data[pos:pos+size]))
		pos = (pos + size + 3) / 4 * 4
	}
}

func TestInitrdTakesNoMoreThanAFileSays(t *testing.T) {
	// /proc files say that they have 0 bytes, whatever can be read: nothing of them
	// may follow the header.
	r := &initrd{entries: map[string]initrdEntry{}}
	if err := r.file("version", "/proc/version"); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := r.write(&archive); err != nil {
		t.Fatal(err)
	}
	if got := readCpio(t, archive.Bytes()); len(got) != 1 || got[0] != "version 100444 0:0 " {
		t.Errorf("got %q", got)
	}
	r.add("gone", initrdEntry{mode: cpioFile, host: filepath.Join(t.TempDir(), "gone")})
	if err := r.write(io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gave %v", err)
	}
}

func TestGuestPathKeepsOnePlaceForPrograms(t *testing.T) {
	for name, want := range map[string]string{
		"/bin/sh": "usr/bin/sh", "sbin/ip": "usr/bin/ip", "/usr/sbin/tc": "usr/bin/tc", "/lib/modules/x": "usr/lib/modules/x",
		"/lib64/ld.so": "usr/lib64/ld.so", "/usr/local/bin/x": "usr/local/bin/x", "../../etc/x": "etc/x", "/binary": "binary",
		"/": "",
	} {
		if got := guestPath(name); got != want {
			t.Errorf("guestPath(%q) = %q, want %q", name, got, want)
		}
	}
}
