// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseKernel(t *testing.T) {
	for text, want := range map[string][2]string{
		"6.12": {"6.12", FlavourCloud}, "6.12-plain": {"6.12", FlavourPlain}, "newest": {"newest", FlavourCloud},
	} {
		name, flavour, err := ParseKernel(text)
		if err != nil || name != want[0] || flavour != want[1] {
			t.Errorf("ParseKernel(%q) = %q, %q, %v", text, name, flavour, err)
		}
	}
	for _, text := range []string{"", "6.11", "plain", "6.12-cloudy", "-plain"} {
		if _, _, err := ParseKernel(text); err == nil || !strings.Contains(err.Error(), "newest") {
			t.Errorf("ParseKernel(%q) gave %v; it must say which there are", text, err)
		}
	}
}

func TestKernelPartTellsKernelsFromTheirTools(t *testing.T) {
	for name, version := range map[string]string{
		"linux-image-5.10.0-46-cloud-amd64":        "5.10.0-46-cloud-amd64",
		"linux-binary-7.3.4+deb13-cloud-amd64":     "7.3.4+deb13-cloud-amd64",
		"linux-modules-7.3.4+deb13-cloud-amd64":    "7.3.4+deb13-cloud-amd64",
		"linux-image-6.12.117+deb12-cloud-amd64":   "6.12.117+deb12-cloud-amd64",
		"linux-modules-cloud-amd64":                "",
		"linux-base-cloud-amd64":                   "",
		"linux-base":                               "none",
		"linux-headers-6.12.117+deb12-cloud-amd64": "none",
		"initramfs-tools":                          "none",
		"kmod":                                     "none",
	} {
		m := kernelPart.FindStringSubmatch(name)
		got := "none"
		if m != nil {
			got = m[2]
		}
		if got != version {
			t.Errorf("%s: version %q, want %q", name, got, version)
		}
	}
}

func TestKeepModule(t *testing.T) {
	for file, want := range map[string]bool{
		"kernel/drivers/net/veth.ko":                   true,
		"kernel/net/bridge/netfilter/ebtables.ko":      true,
		"kernel/net/llc/llc2.ko":                       true,
		"kernel/net/can/j1939/can-j1939.ko":            true,
		"kernel/net/netfilter/xt_MASQUERADE.ko":        true,
		"kernel/net/netfilter/nf_conntrack_netlink.ko": true,
		"kernel/drivers/virtio/virtio_pci.ko":          true,
		"kernel/drivers/block/virtio_blk.ko":           true,
		"kernel/net/netfilter/ipset/ip_set.ko":         false,
		"kernel/drivers/gpu/drm/virtio/virtio-gpu.ko":  false,
		"kernel/drivers/net/can/usb/gs_usb.ko":         false,
		"kernel/fs/btrfs/btrfs.ko":                     false,
	} {
		base := strings.TrimSuffix(filepath.Base(file), ".ko")
		if got := keepModule(strings.ReplaceAll(base, "-", "_"), file); got != want {
			t.Errorf("keepModule(%s) = %v", file, got)
		}
	}
}

// A kernel in the cache must do without any network or apt.
func TestFetchedKernelNeedsNoNetwork(t *testing.T) {
	cache := Cache{Dir: t.TempDir()}
	k := Kernel{Name: "6.1", Flavour: FlavourCloud, Release: "6.1.0-1-cloud-amd64", Version: "6.1.1-1", Suite: "bookworm"}
	k.Dir = kernelDir(cache, k)
	if err := os.MkdirAll(k.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, k.Dir, map[string]string{"vmlinuz": "image"})
	if err := writeKernelRecord(cache, "6.1-cloud", kernelRecord{k, time.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "") // whoever runs a program now fails
	got, err := FetchKernel(t.Context(), cache, "6.1", "")
	if err != nil || got != k {
		t.Fatalf("got %+v, %v, want %+v", got, err, k)
	}
	// When it is time to ask again and nobody answers, the old one is good enough.
	if err := writeKernelRecord(cache, "6.1-cloud", kernelRecord{k, time.Now().Add(-48 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	progress := &strings.Builder{}
	cache.Progress = progress
	got, err = FetchKernel(t.Context(), cache, "6.1", "")
	if err != nil || got != k {
		t.Fatalf("got %+v, %v, want %+v", got, err, k)
	}
	if !strings.Contains(progress.String(), "from the cache") {
		t.Errorf("the user was not told: %q", progress)
	}
	// A record whose kernel is gone is no record.
	if err := os.RemoveAll(k.Dir); err != nil {
		t.Fatal(err)
	}
	if got, err := FetchKernel(t.Context(), cache, "6.1", ""); err == nil {
		t.Errorf("a kernel that is gone was given out: %+v", got)
	}
}

func TestPublishIsAtomicAndOnce(t *testing.T) {
	cache := Cache{Dir: t.TempDir()}
	dir := filepath.Join(cache.Dir, "things", "one")
	broken := errors.New("half way")
	err := cache.Publish(t.Context(), dir, func(tmp string) error {
		writeFiles(t, tmp, map[string]string{"half": ""})
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(cache.Dir, "things")); err != nil || len(entries) != 0 {
		t.Fatalf("a failed fill left %v, %v", entries, err)
	}
	runs := make(chan struct{}, 10)
	done := make(chan error)
	for range 4 {
		go func() {
			done <- cache.Publish(t.Context(), dir, func(tmp string) error {
				runs <- struct{}{}
				time.Sleep(20 * time.Millisecond)
				return os.WriteFile(filepath.Join(tmp, "whole"), nil, 0o644)
			})
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(runs) != 1 {
		t.Errorf("filled %d times", len(runs))
	}
	if err := cache.Publish(t.Context(), "/elsewhere", nil); err == nil {
		t.Error("published outside the cache")
	}
}

func TestLockWaitsNoLongerThanItsContext(t *testing.T) {
	cache := Cache{Dir: t.TempDir()}
	unlock, err := cache.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := cache.Lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	unlock()
	unlock, err = cache.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestQEMUCommandLine(t *testing.T) {
	c := Config{Kernel: Kernel{Dir: "/k"}, Disk: "/d,isk", Append: "debug"}.withDefaults()
	args := strings.Join(qemuArgs(c, "/i"), " ")
	for _, want := range []string{
		"-accel tcg,thread=multi", "-smp 2", "-m 1024M", "-kernel /k/vmlinuz", "-initrd /i", "snapshot=on,file=/d,,isk",
		"panic=-1 oops=panic", " debug", "-no-reboot",
	} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
	c.Icount = true
	counted := strings.Join(qemuArgs(c, "/i"), " ")
	for _, want := range []string{
		"-icount shift=0,sleep=off", "-smp 1", "rdrand=off,rdseed=off", "-seed 1", "clock=vm", "nokaslr", "nowatchdog", "tsc=reliable",
	} {
		if !strings.Contains(counted, want) {
			t.Errorf("no %q in %s", want, counted)
		}
	}
	if slices.Contains(strings.FieldsFunc(args+counted, func(r rune) bool { return r == ' ' || r == ',' || r == '=' }), "kvm") {
		t.Error("the lab must not use kvm")
	}
}
