// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// query is one of docs/fleet.md: what is printed is what is documented.
type query struct{ title, sql string }

var sqlBlock = regexp.MustCompile("(?s)```sql\n-- ([^\n]*)\n(.*?)```")

// documented reads the queries of the documentation that ask the table fleet.
func documented(root string) ([]query, error) {
	text, err := os.ReadFile(filepath.Join(root, "docs/fleet.md"))
	if err != nil {
		return nil, fmt.Errorf("reading the queries: %w", err)
	}
	var out []query
	for _, block := range sqlBlock.FindAllSubmatch(text, -1) {
		if strings.Contains(string(block[2]), "from fleet") {
			out = append(out, query{string(block[1]), strings.TrimSpace(string(block[2]))})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("docs/fleet.md has no queries")
	}
	return out, nil
}

// duckDB asks DuckDB one after another, and returns all answers together and how long
// each took.
func duckDB(ctx context.Context, root string, queries ...string) (answers string, took []time.Duration, err error) {
	cmd := exec.CommandContext(ctx, "node", append([]string{filepath.Join(root, "test/readers/duckdb.mjs")}, queries...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", nil, fmt.Errorf("asking DuckDB (make bench-fleet fetches it): %w\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		ms, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return "", nil, fmt.Errorf("DuckDB says %q", line)
		}
		took = append(took, time.Duration(ms)*time.Millisecond)
	}
	if len(took) != len(queries) {
		return "", nil, fmt.Errorf("DuckDB answered %d of %d queries", len(took), len(queries))
	}
	return string(out), took, nil
}

func viewOf(files string) string {
	return fmt.Sprintf("create or replace view fleet as select * from read_parquet('%s', union_by_name = true)", files)
}

// head are the first lines of an answer, indented.
func head(answer string, most int) string {
	var out strings.Builder
	n := 0
	for line := range strings.Lines(answer) {
		if n++; n > most {
			break
		}
		if line = "  " + strings.TrimSuffix(line, "\n"); len(line) > 150 {
			line = line[:147] + "..."
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}
