// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CacheEnv names the environment variable that moves the lab's cache elsewhere.
const CacheEnv = "NETNS_TRACE_LAB_CACHE"

const modulePath = "github.com/netns-trace/netns-trace"

// Cache is where the lab keeps what it fetched and built.
type Cache struct {
	// Dir is an absolute path; it is created when needed.
	Dir string
	// Progress receives one line for each slow step. Nil means silence.
	Progress io.Writer
	// Refresh asks the package archives for newer versions even when the last
	// answer is less than a day old.
	Refresh bool
}

// OpenCache returns the cache that [CacheEnv] names, or .lab/ at the root of the
// repository that the working directory lies in.
func OpenCache(progress io.Writer) (Cache, error) {
	dir := os.Getenv(CacheEnv)
	if dir == "" {
		root, err := RepositoryRoot()
		if err != nil {
			return Cache{}, err
		}
		dir = filepath.Join(root, ".lab")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Cache{}, fmt.Errorf("resolving the cache directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Cache{}, fmt.Errorf("creating the cache: %w", err)
	}
	// The cache hides itself from git, wherever it is put.
	ignore := filepath.Join(dir, ".gitignore")
	if _, err := os.Stat(ignore); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(ignore, []byte("*\n"), 0o644); err != nil {
			return Cache{}, fmt.Errorf("creating the cache: %w", err)
		}
	}
	return Cache{Dir: dir, Progress: progress}, nil
}

// RepositoryRoot returns the directory of this module's go.mod, looking upward
// from the working directory.
func RepositoryRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			for line := range strings.Lines(string(data)) {
				if strings.TrimSpace(line) == "module "+modulePath {
					return dir, nil
				}
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("finding the repository: no go.mod of %s above %s", modulePath, start)
		}
	}
}

func (c Cache) progressf(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, format+"\n", args...)
	}
}

// Lock takes the exclusive lock of that name among all processes that use this
// cache, waiting until it is free or ctx ends. The caller must call unlock.
func (c Cache) Lock(ctx context.Context, name string) (unlock func(), err error) {
	return lockFile(ctx, filepath.Join(c.Dir, "locks", name))
}

func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		// A blocking flock could not be interrupted by ctx.
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for %s: %w", path, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Publish makes the directory dir appear in the cache at once and complete: fill
// writes it under a temporary name, and a rename puts it in place. An existing
// directory is left alone and fill is not called.
func (c Cache) Publish(ctx context.Context, dir string, fill func(tmp string) error) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	rel, err := filepath.Rel(c.Dir, dir)
	if err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("publishing %s: not below the cache %s", dir, c.Dir)
	}
	unlock, err := c.Lock(ctx, strings.ReplaceAll(rel, string(filepath.Separator), "%"))
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return nil // another process was faster
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("publishing %s: %w", dir, err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-*")
	if err != nil {
		return fmt.Errorf("publishing %s: %w", dir, err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("publishing %s: %w", dir, err)
	}
	if err := fill(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("publishing %s: %w", dir, err)
	}
	return nil
}
