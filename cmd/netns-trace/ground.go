// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// ground is what all tracing stands on, as far as it can be asked for.
type ground struct {
	capabilities     kernel.Capabilities
	initPIDNamespace bool
	lockdown         kernel.Lockdown // "" when the kernel does not tell
	typesErr         error           // of looking for the kernel's description of its types
	ringBuffer       bool
}

var errNotRoot = errors.New("tracing needs root, or CAP_BPF and CAP_PERFMON: try sudo")

func lookAtGround() (ground, error) {
	var g ground
	var err error
	if g.capabilities, err = kernel.ReadCapabilities(); err != nil {
		return g, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	// What cannot be told is no reason to give up: trying will tell.
	if g.initPIDNamespace, err = kernel.InInitPIDNamespace(); err != nil {
		g.initPIDNamespace = true
	}
	g.lockdown, _ = kernel.ReadLockdown()
	_, g.typesErr = os.Stat("/sys/kernel/btf/vmlinux")
	if g.ringBuffer, err = kernel.HaveRingBuffer(); err != nil {
		g.ringBuffer = true
	}
	return g, nil
}

// check tells what is missing, and what can be done about it.
func (g ground) check() error {
	switch {
	case !g.capabilities.Has("CAP_SYS_ADMIN") && (!g.capabilities.Has("CAP_BPF") || !g.capabilities.Has("CAP_PERFMON")):
		return errNotRoot
	case !g.initPIDNamespace:
		return errors.New("this is a container's pid namespace, whose pids the kernel's tracing does not know: " +
			"run on the host, or give the container the host's (docker run --pid=host)")
	case g.lockdown == kernel.LockdownConfidentiality:
		return errors.New("the kernel is locked down (confidentiality): BPF programs may not read its memory, which every probe does. " +
			"A running kernel cannot be unlocked: boot it without lockdown=confidentiality (under lockdown=integrity tracing works)")
	case g.typesErr != nil:
		return fmt.Errorf("the kernel does not describe its own types, which every probe needs: %w "+
			"(CONFIG_DEBUG_INFO_BTF=y; distributions have it since 5.10; is /sys mounted?)", g.typesErr)
	case !g.ringBuffer:
		return errors.New("the kernel has no BPF ring buffer, which every probe writes to: it came with Linux 5.8; 5.10 is the oldest tried")
	}
	return nil
}
