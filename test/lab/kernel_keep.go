// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"path"
	"strings"
)

// keepDirs are directories of the kernel tree whose modules are all kept.
var keepDirs = [...]string{
	"net/802/", "net/8021q/", "net/bridge/", "net/llc/", "net/can/", "net/packet/", "net/unix/",
	"net/ipv4/", "net/ipv6/", "net/xfrm/", "net/key/", "net/sched/", "net/netlink/",
	"drivers/net/vxlan/", "drivers/net/ipvlan/", "drivers/net/macvlan/", "drivers/net/bonding/", "drivers/net/can/",
	"drivers/virtio/", "fs/overlayfs/", "fs/ext4/", "fs/jbd2/",
}

// keepNames are patterns of module names, with underscores.
var keepNames = [...]string{
	// Devices.
	"veth", "dummy", "tun", "tap", "macvlan", "macvtap", "vxlan", "geneve", "ifb", "vrf", "wireguard", "nlmon", "macsec",
	"can", "can_*", "vcan", "vxcan", "virtio*", "net_failover", "failover", "loop",
	// Netfilter without ipset and ipvs, which no scenario uses.
	"nf_*", "nft_*", "nfnetlink*", "x_tables", "xt_*", "ip_tables", "ip6_tables", "iptable_*", "ip6table_*", "ebtable*",
	"arp_tables", "arptable_*",
	// IPsec: ESP, and the ciphers that `ip xfrm state` may name.
	"esp4", "esp6", "ah4", "ah6", "xfrm*", "ipcomp*",
	"aes*", "cbc", "ctr", "gcm", "ghash*", "hmac", "sha1*", "sha256*", "sha512*", "seqiv", "echainiv", "authenc*", "geniv",
	"crypto_null", "cryptd", "crypto_simd", "rng", "drbg", "jitterentropy_rng", "md5", "cmac", "ccm",
	// File systems of a root disk, and containers.
	"mbcache", "crc*", "libcrc*", "overlay", "binfmt_misc",
}

// dropNames are exceptions: modules that the above would keep and that draw in
// much that nobody uses here.
var dropNames = [...]string{
	"xt_set", "xt_ipvs", "nft_set_pipapo_avx2", "virtio_gpu", "virtio_scsi", "virtio_input", "virtio_pmem", "virtio_mem",
	"virtio_balloon", "virtiofs", "virtio_snd", "virtio_bt", "virtio_ipc", "virtio_iommu", "virtio_dma_buf", "virtio_rtc",
}

// keepModule reports whether the lab's guests get a module. File is its path below
// /lib/modules/RELEASE.
func keepModule(name, file string) bool {
	for _, pattern := range dropNames {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return false
		}
	}
	file = strings.TrimPrefix(file, "kernel/")
	for _, dir := range keepDirs {
		if strings.HasPrefix(file, dir) {
			return !strings.HasPrefix(file, "drivers/net/can/usb/")
		}
	}
	for _, pattern := range keepNames {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}
