// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The flavours of Debian's kernels.
const (
	// FlavourCloud is small and boots fast. It lacks old protocols such as llc2
	// and can-j1939.
	FlavourCloud = "cloud"
	// FlavourPlain has every module.
	FlavourPlain = "plain"
)

// Kernel is one fetched kernel.
type Kernel struct {
	// Name is its place in the matrix: 5.10, 6.1, 6.12 or newest.
	Name string
	// Flavour is [FlavourCloud] or [FlavourPlain].
	Flavour string
	// Release is what uname -r prints in the guest.
	Release string
	// Version is the version of the Debian package.
	Version string
	// Suite is the Debian suite that it came from; its headers package,
	// linux-headers-RELEASE, is there too.
	Suite string
	// Dir holds vmlinuz and modules/.
	Dir string `json:"-"`
}

// Image is the path of the bootable kernel.
func (k Kernel) Image() string { return filepath.Join(k.Dir, "vmlinuz") }

// ModulesDir is what the guest has as /lib/modules/RELEASE: the uncompressed
// modules of [keepModule] and tables as depmod writes them.
func (k Kernel) ModulesDir() string { return filepath.Join(k.Dir, "modules") }

// String names the kernel for people.
func (k Kernel) String() string {
	if k.Flavour == FlavourPlain {
		return k.Name + "-plain"
	}
	return k.Name
}

// Size is how many bytes the kernel takes in the cache.
func (k Kernel) Size() (int64, error) {
	var total int64
	err := filepath.WalkDir(k.Dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measuring kernel %s: %w", k, err)
	}
	return total, nil
}

// KernelIn is a kernel that somebody built: dir has vmlinuz, a file release with what
// uname -r prints, and the directory modules, empty or as depmod leaves it.
func KernelIn(dir string) (Kernel, error) {
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return Kernel{}, fmt.Errorf("a kernel of one's own: %w", err)
	}
	return Kernel{Name: filepath.Base(dir), Flavour: FlavourCloud, Release: strings.TrimSpace(string(release)), Dir: dir}, nil
}

// kernelOrigin is a place where a kernel of the matrix can be found: a meta package
// whose dependency is the current build. Builds come and go, the meta packages
// stay.
type kernelOrigin struct{ suite, cloud, plain string }

func (o kernelOrigin) meta(flavour string) string {
	if flavour == FlavourPlain {
		return o.plain
	}
	return o.cloud
}

// kernelOrigins lists, for one name of the matrix, where to look, best first.
func kernelOrigins(name string) []kernelOrigin {
	const cloud, plain = "linux-image-cloud-amd64", "linux-image-amd64"
	switch name {
	case "5.10":
		return []kernelOrigin{{"bullseye", cloud, plain}}
	case "6.1":
		return []kernelOrigin{{"bookworm", cloud, plain}}
	case "6.12":
		return []kernelOrigin{
			{"bookworm", "linux-image-6.12-cloud-amd64", "linux-image-6.12-amd64"},
			{"trixie", cloud, plain},
		}
	case "newest":
		return []kernelOrigin{{"trixie-backports", cloud, plain}}
	}
	return nil
}

// KernelNames returns the names of the matrix, oldest kernel first.
func KernelNames() []string { return []string{"5.10", "6.1", "6.12", "newest"} }

// ParseKernel splits "6.12" or "6.12-plain" into name and flavour.
func ParseKernel(text string) (name, flavour string, err error) {
	name, plain := strings.CutSuffix(text, "-"+FlavourPlain)
	flavour = FlavourCloud
	if plain {
		flavour = FlavourPlain
	}
	if !slices.Contains(KernelNames(), name) {
		return "", "", fmt.Errorf("no kernel %q: there are %s, each also with -%s",
			text, strings.Join(KernelNames(), ", "), FlavourPlain)
	}
	return name, flavour, nil
}

// kernelRecord is the file that remembers which build a name stood for.
type kernelRecord struct {
	Kernel
	Checked time.Time // when the archives were last asked
}

// kernelFresh is how long a record is believed; kernelRetry how soon to ask again
// after the archives could not be asked.
const (
	kernelFresh = 24 * time.Hour
	kernelRetry = time.Hour
)

// FetchKernel returns a kernel of the matrix, fetching it when the cache does not
// have it. An empty flavour means [FlavourCloud]. The archives are asked for a newer
// build at most once a day, or when cache.Refresh is set; when they cannot be
// reached, the build in the cache is good enough.
func FetchKernel(ctx context.Context, cache Cache, name, flavour string) (Kernel, error) {
	if flavour == "" {
		flavour = FlavourCloud
	}
	origins := kernelOrigins(name)
	if origins == nil || (flavour != FlavourCloud && flavour != FlavourPlain) {
		return Kernel{}, fmt.Errorf("no kernel %q of flavour %q", name, flavour)
	}
	id := name + "-" + flavour
	record, have := readKernelRecord(cache, id)
	if have && !cache.Refresh && time.Since(record.Checked) < kernelFresh {
		return record.Kernel, nil
	}
	unlock, err := cache.Lock(ctx, "kernel-"+id)
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	started := time.Now()
	again, have := readKernelRecord(cache, id)
	if have && (again.Checked.After(record.Checked) || time.Since(again.Checked) < kernelFresh && !cache.Refresh) {
		return again.Kernel, nil // another process asked while we waited
	}
	k, err := fetchFromAny(ctx, cache, name, flavour, origins)
	checked := time.Now()
	if err != nil {
		if !have || ctx.Err() != nil {
			return Kernel{}, fmt.Errorf("fetching kernel %s: %w", id, err)
		}
		cache.progressf("kernel %s: using %s from the cache, the archives could not be asked: %v", id, again.Version, err)
		k, checked = again.Kernel, checked.Add(kernelRetry-kernelFresh)
	} else {
		cache.progressf("kernel %s: %s, checked in %.1f s", id, k.Version, time.Since(started).Seconds())
	}
	return k, writeKernelRecord(cache, id, kernelRecord{k, checked})
}

func fetchFromAny(ctx context.Context, cache Cache, name, flavour string, origins []kernelOrigin) (Kernel, error) {
	var failed []error
	for _, origin := range origins {
		k := Kernel{Name: name, Flavour: flavour, Suite: origin.suite}
		err := k.fetch(ctx, cache, origin.meta(flavour))
		if err == nil {
			return k, nil
		}
		failed = append(failed, fmt.Errorf("from %s: %w", origin.suite, err))
		if ctx.Err() != nil {
			break
		}
	}
	return Kernel{}, errors.Join(failed...)
}

func kernelRecordPath(cache Cache, id string) string {
	return filepath.Join(cache.Dir, "kernels", id+".json")
}

// readKernelRecord returns the record of a name when the kernel it names is there.
// A record that cannot be read is as good as none.
func readKernelRecord(cache Cache, id string) (kernelRecord, bool) {
	var record kernelRecord
	data, err := os.ReadFile(kernelRecordPath(cache, id))
	if err != nil || json.Unmarshal(data, &record) != nil {
		return kernelRecord{}, false
	}
	record.Dir = kernelDir(cache, record.Kernel)
	if _, err := os.Stat(record.Image()); err != nil {
		return kernelRecord{}, false
	}
	return record, true
}

func writeKernelRecord(cache Cache, id string, record kernelRecord) error {
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("remembering kernel %s: %w", id, err)
	}
	path := kernelRecordPath(cache, id)
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("remembering kernel %s: %w", id, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("remembering kernel %s: %w", id, err)
	}
	return nil
}
