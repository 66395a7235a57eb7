// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/netns-trace/netns-trace/pkg/refsite"
)

func main() {
	root := os.Args[1]
	vm, _ := filepath.Glob(root + "/usr/lib/debug/boot/vmlinux-*")
	if vm == nil {
		vm, _ = filepath.Glob(root + "/usr/lib/debug/lib/modules/*/vmlinux")
	}
	f, err := os.Open(vm[0])
	if err != nil {
		panic(err)
	}
	ef, _ := elf.NewFile(f)
	raw, _ := ef.Section(".BTF").Data()
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	var device *btf.Struct
	if err := spec.TypeByName("net_device", &device); err != nil {
		panic(err)
	}
	layout, err := refsite.ReadLayout(device)
	fmt.Fprintln(os.Stderr, layout, err)
	scan := func(path, mod string) {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		o, err := openObject(f, mod)
		if err != nil {
			fmt.Fprintln(os.Stderr, path, err)
			return
		}
		t := time.Now()
		sites, err := refsite.Scan(context.Background(), o, o.ranges(), o, layout)
		if mod == "" || time.Since(t) > 10*time.Millisecond || err != nil {
			fmt.Fprintln(os.Stderr, mod, len(sites), err, time.Since(t))
		}
		if mod == "" {
			mod = "vmlinux"
		}
		for _, s := range sites {
			fmt.Printf("%s\t%s\t%s+%#x\t%v\t%v\t%v\t%s\n", s.Op, mod, s.Symbol, s.Offset, s.Register, s.Rule, s.Base, s.Refused)
		}
	}
	scan(vm[0], "")
	filepath.WalkDir(root+"/usr/lib/debug/lib/modules", func(p string, d os.DirEntry, err error) error {
		if strings.HasSuffix(p, ".ko") {
			scan(p, strings.TrimSuffix(filepath.Base(p), ".ko"))
		}
		return nil
	})
}
