// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"encoding/binary"
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
)

// task is a thread, or the idle one.
type task struct {
	addr      uint64
	pid, tgid uint32
	comm      string
	stack     uint64
}

// stackSize is THREAD_SIZE of a kernel for x86-64 without KASAN.
const stackSize = 16 << 10

// eachTask calls see with every thread.
func (k *Kernel) eachTask(see func(task)) error {
	initTask, ok := k.Address("init_task")
	if !ok {
		return fmt.Errorf("%w: no symbol init_task", ErrMissing)
	}
	if err := k.need("task_struct.tasks", "task_struct.signal", "task_struct.thread_node", "signal_struct.thread_head",
		"task_struct.stack", "task_struct.pid", "task_struct.tgid", "task_struct.comm"); err != nil {
		return err
	}
	head, _ := k.at(initTask, "task_struct.tasks")
	tasks, _ := k.field("task_struct.tasks")
	node, _ := k.field("task_struct.thread_node")
	k.memory.EachInList(head, uint64(tasks.Offset), func(leader uint64) {
		signal, ok := k.get(leader, "task_struct.signal")
		threads, okThreads := k.at(signal, "signal_struct.thread_head")
		if !ok || !okThreads {
			return
		}
		k.memory.EachInList(threads, uint64(node.Offset), func(addr uint64) {
			if t, ok := k.readTask(addr); ok {
				see(t)
			}
		})
	})
	return nil
}

func (k *Kernel) readTask(addr uint64) (task, bool) {
	pid, ok := k.get(addr, "task_struct.pid")
	tgid, okTGID := k.get(addr, "task_struct.tgid")
	stack, okStack := k.get(addr, "task_struct.stack")
	return task{addr, uint32(pid), uint32(tgid), k.text(addr, "task_struct.comm"), stack}, ok && okTGID && okStack
}

// Waiting returns the devices that a thread waits for in netdev_run_todo(): they are
// on a list on its stack. Nothing is searched but the stacks.
func (k *Kernel) Waiting() ([]*Device, error) {
	todo, ok := k.field("net_device.todo_list")
	if !ok {
		return nil, fmt.Errorf("%w: no field net_device.todo_list in its types", ErrMissing)
	}
	var found []*Device
	seen := make(map[uint64]bool)
	look := func(addr uint64) {
		if seen[addr] || addr < 1<<63 || addr%8 != 0 {
			return
		}
		seen[addr] = true
		// The state first: it tells nearly all words apart at the cost of one read.
		if state, ok := k.get(addr, "net_device.reg_state"); !ok || State(state) != Unregistered {
			return
		}
		if d, err := k.readDevice(addr); err == nil {
			found = append(found, d)
		}
	}
	stack := make([]byte, stackSize)
	err := k.eachTask(func(t task) {
		from := k.stackPointer(t)
		b := stack[:t.stack+stackSize-from]
		if k.memory.Read(b, from) != nil {
			return
		}
		for ; len(b) >= 8; b = b[8:] {
			v := binary.LittleEndian.Uint64(b)
			if v < 1<<63 || v >= 1<<64-(2<<30) { // of user space, or of the kernel's own image
				continue
			}
			look(v)
			look(v - uint64(todo.Offset))
		}
		const most = 1 << 20
		if len(seen) > most {
			clear(seen)
		}
	})
	return found, err
}

// stackPointer is from where on a stack is in use: all of it when the thread runs.
func (k *Kernel) stackPointer(t task) uint64 {
	sp, ok := k.get(t.addr, "task_struct.thread.sp")
	running, _ := k.get(t.addr, "task_struct.on_cpu")
	if !ok || running != 0 || sp <= t.stack || sp >= t.stack+stackSize {
		return t.stack
	}
	return sp &^ 7
}

// stackPages maps the pages of all stacks to whose they are.
func (k *Kernel) stackPages() map[uint64]task {
	pages := make(map[uint64]task)
	// What cannot be walked has no stacks: their words are then of unknown pages.
	_ = k.eachTask(func(t task) {
		for offset := uint64(0); offset < stackSize; offset += memory.PageSize {
			if page, ok := k.memory.Translate(t.stack + offset); ok {
				pages[page&^(memory.PageSize-1)] = t
			}
		}
	})
	return pages
}

func (id *identifier) stackAt(addr uint64) (task, bool) {
	if id.stacks == nil {
		id.stacks = id.stackPages()
	}
	t, ok := id.stacks[addr&^(memory.PageSize-1)]
	return t, ok
}
