// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
)

// busyHost records a host on which n things happen, among them all that a page shows:
// threads away, some left behind, devices that wait, checksums, dst counters.
func busyHost(t testing.TB, path string, n int) {
	t.Helper()
	r, err := recording.Create(t.Context(), recording.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	const second = uint64(time.Second)
	at := 1000 * second
	start := recording.Start{
		Config: testConfig(), Zone: recording.Zone{Name: "CET", Offset: 3600}, Tool: "test",
		Host:  recording.Host{Name: "node7", System: "Linux", Release: "6.12.117", Machine: "x86_64", Version: "#1 SMP"},
		Clock: recording.Clocks{Monotonic: at, Realtime: 1_790_000_000_000_000_000, Boottime: at},
	}
	if err := r.Begin(start); err != nil {
		t.Fatal(err)
	}
	feed := func(rec record.Record) { r.Fed(rec, nil) }
	feed(&record.Clock{Time: record.Time(at), Realtime: start.Clock.Realtime, Boottime: at})
	feed(&record.Setup{Time: record.Time(at), RefcountBase: 1, RefcountBaseKnown: true, SeesFree: true, ScansHolders: true, DstExact: true})
	home := record.NetnsID{Cookie: 1, Inode: 4026531840}
	feed(&record.NetnsName{Time: record.Time(at), Netns: home, Name: "host"})
	netns := func(i int) record.NetnsID {
		return record.NetnsID{Cookie: uint64(100 + i%40), Inode: uint32(4026532100 + i%40)}
	}
	for i := range 40 {
		name := fmt.Sprintf("redis%d", i)
		feed(&record.NetnsName{Time: record.Time(at), Netns: netns(i), Name: name, Container: fmt.Sprintf("%064x", i), ContainerName: name + "</script><b>"})
	}
	stack := record.Stacks{Kernel: []uint64{0xffffffff81000010, 0xffffffff81000020, 0xffffffff81000030}}
	for i, text := range []string{"copy_process+0x241f/0x2800", "kernel_clone+0xc2/0x430", "__do_sys_clone3+0xe0/0x130"} {
		feed(&record.Symbol{Time: record.Time(at), Addr: stack.Kernel[i], Text: text})
	}
	for i := range n {
		at += 7_000_000
		now := record.Time(at)
		tid := uint32(i / 2 % 700)
		thread := record.Thread{TGID: 800 + tid%9, TID: 1000 + tid, Start: 5 * second, Comm: "dockerd"}
		switch {
		case i%1000 == 500: // one is left behind
			child := record.Thread{TGID: thread.TGID, TID: uint32(50_000 + i), Start: at, Comm: "dockerd"}
			feed(&record.NetnsSwitch{Time: now - 3_000_000, Thread: thread, Home: home, From: home, To: netns(i), Threads: 20, Stacks: stack})
			feed(&record.ThreadClone{Time: now, Parent: thread, Child: child, Home: home, Away: netns(i), LeftHome: at - 3_000_000, Threads: 20, Stacks: stack})
			feed(&record.NetnsSwitch{Time: now + 2_000_000, Thread: thread, Home: home, From: netns(i), To: home, Threads: 21, Clones: 1})
			feed(&record.StrandedCall{Time: now + 3_000_000, Thread: child, Netns: netns(i), Call: record.CallConnect, Result: -101, Sockets: 1, Connects: 1, Failures: 1, Address: []byte{2, 0, 1, 187, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0}})
			if i%3000 == 500 {
				feed(&record.ThreadExit{Time: now + 900_000_000, Thread: child, Netns: netns(i), Sockets: 4, Connects: 4, Failures: 4})
			}
		case i%100 == 50: // a device waits
			dev := 0xffff888100000000 + uint64(i/2000*0x1000)
			feed(&record.DevWait{Time: now, Dev: dev, Since: 1000*second + uint64(i/2000*2000)*7_000_000 - second, Netns: netns(i / 2000), Refcount: 4, RefcountKnown: true, Ifindex: 3, Name: fmt.Sprintf("veth%d", i/2000)})
			feed(&record.HolderScan{Time: now + 1000, Started: at, Counts: []record.HolderCount{
				{Dev: dev, Family: record.HolderNeighbour, Count: 1}, {Dev: dev, Family: record.HolderDst, Count: 1 + i/700%2},
			}})
			if i%2000 > 1860 && i%4000 < 2000 {
				feed(&record.DevFree{Time: now + 2000, Dev: dev, Netns: netns(i / 2000), Ifindex: 3, Name: fmt.Sprintf("veth%d", i/2000)})
			}
		case i%100 == 51:
			rewrite := &record.CsumRewrite{Time: now, CsumDevice: record.CsumDevice{
				Netns: netns(1), PeerNetns: home, Packets: uint64(i), Ifindex: 4, Name: "eth0", PeerName: "veth9", By: record.CsumByVeth, Direction: record.CsumEgress,
			}}
			rewrite.Transitions[0][1], rewrite.Transitions[3][0] = uint64(i), 7
			rewrite.Verdicts = record.CsumVerdicts{Good: uint64(i - i/50), Corrupt: uint64(i / 50)}
			feed(rewrite)
		case i%100 == 52:
			feed(&record.DstCounter{
				Time: now, Ops: record.DstOps{Addr: 0xffffffff82000000, Kind: record.DstOpsIPv6, Family: 10, Netns: netns(2)},
				Entries: int64(i / 100), Threshold: 2000, HasGC: true, Charged: uint64(i / 90), Credited: uint64(i/90 - i/100),
			})
		case i%2 == 0: // the healthy way
			feed(&record.NetnsSwitch{Time: now, Thread: thread, Home: home, From: home, To: netns(i), Threads: 20})
		default:
			feed(&record.NetnsSwitch{Time: now, Thread: thread, Home: home, From: netns(i - 1), To: home, Threads: 20})
		}
	}
	if err := r.Finish(recording.End{Time: at}); err != nil {
		t.Fatal(err)
	}
}

// page makes the HTML report of a busy host.
func page(t *testing.T, events int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "busy.ntrace")
	busyHost(t, path, events)
	html, _ := reported(t, reportOptions{format: "html", color: "auto"}, path)
	return []byte(html)
}

