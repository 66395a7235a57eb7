// SPDX-License-Identifier: Apache-2.0

package pins

import (
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// families are the address families by AF_ number, as people write them.
var families = map[uint32]string{
	1: "unix", 2: "IPv4", 3: "ax25", 4: "ipx", 5: "appletalk", 10: "IPv6", 15: "key", 16: "netlink", 17: "packet",
	21: "rds", 26: "llc", 29: "can", 30: "tipc", 31: "bluetooth", 33: "rxrpc", 38: "alg", 40: "vsock", 43: "smc",
	44: "xdp", 45: "mctp",
}

// protocols are those of AF_INET and AF_INET6.
var protocols = map[uint32]string{
	1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDP-Lite", 262: "MPTCP",
}

var kinds = map[uint32]string{
	1: "stream", 2: "datagram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet",
}

// states are those of TCP, by number.
var states = [...]string{
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
	"LISTEN", "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE",
}

const (
	afInet, afInet6 = 2, 10
	ipTCP           = 6
)

func isInet(r *record.NetnsFile) bool { return r.Family == afInet || r.Family == afInet6 }

// fileWords says what a file is that keeps a namespace.
func fileWords(r *record.NetnsFile) string {
	switch r.Kind {
	case record.NetnsFileNsfs:
		return "an open file of the namespace"
	case record.NetnsFileTun:
		return "an open /dev/net/tun"
	}
	if name := protocols[r.Proto]; isInet(r) && name != "" {
		words := fmt.Sprintf("a socket of %s, %s", name, family(r))
		if state := tcpState(r); state != "" {
			words += " " + state
		}
		return words
	}
	words := fmt.Sprintf("a socket of %s", family(r))
	if kind := kinds[r.Type]; kind != "" {
		words += " " + kind
	}
	return words
}

func family(r *record.NetnsFile) string {
	if name := families[r.Family]; name != "" {
		return name
	}
	return fmt.Sprintf("family %d", r.Family)
}

func tcpState(r *record.NetnsFile) string {
	if r.Proto != ipTCP || !isInet(r) || int(r.State) >= len(states) {
		return ""
	}
	return states[r.State]
}

func socketDetails(r *record.NetnsFile) map[string]any {
	details := map[string]any{
		"family": family(r), "type": kinds[r.Type], "protocol": r.Proto, "inode": r.Inode,
	}
	if state := tcpState(r); state != "" {
		details["state"] = state
	}
	return details
}
