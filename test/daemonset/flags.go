// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// defaultCapabilities are those of containerd's containers; "drop: ALL" drops each.
func defaultCapabilities() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
		"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
	}
}

// flags are those of "ctr run" that say the same as the container's specification.
func (m *manifest) flags(volumes map[string]string) ([]string, error) {
	c := m.pod.Containers[0]
	flags, err := c.SecurityContext.flags()
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.Name, err)
	}
	if m.pod.HostPID {
		flags = append(flags, "--with-ns", "pid:/proc/1/ns/pid")
	}
	if limit := c.Resources.Limits.Memory; limit != "" {
		mebibytes, ok := strings.CutSuffix(limit, "Mi")
		n, err := strconv.ParseUint(mebibytes, 10, 32)
		if !ok || err != nil {
			return nil, fmt.Errorf("container %s: memory %q", c.Name, limit)
		}
		flags = append(flags, "--memory-limit", strconv.FormatUint(n<<20, 10))
	}
	for _, v := range c.VolumeMounts {
		source, ok := volumes[v.Name]
		if !ok {
			return nil, fmt.Errorf("container %s: there is no volume %s", c.Name, v.Name)
		}
		flags = append(flags, "--mount", v.option(source))
	}
	return flags, nil
}

func (s *security) flags() ([]string, error) {
	var flags []string
	switch {
	case s.Privileged, s.AllowPrivilegeEscalation: // ctr sets no_new_privs
		return nil, errors.New("it is privileged")
	case s.RunAsUser != 0:
		return nil, errors.New("it is not root's")
	case s.SeccompProfile.Type != "RuntimeDefault":
		return nil, errors.New("its seccomp profile is not containerd's")
	case s.AppArmorProfile.Type != "Unconfined":
		return nil, errors.New("it has an AppArmor profile")
	case len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL":
		return nil, errors.New("it does not drop all capabilities")
	}
	flags = append(flags, "--seccomp")
	if s.ReadOnlyRootFilesystem {
		flags = append(flags, "--read-only")
	}
	for _, name := range defaultCapabilities() {
		if !slices.Contains(s.Capabilities.Add, name) {
			flags = append(flags, "--cap-drop", "CAP_"+name)
		}
	}
	for _, name := range s.Capabilities.Add {
		flags = append(flags, "--cap-add", "CAP_"+name)
	}
	return flags, nil
}

// option is a mount as ctr takes it.
func (v *mount) option(source string) string {
	propagation, access := "rprivate", "rw"
	if v.MountPropagation == "HostToContainer" {
		propagation = "rslave"
	}
	if v.ReadOnly {
		access = "ro"
	}
	return fmt.Sprintf("type=bind,src=%s,dst=%s,options=rbind:%s:%s", source, v.MountPath, propagation, access)
}
