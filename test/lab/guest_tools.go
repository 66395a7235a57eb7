// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"path/filepath"
)

// guestTool is one thing that guests have: where it lies in the guest, and what it
// is made from, a path in this repository.
type guestTool struct {
	guest  string
	source string
	make   func(ctx context.Context, cache Cache, source string) (string, error)
}

// guestTools is what scenarios and the demo use, for every kernel the same.
func guestTools() []guestTool {
	return []guestTool{
		{"/usr/local/bin/netns-trace", "cmd/netns-trace", BuildGo},
		{"/usr/local/bin/setnsgo", "test/faults/setnsgo", BuildGo},
		{"/usr/local/bin/churn", "test/faults/churn", BuildGo},
		{"/usr/local/bin/textprobes", "test/textprobes", BuildGo},
		{"/usr/local/bin/sendbad", "test/faults/vethcsum/sendbad", BuildGo},
		{"/usr/local/bin/marktc", "test/faults/vethcsum/marktc", BuildGo},
		{"/usr/local/bin/setnsclone", "test/faults/setnsclone/setnsclone", madeByMake},
		{"/usr/local/bin/netnspin", "test/faults/netnspin/netnspin", madeByMake},
		{"/usr/local/bin/sockhold", "test/faults/sockhold/sockhold", madeByMake},
		{"/usr/local/bin/daemonset", "test/daemonset", BuildGo},
		{"/deploy/daemonset.yaml", "deploy/kubernetes/daemonset.yaml", asItIs},
		{"/faults/dockerdclone.so", "test/faults/dockerdclone/dockerdclone.so", madeByMake},
		{"/usr/local/bin/dockerdclone", "test/faults/dockerdclone/dockerdclone.sh", asItIs},
	}
}

// guestModule is a kernel module in the guest.
type guestModule struct {
	guest string
	make  func(ctx context.Context, cache Cache, kernel Kernel) (string, error)
}

func guestModules(root string) []guestModule {
	ours := func(source string) func(context.Context, Cache, Kernel) (string, error) {
		return func(ctx context.Context, cache Cache, kernel Kernel) (string, error) {
			return BuildModule(ctx, cache, kernel, filepath.Join(root, source))
		}
	}
	return []guestModule{
		{"/faults/refleak.ko", ours("test/faults/refleak")},
		{"/faults/refpairs.ko", ours("test/faults/refpairs")},
		{"/faults/objleak.ko", ours("test/faults/objleak")},
		{"/faults/lastsite.ko", ours("test/faults/lastsite")},
		{"/faults/dstfail.ko", ours("test/faults/dstfail")},
		{"/faults/dstcross.ko", ours("test/faults/dstcross")},
		{"/faults/veth.ko", BuildVethWithOldBug},
	}
}

// GuestTools builds netns-trace and the programs that cause bugs, for
// [Config.Files]: guest path to host path.
func GuestTools(ctx context.Context, cache Cache) (map[string]string, error) {
	root, err := RepositoryRoot()
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for _, tool := range guestTools() {
		if files[tool.guest], err = tool.make(ctx, cache, filepath.Join(root, tool.source)); err != nil {
			return nil, fmt.Errorf("making the guest's %s: %w", tool.guest, err)
		}
	}
	return files, nil
}

// GuestModules builds those of the lab's own kernel modules whose path in the guest
// is wanted, for one kernel: some take a while to build. The result is for
// [Config.Files], as that of [GuestTools].
func GuestModules(ctx context.Context, cache Cache, kernel Kernel, wanted func(guestPath string) bool) (map[string]string, error) {
	root, err := RepositoryRoot()
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for _, module := range guestModules(root) {
		if !wanted(module.guest) {
			continue
		}
		if files[module.guest], err = module.make(ctx, cache, kernel); err != nil {
			return nil, fmt.Errorf("making the guest's %s: %w", module.guest, err)
		}
	}
	return files, nil
}

// madeByMake makes one of the files that the Makefile beside it makes.
func madeByMake(ctx context.Context, cache Cache, source string) (string, error) {
	dir, err := BuildC(ctx, cache, filepath.Dir(source))
	return filepath.Join(dir, filepath.Base(source)), err
}

func asItIs(_ context.Context, _ Cache, source string) (string, error) { return source, nil }
