// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/netns-trace/netns-trace/pkg/export"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
)

// corruptPacket is a UDP packet whose checksum is wrong: 7718 found, 7618 expected.
const corruptPacket = "0200000000021e573c15983008004500002600010000401166b40a0800010a0800029c400009001277187365" +
	"6e6462616420310a"

// story is a recording of the incident, with corrupt packets and a counter.
func story(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "story.ntrace")
	r, err := recording.Create(t.Context(), recording.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	records, raws := storyRecords(t)
	clock := records[0].(*record.Clock)
	if err := r.Begin(recording.Start{
		Tool: "test", Config: testConfig(), Zone: recording.Zone{Name: "UTC"},
		Host:  recording.Host{Name: "node7", System: "Linux", Release: "6.12.117", Machine: "x86_64"},
		Clock: recording.Clocks{Monotonic: clock.When(), Realtime: clock.Realtime, Boottime: clock.Boottime},
	}); err != nil {
		t.Fatal(err)
	}
	for i, rec := range records {
		if free, ok := rec.(*record.DevFree); ok {
			r.Fed(busyLedger(free.Time-1, free.Dev, free.When()-10_000_000_000, free.Netns), nil)
			r.Fed(&record.HolderScan{Time: free.Time - 1, Started: free.When() - 1}, nil)
		}
		r.Fed(rec, raws[i])
	}
	packet, err := hex.DecodeString(corruptPacket)
	if err != nil {
		t.Fatal(err)
	}
	at := records[len(records)-1].When() + 1000
	device := record.CsumDevice{
		Netns: record.NetnsID{Cookie: 9, Inode: 4026532132}, Packets: 1, Ifindex: 3, Name: "eth0", PeerName: "veth9", By: record.CsumByVeth,
	}
	r.Fed(&record.CsumCorrupt{
		Time: record.Time(at), CsumDevice: device, Corrupt: 1, Protocol: 17, Found: 0x7718, Expected: 0x7618, Bytes: 52, Packet: packet,
		Source: netip.MustParseAddrPort("10.8.0.1:40000"), Destination: netip.MustParseAddrPort("10.8.0.2:9"),
	}, nil)
	for n := range uint64(3) {
		r.Fed(&record.DstCounter{
			Time: record.Time(at + n*1_000_000_000), Ops: record.DstOps{Addr: 0xffffffff82000000, Kind: record.DstOpsIPv6, Family: 10},
			Entries: int64(n), Charged: n,
		}, nil)
	}
	if err := r.Finish(recording.End{Time: at}); err != nil {
		t.Fatal(err)
	}
	return path
}

