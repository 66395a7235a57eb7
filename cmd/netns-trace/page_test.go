// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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
			feed(busyLedger(now, dev, 1000*second+uint64(i/2000*2000)*7_000_000-8*second, netns(i/2000)))
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

// busyLedger is the ledger of a device with a socket's reference and others left, and
// those of routes dropped again.
func busyLedger(now record.Time, dev, since uint64, netns record.NetnsID) *record.RefLedger {
	const ms = uint64(time.Millisecond)
	site := func(put bool, family string, times ...uint64) record.RefSite {
		s := record.RefSite{Place: family, Family: family, Put: put, Hits: uint64(len(times))}
		for _, at := range times {
			s.Traces = append(s.Traces, record.RefTrace{Family: family, Count: 1, First: since + at*ms, Last: since + at*ms})
		}
		return s
	}
	return &record.RefLedger{
		Time: now, Counter: dev + 8, Generation: since, Dev: dev, Netns: netns, Before: 1, Settled: true, Balance: 3, Count: 4, Counted: true,
		Sites: []record.RefSite{
			site(false, "dst", 900), site(false, "neighbour", 1200), site(false, "AF_LLC socket", 2000),
			site(false, "nexthop", 100, 1500, 2500), site(true, "nexthop", 5000, 6000, 6900),
		},
	}
}

// The page in a real browser, with 100,000 events. PAGE_KEEP=DIR keeps it and
// pictures of it there, to be looked at.
func TestAPageWorksInABrowser(t *testing.T) {
	b := openBrowser(t)
	dir := os.Getenv("PAGE_KEEP")
	if dir == "" {
		dir = t.TempDir()
	}
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, page(t, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	url := "file://" + file
	const (
		desktop, narrow = 1400, 420
		tip             = `document.getElementById("tip").textContent`
		chosen          = `document.querySelector('[aria-selected="true"]').textContent`
		cards           = `[...document.querySelectorAll("#devices h3")].map((h) => h.textContent.split(" ")[0]).join(" ")`
		device          = `document.querySelector("#devices canvas")`
	)
	is := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}

	for _, theme := range []string{"light", "dark"} {
		b.visit(url+"#theme="+theme, desktop, 2300)
		for _, want := range []string{`role="option"`, `class="step"`, `copy_process+0x241f/0x2800`, `1 left: AF_LLC socket`} {
			is(theme, b.eval(`document.body.innerHTML`), want)
		}
		b.keep(theme)
		b.visit(url+"#theme="+theme, narrow, 3600)
		if wide := b.eval(`document.documentElement.scrollWidth`); wide != fmt.Sprint(narrow) {
			t.Errorf("on a screen of %d the page is %s wide", narrow, wide)
		}
		b.keep(theme + "-narrow")
	}

	b.visit(url+"#theme=light", desktop, 1000)
	for _, test := range []struct {
		where        string
		across, down float64
		want         []string
	}{
		{`document.getElementById("overview")`, 0.5, 0.3, []string{":"}},
		{`document.getElementById("lanes-canvas")`, 0.5, 0.02, []string{"thread ", "of pid "}},
		{device, 0.99, 0.3, []string{"3 references left", "1 × AF_LLC socket", "1 × a dst entry"}},
		{`document.querySelector("#csum canvas")`, 0.99, 0.3, []string{"packets marked as verified", "were corrupt"}},
		{`document.querySelector("#dst canvas")`, 0.99, 0.3, []string{"entries by the kernel's counter"}},
	} {
		b.hover(test.where, test.across, test.down)
		for _, want := range test.want {
			is("the mouse at "+test.where, b.eval(tip), want)
		}
	}
	b.hover(device, 0.99, 0.3)
	b.keep("hover")
	b.hover(`document.querySelector("h1")`, 0.5, 0.5)
	is("the mouse away from all", b.eval(`document.getElementById("tip").hidden`), "true")

	// By keys alone: to the search, a word, the first that it finds, the next.
	first := b.eval(chosen)
	b.press("j")
	if next := b.eval(chosen); next == first {
		t.Errorf("j chooses %q again", next)
	}
	b.press("k")
	is("k goes back", b.eval(chosen), first)
	b.press("/")
	is("/ goes to the search", b.eval(`document.activeElement.id`), "search")
	b.press(strings.Split("veth3", "")...)
	b.until(cards + `.split(" ").every((name) => name.startsWith("veth3"))`)
	is("what is searched for is chosen", b.eval(chosen), "veth3")
	is("and all that is listed has it", b.eval(`String([...document.querySelectorAll("#rows .row")].every((r) => r.textContent.includes("veth3")))`), "true")
	b.keep("search")
	b.press("Enter")
	is("Enter leaves the search", b.eval(`document.activeElement.id === "search"`), "false")
	b.press("Escape")
	b.until(cards + `.includes("veth4 ")`)
	b.press("/")
	b.press(strings.Split("llc nosuchthing", "")...)
	b.until(`document.querySelectorAll("#devices h3").length === 0`)
	is("nothing is found", b.eval(`document.getElementById("findings-count").textContent`), "0 of")
	b.press("Escape")
	b.press("/")
	b.press(strings.Split("stranded", "")...)
	b.until(`!document.getElementById("findings-count").textContent.startsWith("0")`)
	b.press("Enter", "j", "z")
	is("z shows less time", b.eval(`String(view.to - view.from < full.to - full.from)`), "true")
	b.keep("stranded")
	b.press("0", "t")
	is("t changes the theme", b.eval(`document.documentElement.dataset.theme`), "dark")
	is("0 shows all", b.eval(`String(view.from === full.from)`), "true")
	b.press("?")
	is("? lists the keys", b.eval(`document.getElementById("keys").open`), "true")
	b.keep("help")
	b.noTrouble()
}
