// SPDX-License-Identifier: Apache-2.0

package probe

import "github.com/cilium/ebpf"

// Names is the part that sees namespaces being made and modules being loaded, so that
// every class can name them and attach to them. It looks for no bugs, and is never
// required.
const Names = "names"

var namesPoints = []point{
	{
		thing: "network namespaces being made",
		lost:  "a namespace that is gone before it is looked up has no name, or that of one before it",
		ways: []Way{
			{Fexit, "setup_net", []string{namesProgSetupFexit}},
			{Fexit, "copy_net_ns", []string{namesProgBirthFexit}},
			{Kretprobe, "copy_net_ns", []string{namesProgBirthKretprobe}},
		},
	},
	{
		thing: "kernel modules being loaded",
		lost:  "what is in modules that are loaded later is not watched",
		ways: []Way{
			{TPBTF, "module_load", []string{namesProgModuleTpBtf}},
			{RawTP, "module_load", []string{namesProgModuleRawTp}},
		},
	},
}

func configureNames(*ebpf.CollectionSpec) error { return nil }
