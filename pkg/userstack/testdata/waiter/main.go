// SPDX-License-Identifier: Apache-2.0

// Command waiter prints the addresses of a call stack of its own, one a line
// with the function that the runtime names, and waits for its input to end.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

type netns struct{ name string }

//go:noinline
func (n *netns) enter(depth int) []uintptr {
	if depth > 0 {
		return append([]uintptr(nil), n.enter(depth-1)...)
	}
	pcs := make([]uintptr, 16)
	return pcs[:runtime.Callers(1, pcs)]
}

func main() {
	for _, pc := range (&netns{"redis0"}).enter(2) {
		fn := runtime.FuncForPC(pc - 1)
		file, line := fn.FileLine(pc - 1)
		fmt.Printf("%x\t%s\t%s\t%d\n", pc, fn.Name(), file, line)
	}
	fmt.Println()
	_, _ = io.Copy(io.Discard, os.Stdin)
}
