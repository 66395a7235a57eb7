// SPDX-License-Identifier: Apache-2.0

// Command bindsock binds a socket to a network device and keeps it: one that lets
// go when the device is deleted, as all should, or one that does not.
//
//	bindsock packet DEV       AF_PACKET, bound
//	bindsock udp DEV ADDRESS  UDP, connected to ADDRESS:9 through DEV: caches the route
//	bindsock tap DEV          a tap device of that name, which the socket's end deletes
//	bindsock xdp DEV          AF_XDP on queue 0
//	bindsock llc DEV          AF_LLC, bound by the device's address: has no notifier and
//	                          holds the device until it is closed, on every kernel
//
// It prints "bound" and waits for a signal.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bindsock:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: bindsock packet|udp|tap|xdp|llc DEV [ADDRESS]")
	}
	kind, name := args[0], args[1]
	fd, err := bind(kind, name, args[2:])
	if err != nil {
		return fmt.Errorf("binding %s to %s: %w", kind, name, err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	fmt.Println("bound")
	<-stop
	return unix.Close(fd)
}

func bind(kind, name string, rest []string) (int, error) {
	if kind == "tap" {
		return bindTap(name)
	}
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	switch kind {
	case "packet":
		return bindPacket(dev)
	case "udp":
		if len(rest) != 1 {
			return -1, errors.New("which address?")
		}
		return bindUDP(dev, rest[0])
	case "xdp":
		return bindXDP(dev)
	case "llc":
		return bindLLC(dev)
	}
	return -1, errors.New("no such kind of socket")
}

func bindPacket(dev *net.Interface) (int, error) {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, all)
	if err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index})
}

func bindUDP(dev *net.Interface, address string) (int, error) {
	ip := net.ParseIP(address).To4()
	if ip == nil {
		return -1, fmt.Errorf("%q is no IPv4 address", address)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.BindToDevice(fd, dev.Name); err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte(ip)}); err != nil {
		return -1, err
	}
	// The first packet caches the route in the socket.
	return fd, unix.Send(fd, []byte("x"), 0)
}

func bindTap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return -1, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	return fd, unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
}

const (
	xdpFrames    = 8
	xdpFrameSize = 4096
	xdpRing      = 8
)

func bindXDP(dev *net.Interface) (int, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW, 0)
	if err != nil {
		return -1, err
	}
	umem, err := unix.Mmap(-1, 0, xdpFrames*xdpFrameSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return -1, err
	}
	reg := unix.XDPUmemReg{
		Addr: uint64(uintptr(unsafe.Pointer(&umem[0]))), Len: uint64(len(umem)), Size: xdpFrameSize,
	}
	if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0); errno != 0 {
		return -1, errno
	}
	for _, ring := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		if err := unix.SetsockoptInt(fd, unix.SOL_XDP, ring, xdpRing); err != nil {
			return -1, err
		}
	}
	return fd, unix.Bind(fd, &unix.SockaddrXDP{Ifindex: uint32(dev.Index)})
}

// sockaddrLLC is struct sockaddr_llc (linux/llc.h).
type sockaddrLLC struct {
	family, arphrd     uint16
	test, xid, ua, sap uint8
	mac                [6]uint8
	_                  [2]uint8
}

func bindLLC(dev *net.Interface) (int, error) {
	fd, err := unix.Socket(unix.AF_LLC, unix.SOCK_DGRAM, 0)
	if err != nil {
		return -1, err
	}
	a := sockaddrLLC{family: unix.AF_LLC, arphrd: unix.ARPHRD_ETHER, sap: 0x42, mac: [6]uint8(dev.HardwareAddr)}
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a))
	if errno != 0 {
		return -1, errno
	}
	return fd, nil
}