// exported writes the story in a format.
func exported(t *testing.T, format string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out."+format)
	if err := exportTo(t.Context(), []string{story(t)}, format, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// program finds one of another project, which is not everywhere.
func program(t *testing.T, name, where string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not here (%s): %v", name, where, err)
	}
	return path
}

func TestPacketsAreReadByTshark(t *testing.T) {
	tshark := program(t, "tshark", "Debian's package tshark")
	cmd := exec.Command(tshark, "-r", exported(t, "pcapng"), "-o", "udp.check_checksum:TRUE", "-T", "fields",
		"-e", "frame.comment", "-e", "ip.src", "-e", "udp.dstport", "-e", "udp.checksum.status", "-e", "frame.interface_name", "-e", "frame.len")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	fields := strings.Split(strings.TrimSpace(string(out)), "\t")
	if len(fields) != 6 {
		t.Fatalf("tshark read %q", out)
	}
	if want := "marked as verified by veth_xmit on eth0 of netns redis (4026532132): checksum 7718 found, 7618 expected"; !strings.Contains(fields[0], want) {
		t.Errorf("comment %q, want %q", fields[0], want)
	}
	const bad = "0" // as tshark calls a checksum that is wrong
	if fields[1] != "10.8.0.1" || fields[2] != "9" || fields[3] != bad || fields[4] != "eth0" || fields[5] != "52" {
		t.Errorf("tshark read %q", fields[1:])
	}
}

// The descriptions of Perfetto's messages are not here: the trace is decoded without,
// and looked into.
func TestTracesAreProtobuf(t *testing.T) {
	protoc := program(t, "protoc", "Debian's package protobuf-compiler")
	in, err := os.Open(exported(t, "perfetto"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command(protoc, "--decode_raw")
	cmd.Stdin = in
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		`23: "redis (4026532132)"`, `23: "host (4026531840)"`, `23: "clone"`, `6: "dockerd"`, `2: "references"`,
		`2: "device veth1 of netns redis (4026532132)"`, `23: "connect to 192.0.2.1:443 failed"`, `2: "findings: threads"`, `23: "stranded"`,
		`2: "taken for AF_LLC socket"`, `2: "taken for the nexthop of a route"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in the trace", want)
		}
	}
	if begins, ends := strings.Count(text, "    9: 1\n"), strings.Count(text, "    9: 2\n"); begins == 0 || begins != ends {
		t.Errorf("%d slices begin and %d end", begins, ends)
	}
	flows := regexp.MustCompile(`47: 0x([0-9a-f]+)`).FindAllStringSubmatch(text, -1)
	if len(flows) != 2 || flows[0][1] != flows[1][1] {
		t.Errorf("flows %v, want one from the parent to its clone", flows)
	}
}

func TestRowsAreReadBack(t *testing.T) {
	rows, err := parquet.ReadFile[export.Row](exported(t, "parquet"))
	if err != nil {
		t.Fatal(err)
	}
	findings, events := 0, make(map[string]int)
	for _, r := range rows {
		if r.Host != "node7" || r.Kernel != "6.12.117" || r.Time == 0 {
			t.Fatalf("row %+v", r)
		}
		if r.Row == "event" {
			events[r.Kind]++
			continue
		}
		findings++
		if r.Kind == "stranded" && (r.NetnsName != "redis0" || *r.PID != 800 || *r.TID != 810 || !*r.Complete || r.Container != "0123456789abcdef") {
			t.Errorf("finding %+v", r)
		}
		if r.Kind == "cloned-mid-setns" && (len(r.Stack) != 2 || r.Stack[0] != "copy_process+0x241f/0x2800") {
			t.Errorf("stack %q", r.Stack)
		}
	}
	if findings < 6 || events["ThreadClone"] != 1 || events["DevWait"] != 12 || events["CsumCorrupt"] != 1 || events["Symbol"] != 0 {
		t.Errorf("%d findings, events %v", findings, events)
	}
}

// A fleet's files, made by one program and read as one table by another.
func TestRowsAreReadByDuckDB(t *testing.T) {
	node := program(t, "node", "DuckDB is a package of npm")
	if _, err := os.Stat("../../test/readers/node_modules/@duckdb"); err != nil {
		t.Skipf("DuckDB is not here (make test-readers fetches it with npm): %v", err)
	}
	first, second := exported(t, "parquet"), exported(t, "parquet")
	for _, test := range []struct{ query, want string }{
		{`select count(*), count(distinct host) from $ where kind = 'stranded' and row = 'finding'`, "2\t1"},
		{
			`select distinct netns_name, container, pid, tid, complete, stack[1], epoch_ms(time) > 0 from $ where kind = 'cloned-mid-setns'`,
			"redis0\t0123456789abcdef\t800\t810\ttrue\tcopy_process+0x241f/0x2800\ttrue",
		},
		{
			`select device, json_extract_string(details, '$.family') from $ where kind = 'holder' and state = 'opened' and details like '%LLC%' limit 1`,
			"veth1\tAF_LLC socket",
		},
		{
			`select distinct t.count, t.place, len(t.stack) from (select unnest(traces) as t from $ where kind = 'holder') order by all`,
			"1\tAF_LLC socket\t0\n1\tdst\t0\n1\tneighbour\t0",
		},
		{`select kind, count(*) from $ where row = 'event' and kind in ('DevWait', 'RefLedger') group by all order by all`, "DevWait\t24\nRefLedger\t2"},
		{`select count(*) from $ where device is null and kind = 'waiting'`, "0"},
	} {
		query := strings.Replace(test.query, "$ where", fmt.Sprintf("read_parquet(['%s', '%s']) where", first, second), 1)
		cmd := exec.Command(node, "../../test/readers/duckdb.mjs", query)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", query, err, stderr.String())
		}
		if got := strings.TrimSpace(string(out)); got != test.want {
			t.Errorf("%s:\n%s\nwant:\n%s", test.query, got, test.want)
		}
	}
}

func TestLinesKeepToTheirSchema(t *testing.T) {
	text, err := os.ReadFile("../../docs/export.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(exported(t, "jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kinds := make(map[string]int)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		kind, _ := line["line"].(string)
		kinds[kind]++
		definition, _ := schema["$defs"].(map[string]any)[kind].(map[string]any)
		if definition == nil {
			t.Fatalf("the schema has no line %q", kind)
		}
		for _, wrong := range keeps(kind, line, definition) {
			t.Errorf("%s\nin %s", wrong, lines.Text())
		}
		if strings.Contains(lines.Text(), "18446744") || strings.Contains(lines.Text(), "ffff8881") {
			t.Errorf("an address of the kernel: %s", lines.Text())
		}
	}
	if kinds["start"] != 1 || kinds["end"] != 1 || kinds["record"] < 30 || kinds["finding"] < 6 {
		t.Errorf("lines %v", kinds)
	}
}

// keeps checks a value against the part of JSON Schema that ours uses.
func keeps(path string, v any, schema map[string]any) (wrong []string) {
	if want, ok := schema["const"]; ok && v != want {
		return []string{path + " is not what it must be"}
	}
	if want, ok := schema["type"].(string); ok {
		_, isObject := v.(map[string]any)
		_, isText := v.(string)
		_, isArray := v.([]any)
		_, isBool := v.(bool)
		n, isNumber := v.(float64)
		got := map[string]bool{
			"object": isObject, "string": isText, "array": isArray, "boolean": isBool, "number": isNumber,
			"integer": isNumber && n == float64(int64(n)),
		}
		if !got[want] {
			return []string{path + " is no " + want}
		}
	}
	if object, ok := v.(map[string]any); ok {
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range toList(schema["required"]) {
			if _, there := object[name.(string)]; !there {
				wrong = append(wrong, path+" lacks "+name.(string))
			}
		}
		for name, inner := range object {
			of, known := properties[name].(map[string]any)
			if !known {
				if extra, ok := schema["additionalProperties"].(bool); ok && !extra {
					wrong = append(wrong, path+"."+name+" is not in the schema")
				}
				continue
			}
			wrong = append(wrong, keeps(path+"."+name, inner, of)...)
		}
	}
	if array, ok := v.([]any); ok {
		if of, ok := schema["items"].(map[string]any); ok {
			for _, inner := range array {
				wrong = append(wrong, keeps(path+"[]", inner, of)...)
			}
		}
	}
	return wrong
}

func toList(v any) []any {
	list, _ := v.([]any)
	return list
}
