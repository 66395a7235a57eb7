// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"io"
	"maps"
)

// Workbench is what a program has at hand that boots one kernel.
type Workbench struct {
	// Root is the directory of the repository.
	Root   string
	Cache  Cache
	Kernel Kernel
}

// OpenWorkbench fetches a kernel of the matrix, Debian's small one, unless the cache has
// it. Slow steps are told to progress. The repository is the one that the working
// directory lies in.
func OpenWorkbench(ctx context.Context, kernel string, progress io.Writer) (w Workbench, err error) {
	if w.Root, err = RepositoryRoot(); err != nil {
		return w, err
	}
	if w.Cache, err = OpenCache(progress); err != nil {
		return w, err
	}
	w.Kernel, err = FetchKernel(ctx, w.Cache, kernel, FlavourCloud)
	return w, err
}

// Files makes what [GuestTools] and [GuestModules] make. The result is the caller's, to
// put more into.
func (w Workbench) Files(ctx context.Context, wanted func(guestPath string) bool) (map[string]string, error) {
	files, err := GuestTools(ctx, w.Cache)
	if err != nil {
		return nil, err
	}
	modules, err := GuestModules(ctx, w.Cache, w.Kernel, wanted)
	if err != nil {
		return nil, err
	}
	maps.Copy(files, modules)
	return files, nil
}

// Boot starts the kernel with these files; the caller closes it.
func (w Workbench) Boot(ctx context.Context, files map[string]string) (*VM, error) {
	return Boot(ctx, Config{Cache: w.Cache, Kernel: w.Kernel, Files: files})
}
