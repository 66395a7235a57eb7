// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// BootPath is where the guest finds its [BootConfig].
const BootPath = "/lab.json"

// BootConfig tells the guest's init what to do before it greets.
type BootConfig struct {
	// Modules are the modules to load, by name or alias.
	Modules []string
	// RootDevice is the ext4 disk to switch to; empty means to stay in the
	// initramfs.
	RootDevice string `json:",omitempty"`
	// Copy lists absolute paths that the switched root gets from the initramfs.
	Copy []string `json:",omitempty"`
}

// Greeting is what the guest says when it is ready for commands.
type Greeting struct {
	// Release is the kernel's, as uname -r prints it.
	Release string
	// UptimeMillis is the time since the kernel started, in milliseconds.
	UptimeMillis int64
	// Failed tells what init could not do, empty when all went well. The guest
	// takes commands all the same.
	Failed []string `json:",omitempty"`
}

// Spec describes a process to start.
type Spec struct {
	Argv []string
	// Env is added to the agent's own environment.
	Env []string `json:",omitempty"`
	Dir string   `json:",omitempty"`
	// Stdin says that the host will send input; otherwise it is /dev/null.
	Stdin bool `json:",omitempty"`
	// Terminal gives the process a terminal of that size instead of pipes; its
	// output is all Stdout.
	Terminal *Size `json:",omitempty"`
}

// Size is the size of a terminal in characters.
type Size struct{ Rows, Columns uint16 }

// Exit tells how a process ended.
type Exit struct {
	// Code is the exit code, when Signal and Error are empty.
	Code int
	// Signal is the number of the signal that killed it, or 0.
	Signal int `json:",omitempty"`
	// Error tells why the process could not be started.
	Error string `json:",omitempty"`
}

// Encode makes the payload of a frame that carries a [Greeting], [Spec] or [Exit].
func Encode(message any) ([]byte, error) {
	data, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", message, err)
	}
	return data, nil
}

// Decode reads the payload of a frame into a [Greeting], [Spec] or [Exit].
func (f Frame) Decode(message any) error {
	if err := json.Unmarshal(f.Payload, message); err != nil {
		return fmt.Errorf("decoding %T: %w", message, err)
	}
	return nil
}

// EncodeSize makes the payload of a [Resize] frame.
func EncodeSize(s Size) []byte {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, s.Rows), s.Columns)
}

// Size reads the payload of a [Resize] frame.
func (f Frame) Size() (Size, error) {
	if len(f.Payload) != 4 {
		return Size{}, fmt.Errorf("a terminal's size in %d bytes: %w", len(f.Payload), ErrFrame)
	}
	return Size{
		Rows:    binary.LittleEndian.Uint16(f.Payload),
		Columns: binary.LittleEndian.Uint16(f.Payload[2:]),
	}, nil
}
