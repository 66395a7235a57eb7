// SPDX-License-Identifier: Apache-2.0

// Command load does one thing as fast as it can, again and again until it is killed or
// has done so many rounds, and prints each second how often it was done. Nothing of it is a fault but dst: there
// allocations fail, by the module dstfail.
package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// kinds make what is done once, and return how often that was.
var kinds = map[string]func() (once func() (int, error), err error){
	"netns": moves, "references": references, "packets": packets, "dst": failures, "devices": devices,
}

func run() error {
	if len(os.Args) < 2 || len(os.Args) > 3 || kinds[os.Args[1]] == nil {
		return errors.New("wants one of netns, references, packets, dst, devices, and perhaps a number of rounds")
	}
	rounds := math.MaxInt
	if len(os.Args) == 3 {
		var err error
		if rounds, err = strconv.Atoi(os.Args[2]); err != nil {
			return fmt.Errorf("rounds: %w", err)
		}
	}
	runtime.LockOSThread()
	once, err := kinds[os.Args[1]]()
	if err != nil {
		return err
	}
	var done atomic.Int64
	go func() {
		for range time.Tick(time.Second) {
			fmt.Println(done.Swap(0))
		}
	}()
	for range rounds {
		n, err := once()
		if err != nil {
			return err
		}
		done.Add(int64(n))
	}
	return nil
}

// moves goes to another namespace and back.
func moves() (func() (int, error), error) {
	home, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	away, err := os.Open("/run/netns/load")
	if err != nil {
		return nil, err
	}
	return func() (int, error) {
		return 1, errors.Join(unix.Setns(int(away.Fd()), unix.CLONE_NEWNET), unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
	}, nil
}

// references takes and drops 2,000 references of a device.
func references() (func() (int, error), error) {
	file, err := os.OpenFile("/sys/kernel/debug/refpairs", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return func() (int, error) {
		_, err := file.WriteString("load0 2000")
		return 2000, err
	}, nil
}

// packets sends to the other end of a veth pair, where nobody listens to them.
func packets() (func() (int, error), error) {
	data := make([]byte, 512)
	conn, err := net.Dial("udp", "10.9.0.2:9000")
	if err != nil {
		return nil, err
	}
	return func() (int, error) {
		// That nobody listens is told of by ICMP: then the next packet is not sent.
		if _, err := conn.Write(data); err != nil {
			return 0, nil
		}
		return 1, nil
	}, nil
}

// failures connects where each time a route is allocated, which fails.
func failures() (func() (int, error), error) {
	armed, err := os.OpenFile("/sys/kernel/debug/dstfail/fail", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, [4]byte{10, 9, 0, 1}); err != nil {
		return nil, err
	}
	group := &unix.SockaddrInet4{Port: 9000, Addr: [4]byte{224, 0, 0, 200}}
	return func() (int, error) {
		if _, err := fmt.Fprintf(armed, "1000 4 %d", os.Getpid()); err != nil {
			return 0, err
		}
		failed := 0
		for range 1000 {
			switch err := unix.Connect(fd, group); {
			case errors.Is(err, unix.ENOBUFS):
				failed++
			case err != nil: // none: the kernel did not run the module's probe, as while others are put on
				return 0, fmt.Errorf("connecting: %w", err)
			}
		}
		return failed, nil
	}, nil
}

// devices makes and deletes a device.
func devices() (func() (int, error), error) {
	return func() (int, error) {
		return 1, exec.Command("ip", "-batch", "/load.batch").Run()
	}, nil
}
