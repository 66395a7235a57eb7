// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asChild names what this test's program does as a process of its own: a filter stays.
const asChild = "NETNS_TRACE_SECCOMP_CHILD"

func TestMain(m *testing.M) {
	mode, do, child := strings.Cut(os.Getenv(asChild), " ")
	if !child {
		os.Exit(m.Run())
	}
	if err := restricted(Mode(mode), do); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func restricted(mode Mode, do string) error {
	// A thread from before must be restricted as well.
	other, ready := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		<-other
		ready <- forbidden["a program"]()
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	if err := Install(mode); err != nil {
		return fmt.Errorf("SKIP: %w", err)
	}
	if do == "work" {
		return work(l)
	}
	if do != "other thread" {
		return forbidden[do]()
	}
	close(other)
	return <-ready
}

// forbidden is what a service must not do any more, each with what the kernel says.
var forbidden = map[string]func() error{
	"a program":             func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) },
	"a process":             fork,
	"a process by clone3":   func() error { return call(unix.SYS_CLONE3, 0, 0, 0) },
	"looking into others":   func() error { return call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid()), 0) },
	"memory of others":      func() error { return call(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), 0, 0) },
	"a module":              func() error { return call(unix.SYS_INIT_MODULE, 0, 0, 0) },
	"a module from a file":  func() error { return call(unix.SYS_FINIT_MODULE, 0, 0, 0) },
	"a mount":               func() error { return unix.Mount("none", "/proc", "tmpfs", 0, "") },
	"a namespace":           func() error { return unix.Unshare(unix.CLONE_NEWNET) },
	"another's namespace":   func() error { return unix.Setns(0, unix.CLONE_NEWNET) },
	"packets":               func() error { return socket(unix.AF_PACKET) },
	"netlink":               func() error { return socket(unix.AF_NETLINK) },
	"killing":               func() error { return unix.Kill(os.Getppid(), 0) },
	"killing by thread":     func() error { return unix.Tgkill(os.Getppid(), os.Getppid(), 0) },
	"code":                  func() error { return mapped(unix.PROT_READ | unix.PROT_EXEC) },
	"typing into terminals": func() error { return call(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0) },
	"another's limits":      func() error { return call(unix.SYS_PRLIMIT64, uintptr(os.Getppid()), unix.RLIMIT_NOFILE, 0) },
	"removing files":        func() error { return unix.Unlink("/nowhere") },
	"being another user":    func() error { return call(unix.SYS_SETUID, 0, 0, 0) },
	"nothing there is":      func() error { return call(4095, 0, 0, 0) },
}

func call(nr, a, b, c uintptr) error {
	_, _, errno := unix.RawSyscall(nr, a, b, c)
	if errno == 0 {
		return nil
	}
	return errno
}

// fork would go on as two processes: it asks for what the kernel refuses for another
// reason, should the filter let it through.
func fork() error { return call(unix.SYS_CLONE, unix.CLONE_SIGHAND, 0, 0) }

func socket(domain int) error {
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func mapped(prot int) error {
	_, err := unix.Mmap(-1, 0, 4096, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	return err
}

// work is what a service goes on to do: threads, memory, signals to itself, files, and
// HTTP as a server and as a client that asks for a name.
func work(l net.Listener) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if _, err := os.ReadDir("/proc/self/fd"); err != nil {
		return err
	}
	if _, err := os.Stat("/proc/self/ns/net"); err != nil {
		return err
	}
	var threads sync.WaitGroup
	for range 20 {
		threads.Go(func() {
			runtime.LockOSThread() // and never unlocked: it ends with the goroutine
			garbage := make([][]byte, 64)
			for i := range garbage {
				garbage[i] = make([]byte, 1<<18)
			}
			runtime.GC()
		})
	}
	threads.Wait()

	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// Its errors are the client's too.
		_, _ = io.WriteString(w, "metrics")
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client := http.Client{Timeout: 10 * time.Second}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	resp, err := client.Get("http://localhost:" + port)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close(), server.Close()); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if string(text) != "metrics" {
		return fmt.Errorf("got %q", text)
	}
	// A name that no file has: asks servers of names, whether there are any or not.
	if _, err := net.LookupHost("nowhere.invalid"); errors.Is(err, syscall.EPERM) {
		return err
	}
	return nil
}

// child runs this program restricted, and returns what it printed and how it ended.
func child(t *testing.T, mode Mode, do string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "/proc/self/exe")
	c.Env = append(os.Environ(), asChild+"="+string(mode)+" "+do)
	out, err := c.CombinedOutput()
	if strings.HasPrefix(string(out), "SKIP: ") {
		t.Skip(strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), err
}

func TestAServiceGoesOnToWork(t *testing.T) {
	if out, err := child(t, Kill, "work"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWhatIsNotNeededIsRefused(t *testing.T) {
	for do := range forbidden {
		t.Run(do, func(t *testing.T) {
			want := "operation not permitted"
			if do == "a process by clone3" {
				want = "function not implemented"
			}
			if out, err := child(t, Refuse, do); err == nil || out != want {
				t.Errorf("got %q, %v, want %q", out, err, want)
			}
		})
	}
}

func TestThreadsOfBeforeAreRestrictedToo(t *testing.T) {
	if out, _ := child(t, Refuse, "other thread"); out != "operation not permitted" {
		t.Errorf("got %q", out)
	}
}

func TestKillEndsTheProcess(t *testing.T) {
	_, err := child(t, Kill, "a mount")
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
		t.Errorf("got %v, want SIGSYS", err)
	}
}

func TestOffRestrictsNothing(t *testing.T) {
	if out, err := child(t, Off, "a program"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
