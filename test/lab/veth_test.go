// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"strings"
	"testing"
)

func TestBuildVethWithOldBugForEveryKernel(t *testing.T) {
	cache := testCache(t)
	for _, name := range KernelNames() {
		t.Run(name, func(t *testing.T) {
			kernel, err := FetchKernel(t.Context(), cache, name, FlavourCloud)
			if err != nil {
				t.Fatal(err)
			}
			ko, err := BuildVethWithOldBug(t.Context(), cache, kernel)
			if err != nil {
				t.Fatal(err)
			}
			again, err := BuildVethWithOldBug(t.Context(), cache, kernel)
			if err != nil || again != ko {
				t.Errorf("the second build gave %q, %v, want the cached %q", again, err, ko)
			}
			checkVermagic(t, ko, kernel)
		})
	}
}

const (
	vethHead = "static netdev_tx_t veth_xmit(struct sk_buff *skb, struct net_device *dev)\n{\n"
	vethElse = "static int veth_forward_skb(struct net_device *dev, struct sk_buff *skb)\n{\n\treturn 0;\n}\n"
)

func TestChecksumBugIsPutBeforeTheHandOver(t *testing.T) {
	for _, tt := range []struct{ name, before, after string }{
		{
			"the result is tested at once",
			vethElse + vethHead + "\tstamp(skb);\n",
			"\tif (likely(veth_forward_skb(rcv, skb) == NET_RX_SUCCESS)) {\n\t\tcount();\n\t}\n}\n",
		},
		{
			"the result is kept, after a blank line and a block",
			vethElse + vethHead + "\tif (x) {\n\t\ty();\n\t}\n\n",
			"\tret = veth_forward_skb(rcv, skb);\n\tswitch (ret) {\n\t}\n}\n",
		},
		{
			"other functions call it too",
			vethHead + "\tstamp(skb);\n",
			"\tveth_forward_skb(rcv, skb);\n}\n\nint other(void)\n{\n\tveth_forward_skb(rcv, skb);\n}\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := restoreChecksumBug(tt.before + tt.after)
			if err != nil {
				t.Fatal(err)
			}
			if want := tt.before + checksumBug + tt.after; got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestVethOfUnknownFormIsNotPatched(t *testing.T) {
	const call = "\tveth_forward_skb(rcv, skb);\n"
	for _, tt := range []struct{ name, source, want string }{
		{"empty", "", "defined 0 times"},
		{"no veth_xmit", vethElse, "defined 0 times"},
		{"only declared", "static netdev_tx_t veth_xmit(struct sk_buff *skb, struct net_device *dev);\n", "defined 0 times"},
		{"two of them", vethHead + "\ta();\n" + call + "}\n" + vethHead + "\ta();\n" + call + "}\n", "defined 2 times"},
		{"cut off", vethHead + "\ta();\n" + call, "no end"},
		{"hands over elsewhere", vethHead + "\ta();\n}\n" + vethElse, "0 times"},
		{"hands over twice", vethHead + "\ta();\n" + call + call + "}\n", "2 times"},
		{"hands over in a block", vethHead + "\tif (a) {\n\t" + call + "\t}\n}\n", "inside a statement"},
		{"goes on from the line before", vethHead + "\tret = a(b,\n\t      veth_forward_skb(rcv, skb));\n}\n", "inside a statement"},
		{"in a comment", vethHead + "\ta();\n\t/* veth_forward_skb() would do */\n}\n", "inside a statement"},
		{"depends on a condition", vethHead + "\ta();\n\telse\n" + call + "}\n", "does not follow"},
		{"nothing before it", vethHead + call + "}\n", "does not follow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := restoreChecksumBug(tt.source)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q; text:\n%s", err, tt.want, got)
			}
		})
	}
}

func TestSourcePackageBearsTheSeries(t *testing.T) {
	for version, want := range map[string]string{
		"5.10.262-1":         "linux-source-5.10",
		"6.12.117-1~deb12u1": "linux-source-6.12",
		"7.3.4-1~bpo13+1":    "linux-source-7.3",
		"7.4~rc2-1~exp1":     "linux-source-7.4",
		"6.18-1":             "linux-source-6.18",
		"":                   "",
		"6":                  "",
		"6.x":                "",
		"6.12+1":             "",
		"a6.12.1":            "",
	} {
		got, err := sourcePackage(version)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", version, got, err, want)
		}
	}
}

func FuzzChecksumBug(f *testing.F) {
	f.Add(vethElse + vethHead + "\ta();\n\tveth_forward_skb(rcv, skb);\n}\n")
	f.Add(vethHead + "veth_forward_skb(")
	f.Add(vethHead + "\n}\n")
	f.Fuzz(func(t *testing.T, source string) {
		patched, err := restoreChecksumBug(source)
		if err == nil && (len(patched) != len(source)+len(checksumBug) || !strings.Contains(patched, checksumBug+"\t")) {
			t.Errorf("%q became %q", source, patched)
		}
	})
}
