// SPDX-License-Identifier: Apache-2.0

// Command guest is process 1 of the lab's virtual machines: it makes the machine
// usable and then serves the host's commands. Under the name modprobe it is the
// program that the kernel calls to load a module.
//
// It must not import cilium/ebpf: that package's rlimit part looks at the kernel
// when the program starts, before /proc is mounted, and then spoils every map
// creation of the process.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		os.Exit(modprobe(os.Args[1:]))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "lab guest: this is the init of the lab's virtual machines; it runs as process 1 only")
		os.Exit(2)
	}
	err := boot()
	// Process 1 must not return: the kernel would panic and hide the reason.
	fmt.Fprintf(os.Stderr, "lab guest: %v\n", err)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		fmt.Fprintf(os.Stderr, "lab guest: restarting: %v\n", err)
	}
	for {
		time.Sleep(time.Hour)
	}
}

// boot prepares the machine and serves the host. It returns only when the host can
// no longer be served.
func boot() error {
	var failed []string
	try := func(err error) {
		if err != nil {
			fmt.Fprintf(os.Stderr, "lab guest: %v\n", err)
			failed = append(failed, err.Error())
		}
	}
	var config agent.BootConfig
	data, err := os.ReadFile(agent.BootPath)
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil {
		return fmt.Errorf("reading the boot configuration: %w", err)
	}
	if err := os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	try(mountAll())
	// Not in the initramfs: there the kernel would call it while it starts, which on
	// 6.12 costs 1.5 s of processor time under emulation and on 5.10 half of that.
	try(os.Symlink("/init", modprobePath))
	try(unix.Sethostname([]byte("lab")))
	for _, module := range config.Modules {
		try(loadModule(module, nil))
	}
	if config.RootDevice != "" {
		if err := switchRoot(config.RootDevice, config.Copy); err != nil {
			return fmt.Errorf("switching to the root on %s: %w", config.RootDevice, err)
		}
	}
	try(loopbackUp())
	// "quiet" on the command line keeps the boot fast; from here on the console
	// shows warnings, which is where WARN() and the like go.
	try(os.WriteFile("/proc/sys/kernel/printk", []byte("5"), 0))
	return serve(failed)
}
