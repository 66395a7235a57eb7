// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab/modules"
)

// modprobePath is where every Debian kernel looks for it (CONFIG_MODPROBE_PATH).
const modprobePath = "/sbin/modprobe"

// modprobe is the program /sbin/modprobe: modprobe [-q] [-r] [-a] NAME... or
// modprobe NAME PARAMETER=VALUE... It returns the exit code.
func modprobe(args []string) int {
	quiet, remove := false, false
	var names, params []string
	for _, arg := range args {
		switch {
		case arg == "--":
		case strings.HasPrefix(arg, "--"):
			quiet = quiet || arg == "--quiet"
			remove = remove || arg == "--remove"
		case strings.HasPrefix(arg, "-"):
			quiet = quiet || strings.Contains(arg, "q")
			remove = remove || strings.Contains(arg, "r")
		case len(names) > 0 && strings.Contains(arg, "="):
			params = append(params, arg)
		default:
			names = append(names, arg)
		}
	}
	code := 0
	for _, name := range names {
		err := loadOrRemove(name, params, remove)
		if err != nil && (!quiet || !errors.Is(err, modules.ErrUnknown)) {
			fmt.Fprintf(os.Stderr, "modprobe: %v\n", err)
		}
		if err != nil {
			code = 1
		}
	}
	return code
}

func loadOrRemove(name string, params []string, remove bool) error {
	if !remove {
		return loadModule(name, params)
	}
	if err := unix.DeleteModule(modules.Normalize(name), unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("removing module %s: %w", name, err)
	}
	return nil
}

// loadModule loads a module and what it depends on. The parameters are for the
// module itself.
func loadModule(name string, params []string) error {
	dir, err := modulesDir()
	if err != nil {
		return fmt.Errorf("loading module %s: %w", name, err)
	}
	table, err := modules.Read(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("loading module %s: %w", name, err)
	}
	files, err := table.Resolve(name)
	if err != nil {
		return fmt.Errorf("loading: %w", err)
	}
	for i, file := range files {
		text := ""
		if i == len(files)-1 {
			text = strings.Join(params, " ")
		}
		if err := insert(filepath.Join(dir, file), text); err != nil {
			return fmt.Errorf("loading module %s: %w", name, err)
		}
	}
	return nil
}

func insert(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), params, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

func modulesDir() (string, error) {
	release, err := kernelRelease()
	if err != nil {
		return "", err
	}
	return "/lib/modules/" + release, nil
}

func kernelRelease() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}
