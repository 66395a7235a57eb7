// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// BuildC builds a C program, or library, with the Makefile in srcDir and returns the
// directory that holds what make left, the sources beside it. What was built before
// from the same sources is returned at once.
func BuildC(ctx context.Context, cache Cache, srcDir string) (dir string, err error) {
	sources, err := readSources(srcDir)
	if err != nil {
		return "", err
	}
	name := filepath.Base(sources.dir)
	dir = filepath.Join(cache.Dir, "programs", name+"-"+sources.hash())
	err = cache.Publish(ctx, dir, func(tmp string) error {
		if err := sources.copyTo(tmp); err != nil {
			return err
		}
		cache.progressf("building %s", name)
		return runBuild(exec.CommandContext(ctx, "make", "-C", tmp, "CC=gcc"))
	})
	if err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	return dir, nil
}

// BuildGo builds the Go command in pkgDir, static, and returns its path. The go
// command's own cache makes a second build cheap.
func BuildGo(ctx context.Context, cache Cache, pkgDir string) (path string, err error) {
	pkgDir, err = filepath.Abs(pkgDir)
	if err != nil {
		return "", fmt.Errorf("building a Go program: %w", err)
	}
	name := filepath.Base(pkgDir)
	binDir := filepath.Join(cache.Dir, "programs", "go")
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	tmp, err := os.MkdirTemp(binDir, ".new-*")
	if err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(tmp, name), ".")
	cmd.Dir = pkgDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if err := runBuild(cmd); err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	return keepProgram(filepath.Join(tmp, name), binDir)
}

// programAge is how long a program that was built is kept.
const programAge = 24 * time.Hour

// keepProgram moves a program to a place of its own, by its content: tests of another
// checkout, or of this one after an edit, may run meanwhile and have theirs.
func keepProgram(built, binDir string) (string, error) {
	name := filepath.Base(built)
	content, err := os.ReadFile(built)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	old, err := filepath.Glob(filepath.Join(binDir, name+"-*"))
	if err != nil {
		return "", fmt.Errorf("looking for older builds of %s: %w", name, err)
	}
	for _, path := range old {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > programAge {
			_ = os.Remove(path) // another run may have removed it
		}
	}
	path := filepath.Join(binDir, fmt.Sprintf("%s-%x", name, sha256.Sum256(content))[:len(name)+13])
	if err := os.Rename(built, path); err != nil {
		return "", fmt.Errorf("keeping %s: %w", name, err)
	}
	return path, nil
}

// runBuild runs a compiler or make; its error has the end of what was printed.
func runBuild(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	const enough = 4096
	out = bytes.TrimSpace(out)
	if len(out) > enough {
		out = append([]byte("…"), out[len(out)-enough:]...)
	}
	return fmt.Errorf("%s: %w:\n%s", filepath.Base(cmd.Path), err, out)
}

// A sourceTree is the files of one directory, which are few and small.
type sourceTree struct {
	dir   string
	files []sourceFile // by name
}

type sourceFile struct {
	name    string
	mode    os.FileMode
	content []byte
}

// readSources reads a directory without its folders, hidden files and what a build by
// hand may have left there.
func readSources(dir string) (sourceTree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return sourceTree{}, fmt.Errorf("reading sources: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return sourceTree{}, fmt.Errorf("reading sources: %w", err)
	}
	tree := sourceTree{dir: dir}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !isSource(entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return sourceTree{}, fmt.Errorf("reading sources: %w", err)
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return sourceTree{}, fmt.Errorf("reading sources: %w", err)
		}
		tree.files = append(tree.files, sourceFile{entry.Name(), info.Mode().Perm(), content})
	}
	if len(tree.files) == 0 {
		return sourceTree{}, fmt.Errorf("reading sources: %w in %s", errNoSources, dir)
	}
	return tree, nil
}

var errNoSources = errors.New("no C sources")

// isSource knows what kbuild and make leave behind, such as refleak.mod.c.
func isSource(name string) bool {
	switch {
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, ".mod.c"):
		return false
	case name == "Makefile":
		return true
	}
	ext := filepath.Ext(name)
	return ext == ".c" || ext == ".h" || ext == ".sh"
}

// hash names the contents.
func (t sourceTree) hash() string {
	h := sha256.New()
	for _, f := range t.files {
		fmt.Fprintf(h, "%s %d\n", f.name, len(f.content))
		h.Write(f.content)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func (t sourceTree) copyTo(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("copying sources: %w", err)
	}
	for _, f := range t.files {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.content, f.mode&0o100|0o644); err != nil {
			return fmt.Errorf("copying sources: %w", err)
		}
	}
	return nil
}
