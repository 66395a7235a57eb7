// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// protocols says of which protocols a socket is that holds a device for one of these
// families, as the kernel names them in /proc/net/protocols.
var protocols = map[string][]string{
	"AF_LLC socket":  {"LLC"},
	"CAN socket":     {"CAN_RAW", "CAN_BCM", "CAN_ISOTP", "CAN_J1939", "RAW", "BCM", "ISOTP"},
	"packet_socket":  {"PACKET"},
	"AF_XDP":         {"XDP"},
	"AX.25 socket":   {"AX25"},
	"NET/ROM socket": {"NETROM"},
	"ROSE socket":    {"ROSE"},
	"AppleTalk":      {"DDP"},
	"smc":            {"SMC", "SMC6"},
	"pppoe":          {"PPPOE"},
	"Phonet":         {"PHONET", "PIPE"},
	"IEEE 802.15.4 socket": {
		"IEEE-802.15.4-MAC", "IEEE802154-MAC", "IEEE 802.15.4",
	},
}

// release says whether who took a reference is still there, and what would make it
// drop it.
func (d *Detector) release(a *purpose, f *finding.Finding) {
	if f.Process == nil {
		return
	}
	state := d.states[f.Process.PID]
	if state == nil {
		return
	}
	who := fmt.Sprintf("%s (pid %d)", f.Process.Comm, f.Process.PID)
	f.Details["holder_alive"] = state.Alive
	if !state.Alive {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "release", Text: who + " has exited: nothing that it still had open holds the device",
		})
		return
	}
	sockets := socketsOf(a.family, state.Sockets)
	if len(sockets) == 0 {
		f.Facts = append(f.Facts, finding.Fact{Label: "holder", Text: who + " is alive"})
		return
	}
	var fds []string
	for _, s := range sockets {
		fds = append(fds, fmt.Sprintf("fd %d", s.FD))
	}
	text := fmt.Sprintf("socket of %s, %s (%s): closing it frees the device", who, strings.Join(fds, ", "), sockets[0].Protocol)
	f.Details["fds"], f.Details["release"] = sockets, text
	f.Facts = append(f.Facts, finding.Fact{Label: "release", Text: text})
}

// heldBy is a descriptor in a finding's details.
type heldBy struct {
	FD       int    `json:"fd"`
	Inode    uint64 `json:"inode"`
	Protocol string `json:"protocol"`
}

func socketsOf(family string, all []record.OpenSocket) []heldBy {
	var out []heldBy
	for _, s := range all {
		if slices.Contains(protocols[family], s.Protocol) {
			out = append(out, heldBy{s.FD, s.Inode, s.Protocol})
		}
	}
	return out
}
