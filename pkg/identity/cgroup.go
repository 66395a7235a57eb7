// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"strconv"
	"strings"
)

// parseCgroup finds the container in the contents of /proc/PID/cgroup: one
// line for each version 1 hierarchy and "0::" for version 2. On a hybrid host
// only some of the lines lead into the container, so the first that does wins.
func parseCgroup(data []byte) (Container, bool) {
	for line := range strings.Lines(string(data)) {
		_, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		_, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		if c, ok := containerOfPath(path); ok {
			return c, true
		}
	}
	return Container{}, false
}

// containerOfPath reads a cgroup path from its end: where containers run in a
// container, the innermost is the process's own, and below the container's
// cgroup there may be cgroups that it made itself.
func containerOfPath(path string) (Container, bool) {
	kubernetes := strings.Contains(path, "/kubepods")
	for path != "" {
		slash := strings.LastIndexByte(path, '/')
		part := path[slash+1:]
		path = path[:max(slash, 0)]
		parent := path[strings.LastIndexByte(path, '/')+1:]
		if c, ok := containerOfPart(part, parent); ok {
			if c.Runtime == "" && kubernetes {
				c.Runtime = RuntimeCRI
			}
			return c, true
		}
	}
	return Container{}, false
}

// containerOfPart reads one component of a cgroup path and its parent's name.
func containerOfPart(part, parent string) (Container, bool) {
	if c, ok := containerByID(part, parent); ok {
		return c, true
	}
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok {
		return byName(RuntimeLXC, name)
	}
	if parent == "lxc" || parent == "lxc.payload" {
		return byName(RuntimeLXC, part)
	}
	if unit, ok := strings.CutSuffix(part, ".scope"); ok {
		if name, ok := strings.CutPrefix(unit, "machine-"); ok {
			return machine(unescapeUnit(name))
		}
	}
	if unit, ok := strings.CutSuffix(part, ".service"); ok {
		if name, ok := strings.CutPrefix(unit, "systemd-nspawn@"); ok {
			return byName(RuntimeNspawn, unescapeUnit(name))
		}
	}
	return Container{}, false
}

// containerByID reads the forms that end in a 64-digit ID: a bare ID (cgroupfs
// driver), MANAGER-ID.scope (systemd driver), MANAGER-ID (cgroupfs, podman),
// and SLICE:MANAGER:ID, which is what a cgroupfs driver makes of a path meant
// for systemd.
func containerByID(part, parent string) (Container, bool) {
	part = strings.TrimSuffix(part, ".scope")
	if len(part) < 64 || !isContainerID(part[len(part)-64:]) {
		return Container{}, false
	}
	id := strings.Clone(part[len(part)-64:])
	prefix := part[:len(part)-64]
	if prefix == "" {
		if parent == "docker" {
			return Container{ID: id, Runtime: RuntimeDocker}, true
		}
		return Container{ID: id}, true
	}
	manager := strings.TrimRight(prefix, "-:")
	manager = manager[strings.LastIndexByte(manager, ':')+1:]
	switch manager {
	case "docker":
		return Container{ID: id, Runtime: RuntimeDocker}, true
	case "cri-containerd", "nerdctl":
		return Container{ID: id, Runtime: RuntimeContainerd}, true
	case "libpod":
		return Container{ID: id, Runtime: RuntimePodman}, true
	case "crio":
		return Container{ID: id, Runtime: RuntimeCRIO}, true
	}
	// Anything else is a monitor (libpod-conmon-ID, crio-conmon-ID), which
	// lives on the host and only carries its container's ID.
	return Container{}, false
}

// machine names what systemd-machined runs in machine-NAME.scope: libvirt
// registers its virtual machines there too, and those share no kernel with us.
func machine(name string) (Container, bool) {
	if strings.HasPrefix(name, "qemu-") {
		return Container{}, false
	}
	if strings.HasPrefix(name, "lxc-") {
		return byName(RuntimeLXC, name)
	}
	return byName(RuntimeNspawn, name)
}

// byName makes a container of a runtime that has names and no IDs.
func byName(runtime, name string) (Container, bool) {
	name = cleanName(name)
	return Container{ID: name, Name: name, Runtime: runtime}, name != ""
}

// unescapeUnit undoes systemd's escaping of a unit name, \xHH for a byte.
func unescapeUnit(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var out strings.Builder
	for s != "" {
		if strings.HasPrefix(s, `\x`) && len(s) >= 4 {
			if b, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
				out.WriteByte(byte(b))
				s = s[4:]
				continue
			}
		}
		out.WriteByte(s[0])
		s = s[1:]
	}
	return out.String()
}