func TestAPageLoadsNothing(t *testing.T) {
	html := page(t, 3000)
	for _, bad := range []string{`src=`, `href=`, `@import`, `url(`, `fetch(`, `XMLHttpRequest`, `import(`, `https://`} {
		if bytes.Contains(html, []byte(bad)) {
			t.Errorf("the page has %q: it is to load nothing", bad)
		}
	}
	if bytes.Contains(html, []byte("</script><b>")) {
		t.Error("a name of a container ends the script in which it stands")
	}
	if !bytes.Contains(html, []byte("default-src 'none'")) {
		t.Error("the page does not forbid itself the network")
	}
}

// The page in a real browser, with 100,000 events. PAGE_KEEP=DIR keeps it and
// pictures of it there, to be looked at.
func TestAPageWorksInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("no browser to try it in (Debian's package chromium): %v", err)
	}
	dir := os.Getenv("PAGE_KEEP")
	if dir == "" {
		dir = t.TempDir()
	}
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, page(t, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(url string, flags ...string) (stdout, stderr string) {
		args := append([]string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr",
			"--user-data-dir=" + t.TempDir(), "--window-size=1400,2300", "--virtual-time-budget=8000",
		}, flags...)
		cmd := exec.CommandContext(t.Context(), browser, append(args, url)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, errs.String())
		}
		return out.String(), errs.String()
	}
	views := []struct{ name, hash string }{
		{"light", "#theme=light"},
		{"dark", "#theme=dark"},
		{"search", "#theme=light&q=veth3"},
		{"stranded", "#theme=dark&q=stranded&keys=jz"},
		{"help", "#theme=light&keys=?"},
	}
	if testing.Short() {
		views = views[3:4]
	}
	for _, test := range views {
		dom, log := run("file://"+file+test.hash, "--dump-dom")
		if strings.Contains(log, "Uncaught") || strings.Contains(log, "Refused to") {
			t.Errorf("%s: the page's scripts fail:\n%s", test.name, log)
		}
		ready := regexp.MustCompile(`data-ready="(\d+)"`).FindStringSubmatch(dom)
		if ready == nil || ready[1] == "0" {
			t.Errorf("%s: the page did not get ready: %v", test.name, ready)
		}
		for _, want := range []string{`role="option"`, `class="step"`, `copy_process+0x241f/0x2800`} {
			if test.name != "search" && !strings.Contains(dom, want) {
				t.Errorf("%s: the page does not show %q", test.name, want)
			}
		}
		if test.name == "search" && (!strings.Contains(dom, "veth3") || strings.Contains(dom, "<h3>veth4 ")) {
			t.Errorf("a search for veth3 does not show veth3 alone")
		}
		if os.Getenv("PAGE_KEEP") != "" {
			run("file://"+file+test.hash, "--screenshot="+filepath.Join(dir, test.name+".png"))
		}
	}
}
