// SPDX-License-Identifier: Apache-2.0

// Command setnsgo changes network namespaces from Go, in the ways Go programs do
// it wrong, and in the ways that are right and must not be reported.
//
//	setnsgo [flags] MODE NETNS-FILE
//
// Since Go 1.10 the runtime does not clone a thread from a locked one (it keeps a
// template thread for that), so the bug of 2016 needs C or an older Go; what is
// left to do wrong in Go is to let a switched thread go back to the scheduler.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A mode is one way of entering a namespace. It runs on a goroutine of its own.
type mode struct {
	about string
	run   func(w window) error
}

func modes() map[string]mode {
	return map[string]mode{
		"unlock":         {"fault: the thread is unlocked while away", unlockAway},
		"failed-restore": {"fault: the setns home fails, the thread is unlocked all the same", failedRestore},
		"nolock":         {"fault: setns on a goroutine that is locked to no thread", noLock},
		"clean":          {"healthy: lock, setns, work, setns home, unlock", clean},
		"locked-exit":    {"healthy: the goroutine ends locked, so the runtime ends the thread", lockedExit},
		"stay":           {"healthy: a locked goroutine lives in the other namespace on purpose", stay},
	}
}

// Locked here, the main goroutine keeps the main thread to itself: no mode runs on
// it, and "home" stays where the process started.
func init() { runtime.LockOSThread() }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "setnsgo:", err)
		os.Exit(1)
	}
}

func run() error {
	hold := flag.Int("hold-ms", 50, "time in the other namespace")
	repeat := flag.Int("repeat", 1, "how often to do it")
	runMS := flag.Int("run-ms", 0, "end after this time (0: on SIGTERM)")
	connect := flag.String("connect", "", "afterwards try TCP connects to `ADDR:PORT` on many goroutines every second")
	wait := flag.Bool("wait", false, "start only when SIGUSR1 comes")
	flag.Usage = usage
	flag.Parse()
	chosen, known := modes()[flag.Arg(0)]
	if !known || flag.NArg() != 2 {
		usage()
		os.Exit(2)
	}

	home, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("opening the home namespace: %w", err)
	}
	defer home.Close()
	away, err := os.Open(flag.Arg(1))
	if err != nil {
		return fmt.Errorf("opening the other namespace: %w", err)
	}
	defer away.Close()

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	var timeUp <-chan time.Time
	if *runMS > 0 {
		timeUp = time.After(time.Duration(*runMS) * time.Millisecond)
	}
	if *wait {
		start := make(chan os.Signal, 1)
		signal.Notify(start, syscall.SIGUSR1)
		say("waiting", "pid=%d", os.Getpid())
		<-start
	}
	stop := make(chan struct{})
	w := window{
		home: int(home.Fd()),
		away: int(away.Fd()),
		hold: time.Duration(*hold) * time.Millisecond,
		stop: stop,
	}

	var work sync.WaitGroup
	failed := make(chan error, 1)
	work.Go(func() { failed <- doAll(chosen, w, *repeat, *connect) })
	select {
	case <-signals:
	case <-timeUp:
	case err = <-failed:
	}
	close(stop)
	work.Wait()
	return err
}

func usage() {
	out := flag.CommandLine.Output()
	fmt.Fprintln(out, "usage: setnsgo [flags] MODE NETNS-FILE")
	all := modes()
	var names []string
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(out, "  %-15s %s\n", name, all[name].about)
	}
	flag.PrintDefaults()
}

// doAll runs the mode repeat times, each on a fresh goroutine as in a server that
// handles requests, then lives on until stopped.
func doAll(m mode, w window, repeat int, connect string) error {
	var running sync.WaitGroup
	defer running.Wait()
	for range repeat {
		result := make(chan error, 1)
		running.Go(func() { result <- m.run(w) })
		select {
		case err := <-result:
			if err != nil {
				return err
			}
		case <-w.stop:
			return nil
		}
	}
	say("done", "times=%d", repeat)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if connect != "" {
			connectEverywhere(connect)
		}
		select {
		case <-tick.C:
		case <-w.stop:
			return nil
		}
	}
}

// connectEverywhere connects on many goroutines at once, so that idle threads of the
// runtime are taken up by some of them, a stranded one likely among them.
func connectEverywhere(addr string) {
	const goroutines = 16
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			tid, result := connectOnce(addr)
			say("connect", "tid=%d result=%s", tid, result)
		})
	}
	wg.Wait()
}

// connectOnce returns the thread its socket was made on and an errno's name.
func connectOnce(addr string) (tid int, result string) {
	// Locked only so that the thread that is printed is the one that connected.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid = unix.Gettid()
	peer, err := parseAddr(addr)
	if err != nil {
		return tid, err.Error()
	}
	family := unix.AF_INET
	if _, six := peer.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return tid, errnoName(err)
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval((900 * time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return tid, errnoName(err)
	}
	if err := unix.Connect(fd, peer); err != nil {
		return tid, errnoName(err)
	}
	return tid, "ok"
}

func errnoName(err error) string {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return strings.ReplaceAll(err.Error(), " ", "-")
}
