// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"github.com/netns-trace/netns-trace/pkg/record"
)

// protocol is what the sockets of a struct proto are.
type protocol struct {
	name string // such as TCP, LLC, PACKET
	size uint64 // of its sockets' struct
}

// socketAt reports whether an object is a struct sock, whatever struct it is the begin
// of: no type of the module that made it is needed.
func (k *Kernel) socketAt(addr uint64) (*protocol, bool) {
	proto, ok := k.get(addr, "sock.__sk_common.skc_prot")
	if !ok || proto < minPointer || proto%8 != 0 {
		return nil, false
	}
	if _, _, known := k.symbol(proto); !known {
		return nil, false
	}
	net, ok := k.get(addr, "sock.__sk_common.skc_net.net")
	if !ok || !k.isNet(net) {
		return nil, false
	}
	size, ok := k.get(proto, "proto.obj_size")
	if !ok {
		return nil, false
	}
	return &protocol{name: k.text(proto, "proto.name"), size: size}, true
}

// socket describes the struct sock at addr, without who has it open.
func (k *Kernel) socket(addr uint64) (*record.Socket, bool) {
	p, ok := k.socketAt(addr)
	if !ok {
		return nil, false
	}
	family, _ := k.get(addr, "sock.__sk_common.skc_family")
	net, _ := k.get(addr, "sock.__sk_common.skc_net.net")
	s := &record.Socket{Family: uint16(family), Protocol: p.name, Netns: k.netnsOf(net)}
	if socket, ok := k.openSocket(addr); ok {
		if at, ok := k.field("socket_alloc.vfs_inode"); ok {
			s.Inode, _ = k.get(socket+uint64(at.Offset), "inode.i_ino")
		}
	}
	return s, true
}

// openSocket is the struct socket of a struct sock, through which files have it.
func (k *Kernel) openSocket(sock uint64) (uint64, bool) {
	socket, ok := k.get(sock, "sock.sk_socket")
	if !ok || socket == 0 {
		return 0, false
	}
	back, ok := k.get(socket, "socket.sk")
	return socket, ok && back == sock
}

// maxOwners is how many descriptors of a socket are told; more are counted.
const maxOwners = 8

// findOwners goes through the open files of all processes for those of the sockets.
func (k *Kernel) findOwners(sockets map[uint64]*record.Socket) error {
	if len(sockets) == 0 {
		return nil
	}
	files := make(map[uint64]*record.Socket) // a file's private data is its struct socket
	for sock, s := range sockets {
		if socket, ok := k.openSocket(sock); ok {
			files[socket] = s
		}
	}
	ops, _ := k.Address("socket_file_ops")
	return k.eachOpenFile(func(t task, fd int32, file uint64) {
		data, ok := k.get(file, "file.private_data")
		s := files[data]
		if !ok || s == nil {
			return
		}
		if of, _ := k.get(file, "file.f_op"); ops != 0 && of != ops {
			return
		}
		if len(s.Owners) == maxOwners {
			s.OwnersMore++
			return
		}
		thread := record.Thread{TGID: t.tgid, TID: t.pid, Comm: t.comm}
		thread.Start, _ = k.get(t.addr, "task_struct.start_boottime")
		s.Owners = append(s.Owners, record.SocketOwner{Thread: thread, FD: fd})
	})
}

// eachOpenFile calls see with each open file of all processes. Threads mostly share their
// files: each table is looked at once, for the first that has it.
func (k *Kernel) eachOpenFile(see func(t task, fd int32, file uint64)) error {
	seen := make(map[uint64]bool)
	return k.eachTask(func(t task) {
		table, ok := k.get(t.addr, "task_struct.files")
		if !ok || table == 0 || seen[table] {
			return
		}
		seen[table] = true
		k.eachFile(table, func(fd int32, file uint64) { see(t, fd, file) })
	})
}

// eachFile calls see with each open file of a files_struct.
func (k *Kernel) eachFile(files uint64, see func(fd int32, file uint64)) {
	table, ok := k.get(files, "files_struct.fdt")
	n, okMax := k.get(table, "fdtable.max_fds")
	array, okArray := k.get(table, "fdtable.fd")
	const most = 1 << 20 // fs.nr_open
	if !ok || !okMax || !okArray {
		return
	}
	for fd := range min(n, most) {
		file, err := k.memory.Uint64(array + 8*fd)
		if err != nil {
			return
		}
		if file != 0 {
			see(int32(fd), file)
		}
	}
}
