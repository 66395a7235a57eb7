// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const root = "../.."

func small(t *testing.T, n int) (f *fleet, dir string) {
	t.Helper()
	recordings, names, err := corpus(root + "/test/recordings")
	if err != nil {
		t.Fatal(err)
	}
	f, dir = &fleet{nodes: newNodes(n, recordings, names), out: new(bytes.Buffer)}, t.TempDir()
	if err := f.live(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return f, dir
}

func TestEveryIncidentArrivesInEveryWay(t *testing.T) {
	f, _ := small(t, 6)
	want := int64(0)
	for _, l := range f.lives {
		if l.findings < 10 || l.logs() < 10 || l.bytes == 0 {
			t.Errorf("a node with %d findings, %d logs, %d bytes", l.findings, l.logs(), l.bytes)
		}
		want += int64(l.logs())
	}
	bytesOf := make(map[way]int64)
	for _, w := range ways() {
		s, err := sendAll(t.Context(), w, f.nodes, f.lives)
		if err != nil {
			t.Fatal(err)
		}
		if s.logs != want || s.lost != 0 {
			t.Errorf("%s: %d logs came, %d were lost, of %d", w, s.logs, s.lost, want)
		}
		bytesOf[w] = s.bytes
	}
	for _, scheme := range []string{"grpc", "http"} {
		if plain, packed := bytesOf[way{scheme, false}], bytesOf[way{scheme, true}]; packed*2 > plain {
			t.Errorf("%s: %d bytes, and %d compressed", scheme, plain, packed)
		}
	}
	points, n, err := sendMetrics(t.Context(), way{"grpc", true}, "node0", f.lives[0], typicalState())
	if err != nil || points < 40 || n < 500 {
		t.Errorf("metrics: %d points, %d bytes, %v", points, n, err)
	}
}

// The queries of docs/fleet.md are asked as they stand there.
func TestDocumentedQueriesAreAnswered(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skipf("DuckDB is a package of npm: %v", err)
	}
	if _, err := os.Stat(root + "/test/readers/node_modules/@duckdb"); err != nil {
		t.Skipf("DuckDB is not here (make bench-fleet fetches it with npm): %v", err)
	}
	f, dir := small(t, 12)
	nodes := make(map[string]int)
	for _, l := range f.lives {
		nodes[l.kernel]++
	}
	queries, err := documented(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queries {
		answer, _, err := duckDB(t.Context(), root, viewOf(dir+"/*.parquet"), q.sql)
		if err != nil {
			t.Fatalf("%s: %v", q.title, err)
		}
		first := strings.Split(strings.SplitN(answer, "\n", 2)[0], "\t")
		if len(first) < 4 {
			t.Fatalf("%s: %q", q.title, answer)
		}
		// Every recording has one neighbour that holds a device.
		if strings.Contains(q.title, "leaks most") {
			if n := fmt.Sprint(nodes[first[0]]); first[1] != n || first[2] != n || !strings.Contains(first[3], "___neigh_create") {
				t.Errorf("%s: %q, of %v", q.title, first, nodes)
			}
		}
	}
}
