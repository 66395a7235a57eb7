// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// foundFamily is what the objects of a family are called that a search finds, and what
// releases the reference while the device waits. Deleting what belongs to the device by
// its name or number is over by then: it has neither.
type foundFamily struct{ words, release string }

var foundFamilies = map[string]foundFamily{
	"in_device":       {"its IPv4 state (in_device)", "its end: something has a reference on it (its own count tells), such as an address or a multicast group"},
	"inet6_dev":       {"its IPv6 state (inet6_dev)", "its end: something has a reference on it (its own count tells), such as an address, a route or a multicast group"},
	"neigh_parms":     {"neighbour parameters", "the end of the neighbours that use them"},
	"neighbour":       {"a neighbour", "its end: something has a reference on it (its own count tells), such as a route"},
	"proxy_neighbour": {"a proxied address", ""},
	"tx_queue":        {"a transmit queue in sysfs", "closing the files below /sys/class/net/DEVICE/queues that are open"},
	"rx_queue":        {"a receive queue in sysfs", "closing the files below /sys/class/net/DEVICE/queues that are open"},
	"qdisc":           {"a qdisc", ""},
	"adjacent_device": {"its place above or below", "deleting that device (ip link delete), or taking this one from it"},
	"dst":             {"a dst entry (a route in use)", "the end of what uses the route: a socket, a tunnel, a queued packet"},
	"nexthop":         {"the nexthop of a route", "deleting the route (ip route del) or its table's namespace"},
	"multicast_vif":   {"a multicast routing interface", "ending the multicast routing daemon"},
	"packet_socket":   {"a packet socket", ""},
	"socket":          {"a socket", ""},
	"j1939":           {"a J1939 session of CAN", "closing the J1939 sockets that are bound to it"},
	"xdp_socket":      {"an AF_XDP socket's buffers", "closing the AF_XDP socket"},
	"tls_offload":     {"a TLS connection's offload", "closing the connection"},
	"vlan":            {"the VLAN device", "ip link delete of the VLAN device"},
	"veth":            {"the other end of the veth pair,", "ip link delete of the other end"},
	"macvlan":         {"the macvlan device", "ip link delete of the macvlan device"},
	"ipvlan":          {"an ipvlan port", "ip link delete of the ipvlan devices"},
	"macsec":          {"the MACsec device", "ip link delete of the MACsec device"},
	"bridge_port":     {"a port of the bridge", "ip link set DEVICE nomaster, or deleting the bridge"},
	"openvswitch":     {"a port of Open vSwitch", "ovs-vsctl del-port"},
	"batman":          {"an interface of batman-adv", "taking it from the mesh (batctl interface del)"},
	"failover":        {"a failover device", ""},
	"tunnel":          {"the tunnel's own driver", ""},
	"queued_packet":   {"a packet in NFQUEUE", "a verdict on the packet, or ending the program that reads the queue, whose netlink port is in /proc/net/netfilter/nfnetlink_queue"},
	"mirred":          {"a tc action mirred", "deleting the tc filter that redirects to it"},
	"devmap":          {"an entry of a BPF device map", "deleting the entry (bpftool map delete), or the program that has the map"},
	"bpf_offload":     {"an offloaded BPF program", "unloading the program"},
	"xfrm":            {"an offloaded IPsec state or policy", "ip xfrm state flush, ip xfrm policy flush"},
	"netpoll":         {"netpoll (netconsole)", "disabling the netconsole target in configfs"},
	"pktgen":          {"pktgen", "rem_device_all in /proc/net/pktgen"},
	"mctp":            {"its MCTP state", ""},
	"tx_watchdog":     {"its transmit watchdog", ""},
	"device_work":     {"work of its own that is to be done", "its end, within a second"},
	"linkwatch":       {"a pending link event", "its handling, within a second"},
}

func foundFamilyOf(name string) foundFamily {
	if f, ok := foundFamilies[name]; ok {
		return f
	}
	return foundFamily{words: "an object of kind " + name}
}

