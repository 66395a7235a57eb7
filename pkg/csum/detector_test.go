// SPDX-License-Identifier: Apache-2.0

package csum

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

func deviceOf(ifindex int32, packets uint64) record.CsumDevice {
	return record.CsumDevice{
		Netns: record.NetnsID{Cookie: 1, Inode: 100}, PeerNetns: record.NetnsID{Cookie: 2, Inode: 200},
		Packets: packets, Ifindex: ifindex, PeerIfindex: 9, Name: fmt.Sprint("veth", ifindex), PeerName: "eth0",
		By: record.CsumByVeth, Direction: record.CsumEgress,
	}
}

func rewrite(seconds float64, ifindex int32, v record.CsumVerdicts, final bool) *record.CsumRewrite {
	n := v.Good + v.Corrupt + v.NoChecksum + v.GSO + v.Fragment + v.Protocol + v.Nonlinear + v.Truncated + v.Unchecked
	return &record.CsumRewrite{
		Time: record.Time(seconds * float64(time.Second)), CsumDevice: deviceOf(ifindex, n),
		CsumCounts: record.CsumCounts{Transitions: [4][4]uint64{{0, n}}, Verdicts: v}, Final: final,
	}
}

// byTC is one packet that a tc program marked, in a namespace without a cookie.
func byTC(seconds float64, direction record.CsumDirection, birth uint32) record.Record {
	r := rewrite(seconds, 1, good(1), false)
	r.By, r.Direction, r.Birth, r.Netns.Cookie = record.CsumByTC, direction, birth, 0
	return r
}

func good(n uint64) record.CsumVerdicts { return record.CsumVerdicts{Good: n} }

func corrupt(seconds float64, ifindex int32, n uint64, port uint16) *record.CsumCorrupt {
	return &record.CsumCorrupt{
		Time: record.Time(seconds * float64(time.Second)), CsumDevice: deviceOf(ifindex, n), Corrupt: n, Protocol: 17,
		Source:      netip.AddrPortFrom(netip.MustParseAddr("10.9.0.1"), port),
		Destination: netip.MustParseAddrPort("10.9.0.2:9"), Found: 0x7516, Expected: 0x7616,
		Bytes: 200, Packet: []byte{2, 0, 0, 0},
	}
}

