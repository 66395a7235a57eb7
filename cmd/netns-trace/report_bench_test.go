// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// A busy host of 100,000 things, most of them healthy, reported again and again.
func BenchmarkReport(b *testing.B) {
	path := filepath.Join(b.TempDir(), "busy.ntrace")
	busyHost(b, path, 100_000)
	records, findings := uint64(0), 0
	for b.Loop() {
		p := &replay{found: func(*finding.Finding) { findings++ }}
		if err := p.files(b.Context(), []string{path}); err != nil {
			b.Fatal(err)
		}
		records += p.about.Records
	}
	st, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	b.ReportMetric(float64(st.Size())*float64(b.N)/float64(records), "bytes/record")
	b.ReportMetric(float64(findings)/float64(b.N), "findings")
}