// socketFamilies names the address families whose sockets can hold devices
// (linux/socket.h).
var socketFamilies = map[uint16]string{
	1: "AF_UNIX", 2: "AF_INET", 3: "AF_AX25", 5: "AF_APPLETALK", 6: "AF_NETROM", 9: "AF_X25", 10: "AF_INET6",
	11: "AF_ROSE", 16: "AF_NETLINK", 17: "AF_PACKET", 24: "AF_PPPOX", 26: "AF_LLC", 27: "AF_IB", 29: "AF_CAN", 30: "AF_TIPC",
	35: "AF_PHONET", 36: "AF_IEEE802154", 40: "AF_VSOCK", 41: "AF_KCM", 43: "AF_SMC", 44: "AF_XDP", 45: "AF_MCTP",
}

func socketFamily(family uint16) string {
	if name, ok := socketFamilies[family]; ok {
		return name
	}
	return fmt.Sprintf("family %d", family)
}

func socketWords(sockets []record.Socket) string {
	family := socketFamily(sockets[0].Family)
	if p := sockets[0].Protocol; p != "" && !strings.HasSuffix(family, "_"+p) {
		family += " (" + p + ")"
	}
	if len(sockets) == 1 {
		return "a socket of " + family
	}
	return fmt.Sprintf("%d sockets of %s", len(sockets), family)
}

// sockets puts what is known of an object's sockets in details.
func (s *Searches) sockets(f *finding.Finding, o *record.HeldObject) {
	list := []map[string]any{}
	for _, sock := range o.Sockets {
		open := []map[string]any{}
		for _, owner := range sock.Owners {
			open = append(open, map[string]any{"process": s.known.Process(owner.Thread), "fd": owner.FD})
		}
		list = append(list, map[string]any{
			"family": socketFamily(sock.Family), "protocol": sock.Protocol, "inode": sock.Inode,
			"netns": s.known.Netns(sock.Netns), "open_in": open, "open_in_more": sock.OwnersMore,
		})
	}
	f.Details["sockets"] = list
	f.Details["sockets_more"] = o.SocketsMore
	if all := owners(o.Sockets); len(all) > 0 {
		f.Process = s.known.Process(all[0].Thread)
	}
}

// owners are the descriptors of all the sockets.
func owners(sockets []record.Socket) []record.SocketOwner {
	var list []record.SocketOwner
	for _, sock := range sockets {
		list = append(list, sock.Owners...)
	}
	return list
}

func (s *Searches) ownerWords(sockets []record.Socket) string {
	switch list := owners(sockets); len(list) {
	case 0:
		return ""
	case 1:
		return " of " + s.descriptor(list[0])
	default:
		return fmt.Sprintf(" of %s, and %d more", s.descriptor(list[0]), len(list)-1)
	}
}

func (s *Searches) descriptor(o record.SocketOwner) string {
	p := s.known.Process(o.Thread)
	text := fmt.Sprintf("%s (pid %d), fd %d", p.Comm, p.PID, o.FD)
	switch {
	case p.ContainerName != "":
		text += ", container " + p.ContainerName
	case p.Container != "":
		text += fmt.Sprintf(", container %.12s", p.Container)
	}
	return text
}

// releaseWords says what gives the reference back.
func releaseWords(r *record.HolderSearch, o *record.HeldObject, family foundFamily) string {
	if len(o.Sockets) == 0 {
		if !r.Waiting {
			return ""
		}
		return strings.ReplaceAll(family.release, "DEVICE", r.Name)
	}
	var parts []string
	closed := 0
	for _, sock := range o.Sockets {
		switch {
		case sock.Inode == 0:
			parts = append(parts, "no process has the socket: it is the kernel's own, or about to be freed")
		case len(sock.Owners) == 0 && r.NotSaved > 0:
			parts = append(parts, fmt.Sprintf("closing the socket (inode %d); which process has it is not in what was saved", sock.Inode))
		case len(sock.Owners) == 0:
			parts = append(parts, fmt.Sprintf("closing the socket (inode %d), of which no process has a descriptor: "+
				"it may be in flight in a message of another socket (SCM_RIGHTS)", sock.Inode))
		default:
			closed += len(sock.Owners) + sock.OwnersMore
		}
	}
	switch list := owners(o.Sockets); {
	case closed == 1:
		parts = append(parts, fmt.Sprintf("closing the socket: kill pid %d, or have it close fd %d", list[0].Thread.TGID, list[0].FD))
	case closed > 1:
		parts = append(parts, fmt.Sprintf("closing all of the %d descriptors: a socket lives until its last one is closed", closed))
	}
	return strings.Join(parts, "; ")
}
