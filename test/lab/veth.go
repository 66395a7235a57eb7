// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// BuildVethWithOldBug builds, for one kernel, the veth module of that kernel with
// the checksum bug that ce8c839b74e3 removed: what is sent with a checksum that
// nobody has verified is handed to the peer as verified. It returns the path of
// the .ko file, which must be loaded before the kernel's own veth is.
//
// The source is fetched and patched here: the repository holds no file of the
// kernel. A kernel whose source package has left the archive, and a veth_xmit of
// unknown form, are errors.
func BuildVethWithOldBug(ctx context.Context, cache Cache, kernel Kernel) (koPath string, err error) {
	stock, err := fetchVethSource(ctx, cache, kernel)
	if err != nil {
		return "", err
	}
	patched, err := restoreChecksumBug(stock)
	if err != nil {
		return "", fmt.Errorf("patching veth.c of kernel %s: %w", kernel.Version, err)
	}
	tmp, err := os.MkdirTemp("", "netns-trace-veth-*")
	if err != nil {
		return "", fmt.Errorf("patching veth.c of kernel %s: %w", kernel.Version, err)
	}
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "veth") // BuildModule names its result after it
	sources := sourceTree{files: []sourceFile{
		{name: "Makefile", content: []byte("obj-m := veth.o\n")},
		{name: "veth.c", content: []byte(patched)},
	}}
	if err := sources.copyTo(dir); err != nil {
		return "", err
	}
	return BuildModule(ctx, cache, kernel, dir)
}

// checksumBug is the rewrite, at the indentation of a function's body.
const checksumBug = "\tif (skb->ip_summed == CHECKSUM_NONE && (rcv->features & NETIF_F_RXCSUM))\n" +
	"\t\tskb->ip_summed = CHECKSUM_UNNECESSARY;\n"

var (
	vethXmit    = regexp.MustCompile(`(?m)^(?:static )?netdev_tx_t veth_xmit\([^;{]*\)\n\{\n`)
	vethHandOff = regexp.MustCompile(`\bveth_forward_skb\(`)
)

// restoreChecksumBug puts checksumBug before the statement of veth_xmit that hands
// the packet to the peer. That statement must be one of the function's outermost
// block, so that it is reached with every packet and nothing else depends on it.
func restoreChecksumBug(source string) (string, error) {
	heads := vethXmit.FindAllStringIndex(source, -1)
	if len(heads) != 1 {
		return "", fmt.Errorf("veth_xmit is defined %d times, not once", len(heads))
	}
	start := heads[0][1]
	length := strings.Index(source[start:], "\n}\n")
	if length < 0 {
		return "", errors.New("veth_xmit has no end")
	}
	body := source[start : start+length]
	calls := vethHandOff.FindAllStringIndex(body, -1)
	if len(calls) != 1 {
		return "", fmt.Errorf("veth_xmit calls veth_forward_skb %d times, not once", len(calls))
	}
	line := strings.LastIndexByte(body[:calls[0][0]], '\n') + 1
	if rest, ok := strings.CutPrefix(body[line:], "\t"); !ok || strings.ContainsAny(rest[:1], "\t */") {
		return "", errors.New("veth_xmit calls veth_forward_skb inside a statement or a comment, not in one of its own")
	}
	before := strings.TrimSpace(body[:line])
	if before == "" || !strings.ContainsAny(before[len(before)-1:], ";}") {
		return "", errors.New("the call of veth_forward_skb in veth_xmit does not follow the end of a statement")
	}
	at := start + line
	return source[:at] + checksumBug + source[at:], nil
}

// fetchVethSource returns drivers/net/veth.c as that version of the kernel was built
// from, with Debian's patches.
func fetchVethSource(ctx context.Context, cache Cache, kernel Kernel) (string, error) {
	dir := filepath.Join(cache.Dir, "sources", "veth_"+kernel.Version)
	err := cache.Publish(ctx, dir, func(tmp string) error {
		pkg, err := sourcePackage(kernel.Version)
		if err != nil {
			return err
		}
		cache.progressf("kernel %s: downloading %s %s (120 to 170 MB) for its veth.c", kernel, pkg, kernel.Version)
		apt, err := OpenApt(ctx, cache.Dir, kernel.Suite)
		if err != nil {
			return err
		}
		// The suite may have a newer source than the kernel in the cache.
		debs, err := apt.Download(ctx, pkg+"="+kernel.Version)
		if err != nil {
			return fmt.Errorf("if the archive has moved on to a newer build, fetch the kernel again with a refresh: %w", err)
		}
		// All that is ever wanted of it is kept; nobody else downloads it.
		defer os.RemoveAll(filepath.Dir(debs[0]))
		return extractVethSource(ctx, apt, debs, pkg, tmp)
	})
	if err != nil {
		return "", fmt.Errorf("fetching veth.c of kernel %s: %w", kernel.Version, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "veth.c"))
	if err != nil {
		return "", fmt.Errorf("fetching veth.c of kernel %s: %w", kernel.Version, err)
	}
	return string(text), nil
}

// extractVethSource leaves veth.c, alone, in dst.
func extractVethSource(ctx context.Context, apt *Apt, debs []string, pkg, dst string) error {
	unpacked := filepath.Join(dst, "deb")
	if err := apt.Unpack(ctx, debs, unpacked); err != nil {
		return err
	}
	// The first match ends it, at half of the archive. The top folder's name is the
	// package's, which * spares knowing.
	cmd := exec.CommandContext(ctx, "tar", "-xJf", filepath.Join(unpacked, "usr/src", pkg+".tar.xz"),
		"-C", dst, "--strip-components=3", "--occurrence=1",
		"--wildcards", "--no-wildcards-match-slash", "*/drivers/net/veth.c")
	if _, err := cmd.Output(); err != nil {
		return fmt.Errorf("extracting veth.c from %s: %w", pkg, withStderr(err))
	}
	return os.RemoveAll(unpacked)
}

var kernelSeries = regexp.MustCompile(`^\d+\.\d+(?:[.~-]|$)`)

// sourcePackage names the package with the source of a kernel of that version: it
// bears the first two numbers.
func sourcePackage(version string) (string, error) {
	series := kernelSeries.FindString(version)
	if series == "" {
		return "", fmt.Errorf("kernel version %q does not begin with two numbers", version)
	}
	return "linux-source-" + strings.TrimRight(series, ".~-"), nil
}
