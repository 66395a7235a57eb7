// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/record"
)

var csumPoints = []point{
	{
		// First, so that no module can load unseen before its functions are looked for.
		thing: "kernel modules being loaded",
		lost:  "veth devices are not watched if the module veth is loaded later",
		ways: []Way{
			{TPBTF, "module_load", []string{csumProgModuleTpBtf}},
			{RawTP, "module_load", []string{csumProgModuleRawTp}},
		},
	},
	{
		thing: "packets being sent on veth devices", required: true, module: "veth",
		ways: []Way{
			{Fentry, "veth_xmit", []string{csumProgXmitFentry}},
			{Kprobe, "veth_xmit", []string{csumProgXmitKprobe}},
		},
	},
	{
		thing: "packets being handed to the peer", required: true,
		ways: []Way{
			{Fentry, "__dev_forward_skb", []string{csumProgForwardFentry}},
			{Kprobe, "__dev_forward_skb", []string{csumProgForwardKprobe}},
		},
	},
}

// The keys and values of the map rewrites, as bpf/csum.bpf.c has them; a value ends
// with the device's record, whose wire form it is.
type (
	deviceKey struct {
		Cookie  uint64
		Inum    uint32
		Ifindex int32
	}
	rewritesValue struct {
		Packets  uint64
		Recorded uint64
		Header   [16]byte
		Netns    netnsID
		Peer     netnsID
		_        uint64
		Ifindex  int32
		PeerIndx int32
		Name     [16]byte
		PeerName [16]byte
	}
)

// CsumRewrites reads the kernel's own count of rewritten packets, by device, for
// when tracing ends. It is empty when the csum detector is not running.
func (s *Session) CsumRewrites() ([]record.CsumRewrite, error) {
	o := s.objects[DetectorCsum]
	if o == nil {
		return nil, nil
	}
	var out []record.CsumRewrite
	var key deviceKey
	var v rewritesValue
	entries := o.maps[csumMapRewrites].Iterate()
	for entries.Next(&key, &v) {
		out = append(out, record.CsumRewrite{
			Time: now(), Netns: v.Netns.id(), PeerNetns: v.Peer.id(), Packets: v.Packets,
			Ifindex: v.Ifindex, PeerIfindex: v.PeerIndx,
			Name: unix.ByteSliceToString(v.Name[:]), PeerName: unix.ByteSliceToString(v.PeerName[:]), Final: true,
		})
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("reading the rewritten packets: %w", err)
	}
	return out, nil
}
