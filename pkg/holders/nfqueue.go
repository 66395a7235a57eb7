// SPDX-License-Identifier: Apache-2.0

package holders

import "strconv"

// packetQueue is what packets wait in until a program gives a verdict.
type packetQueue struct {
	number, portID uint64 // portID is the netlink address of the program's socket
	net            uint64
}

// queueOf finds the NFQUEUE of a packet: the head of the list that the packet is on is
// in it. Without the types of nfnetlink_queue it is not known.
func (id *identifier) queueOf(o *object) (packetQueue, bool) {
	list, ok := id.field("nf_queue_entry.list")
	head, okHead := id.field("nfqnl_instance.queue_list")
	if !ok || !okHead || o.family != "queued_packet" {
		return packetQueue{}, false
	}
	var q packetQueue
	found := false
	start := o.base + uint64(list.Offset)
	id.memory.EachInList(start, uint64(head.Offset), func(addr uint64) {
		object, ok := id.memory.ObjectAt(addr)
		if found || !ok || object.Free || object.Start != addr {
			return
		}
		hash, okHash := id.at(addr, "nfqnl_instance.hlist")
		if _, linked := id.linkBefore(hash); !okHash || !linked {
			return
		}
		number, okNumber := id.get(addr, "nfqnl_instance.queue_num")
		port, okPort := id.get(addr, "nfqnl_instance.peer_portid")
		if okNumber && okPort && port != 0 {
			q.number, q.portID, found = number, port, true
		}
	})
	q.net, _ = id.get(o.base, "nf_queue_entry.state.net")
	return q, found
}

func (id *identifier) followQueuedPacket(o *object, add func(name, value string)) {
	if q, ok := id.queueOf(o); ok {
		add("queue_number", strconv.FormatUint(q.number, 10))
		add("port_id", strconv.FormatUint(q.portID, 10))
	}
}

// findReaders finds the sockets of the programs that read the queues of packets.
func (s *search) findReaders() error {
	read := make(map[packetQueue][]*object)
	for _, o := range s.objects {
		if q, ok := s.id.queueOf(o); ok {
			q.number = 0 // one socket may read several
			read[q] = append(read[q], o)
		}
	}
	if len(read) == 0 {
		return nil
	}
	return s.eachOpenFile(func(_ task, _ int32, file uint64) {
		sock, q, ok := s.netfilterSocket(file)
		if !ok || read[q] == nil {
			return
		}
		if described, ok := s.socket(sock); ok {
			for _, o := range read[q] {
				s.add(o, sock, described)
			}
		}
	})
}

// netfilterSocket is the socket of NETLINK_NETFILTER that a file is, and its address.
func (s *search) netfilterSocket(file uint64) (sock uint64, address packetQueue, ok bool) {
	const netlink, netfilter = 16, 12
	socket, _ := s.get(file, "file.private_data")
	sock, ok = s.get(socket, "socket.sk")
	if back, okBack := s.get(sock, "sock.sk_socket"); !ok || !okBack || back != socket {
		return 0, address, false
	}
	family, _ := s.get(sock, "sock.__sk_common.skc_family")
	protocol, _ := s.get(sock, "sock.sk_protocol")
	if family != netlink || protocol != netfilter {
		return 0, address, false
	}
	address.portID, ok = s.get(sock, "netlink_sock.portid")
	address.net, _ = s.get(sock, "sock.__sk_common.skc_net.net")
	return sock, address, ok
}