func TestDetector(t *testing.T) {
	tests := []struct {
		name    string
		records []record.Record
		want    []string
	}{
		{
			"told at the first packet, then at most every ten seconds",
			[]record.Record{rewrite(1, 1, good(1), false), rewrite(2, 1, good(50), false), rewrite(11, 1, good(900), false)},
			[]string{"opened rewrite veth1 1", "updated rewrite veth1 900"},
		},
		{
			"the last word is the kernel's count",
			[]record.Record{rewrite(1, 1, good(1), false), rewrite(2, 1, good(50), false), rewrite(3, 1, good(77), true)},
			[]string{"opened rewrite veth1 1", "updated rewrite veth1 77"},
		},
		{
			"and is not said twice",
			[]record.Record{rewrite(1, 1, good(1), false), rewrite(3, 1, good(1), true)},
			[]string{"opened rewrite veth1 1"},
		},
		{
			"the records were lost, but not the count",
			[]record.Record{rewrite(3, 1, good(12), true), rewrite(3, 2, record.CsumVerdicts{Corrupt: 5}, true)},
			[]string{"opened rewrite veth1 12", "opened rewrite veth2 5", "opened corrupt-delivered veth2 5"},
		},
		{
			"corrupt packets are an incident of their own, with the kernel's count",
			[]record.Record{
				rewrite(1, 1, record.CsumVerdicts{Corrupt: 1}, false), corrupt(1, 1, 1, 40000), corrupt(1.1, 1, 2, 40000),
				rewrite(3, 1, record.CsumVerdicts{Corrupt: 500}, true),
			},
			[]string{
				"opened rewrite veth1 1", "opened corrupt-delivered veth1 1",
				"updated rewrite veth1 500", "updated corrupt-delivered veth1 500",
			},
		},
		{
			"corrupt packets of a device that goes on are told every ten seconds",
			[]record.Record{corrupt(1, 1, 1, 40000), corrupt(10, 1, 90, 40000), corrupt(11, 1, 99, 40000)},
			[]string{"opened corrupt-delivered veth1 1", "updated corrupt-delivered veth1 99"},
		},
		{
			"a tc program on the same device is another incident",
			[]record.Record{rewrite(1, 1, good(1), false), func() record.Record {
				r := rewrite(2, 1, good(1), false)
				r.By = record.CsumByTC
				return r
			}()},
			[]string{"opened rewrite veth1 1", "opened rewrite veth1 1"},
		},
		{
			"tc programs on both hooks of a device are two incidents",
			[]record.Record{byTC(1, record.CsumIngress, 7), byTC(2, record.CsumEgress, 7)},
			[]string{"opened rewrite veth1 1", "opened rewrite veth1 1"},
		},
		{
			"before 5.12 a new container may have the numbers of a dead one",
			[]record.Record{byTC(1, record.CsumIngress, 7), byTC(2, record.CsumIngress, 8)},
			[]string{"opened rewrite veth1 1", "opened rewrite veth1 1"},
		},
		{
			"other changes of the mark are nobody's bug",
			[]record.Record{&record.CsumRewrite{
				Time: 5, CsumDevice: deviceOf(1, 0), CsumCounts: record.CsumCounts{Transitions: [4][4]uint64{3: {7}}}, Final: true,
			}},
			nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := New(Config{Every: 1, PerSecond: 10000}, new(finding.Knowledge))
			var got []string
			for _, f := range observe(d, test.records...) {
				got = append(got, fmt.Sprintf("%s %s %s %d", f.State, f.Kind, f.Device.Name, f.Count))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func observe(d *Detector, records ...record.Record) []*finding.Finding {
	var out []*finding.Finding
	for _, r := range records {
		d.Observe(r, func(f *finding.Finding) { out = append(out, f) })
	}
	return out
}

func text(f *finding.Finding) string {
	out := f.Summary + "\n"
	for _, fact := range f.Facts {
		out += fact.Label + ": " + fact.Text + "\n"
	}
	return out
}

// A packet that was rewritten and is right must not be called corrupt.
func TestAGoodPacketIsNotCalledCorrupt(t *testing.T) {
	d := New(Config{Every: 1, PerSecond: 10000}, new(finding.Knowledge))
	v := record.CsumVerdicts{Good: 3, NoChecksum: 2, GSO: 1, Fragment: 4, Truncated: 5}
	for _, f := range observe(d, rewrite(1, 1, v, true)) {
		if f.Kind != KindRewrite {
			t.Errorf("a finding %s of packets that were right", f.Kind)
		}
		for _, want := range []string{
			"3 good, 0 corrupt, 2 without a checksum, 1 not verifiable (GSO), 4 not verifiable (IP fragment), 5 not verifiable (truncated)",
			"15 packets",
		} {
			if !strings.Contains(text(f), want) {
				t.Errorf("%q is not said:\n%s", want, text(f))
			}
		}
	}
}

func TestTheLimitIsStatedWhenItBites(t *testing.T) {
	v := record.CsumVerdicts{Good: 10, Corrupt: 10, Unchecked: 80}
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{Every: 1, PerSecond: 20}, "80 packets: limit of 20 a second reached"},
		{Config{Every: 5, PerSecond: 20}, "80 packets: one in 5 is checked, at most 20 a second"},
	} {
		findings := observe(New(test.config, new(finding.Knowledge)), rewrite(1, 1, v, true))
		if len(findings) != 2 {
			t.Fatalf("%d findings, want a rewrite and a corrupt-delivered", len(findings))
		}
		for _, f := range findings {
			if !strings.Contains(text(f), "unchecked: "+test.want) {
				t.Errorf("%s does not say that %q:\n%s", f.Kind, test.want, text(f))
			}
		}
		if want := "at least 10 packets"; !strings.HasPrefix(findings[1].Summary, want) {
			t.Errorf("not all were checked, but the summary does not say %q: %s", want, findings[1].Summary)
		}
	}
}

// Those that could not be verified may have been corrupt too.
func TestCorruptPacketsAreAtLeastSoMany(t *testing.T) {
	for _, test := range []struct {
		v    record.CsumVerdicts
		want string
	}{
		{record.CsumVerdicts{Corrupt: 3, Good: 9, NoChecksum: 9, Protocol: 9}, "3 packets"},
		{record.CsumVerdicts{Corrupt: 3, GSO: 1}, "at least 3 packets"},
		{record.CsumVerdicts{Corrupt: 3, Fragment: 1}, "at least 3 packets"},
		{record.CsumVerdicts{Corrupt: 3, Nonlinear: 1}, "at least 3 packets"},
		{record.CsumVerdicts{Corrupt: 3, Truncated: 1}, "at least 3 packets"},
	} {
		d := New(Config{Every: 1, PerSecond: 10000}, new(finding.Knowledge))
		for _, f := range observe(d, rewrite(1, 1, test.v, true)) {
			if f.Kind != KindCorrupt {
				continue
			}
			if !strings.HasPrefix(f.Summary, test.want+" with a wrong checksum") {
				t.Errorf("%+v: %s, want %s", test.v, f.Summary, test.want)
			}
			want := unverifiable{GSO: test.v.GSO, Fragment: test.v.Fragment, Protocol: test.v.Protocol, Nonlinear: test.v.Nonlinear, Truncated: test.v.Truncated}
			if diff := cmp.Diff(want, f.Details["unverifiable"]); diff != "" {
				t.Errorf("unverifiable (-want +got):\n%s", diff)
			}
		}
	}
}

func TestTheProgramIsCalledTCsWhereItIsKnown(t *testing.T) {
	for direction, want := range map[record.CsumDirection]string{
		0: "by a BPF program (bpf_csum_level): 1 packet", record.CsumIngress: "by a tc program on its ingress: 1 packet",
	} {
		d := New(Config{Every: 1, PerSecond: 10000}, new(finding.Knowledge))
		for _, f := range observe(d, byTC(1, direction, 7)) {
			if !strings.HasSuffix(f.Summary, want) {
				t.Errorf("%s, want it to end in %s", f.Summary, want)
			}
		}
	}
}

func TestFlowsOfCorruptPacketsAreBounded(t *testing.T) {
	d := New(Config{Every: 1}, new(finding.Knowledge))
	var last *finding.Finding
	for i := range 100 {
		// Three of each flow, and the packets' memory is used again.
		r := corrupt(float64(20*i), 1, uint64(i+1), uint16(40000+i/3))
		for _, f := range observe(d, r) {
			last = f
		}
		r.Packet[0] = 0xff
	}
	raw, err := json.Marshal(last.Details)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Flow  map[string]any
		Flows []map[string]any
		More  bool `json:"flows_more"`

		Packet string
		Cut    bool `json:"packet_cut"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"family": "ipv4", "protocol": "udp", "source": "10.9.0.1", "source_port": 40033.0,
		"destination": "10.9.0.2", "destination_port": 9.0,
	}
	if diff := cmp.Diff(want, got.Flow); diff != "" {
		t.Errorf("the last flow (-want +got):\n%s", diff)
	}
	if len(got.Flows) != flowsMax || !got.More || got.Flows[0]["packets"] != 3.0 {
		t.Errorf("%d flows, more: %v, the first %v; want %d, more, and 3 packets", len(got.Flows), got.More, got.Flows[0], flowsMax)
	}
	if got.Packet != "02000000" || !got.Cut {
		t.Errorf("packet %s, cut: %v; want 02000000, cut", got.Packet, got.Cut)
	}
}
