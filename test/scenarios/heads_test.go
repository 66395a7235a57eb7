// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/test/lab"
)

// readScenarios reads the heads of all scripts of a folder.
func readScenarios(dir string) ([]scenario, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no scenario in %s", dir)
	}
	var out []scenario
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := parseHead(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		s.text = string(text)
		s.path, s.name = path, strings.TrimSuffix(filepath.Base(path), ".txtar")
		out = append(out, s)
	}
	return out, nil
}

// parseHead reads the comment that a script begins with.
func parseHead(text []byte) (scenario, error) {
	var s scenario
	said := false
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line, comment := strings.CutPrefix(lines.Text(), "#")
		if !comment {
			break
		}
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		switch key {
		case "kernels":
			said = true
			if value != "all" {
				s.kernels = strings.Fields(value)
			}
			for _, k := range s.kernels {
				if !slices.Contains(lab.KernelNames(), k) {
					return s, fmt.Errorf("no kernel %q in the matrix", k)
				}
			}
		case "machine":
			s.wants.machine = value
		case "flavour":
			s.wants.flavour = value
		case "append":
			s.wants.append = value
		case "memory":
			mib, err := strconv.Atoi(value)
			if err != nil || mib <= 0 {
				return s, fmt.Errorf("memory is a number of MiB, not %q", value)
			}
			s.wants.memory = mib
		}
	}
	if !said {
		return s, errors.New(`the head does not say "# kernels: all" or which`)
	}
	return s, nil
}

func TestHeads(t *testing.T) {
	for _, test := range []struct {
		name, head string
		want       wants
		fails      string
	}{
		{name: "the plain machine", head: "# What it shows.\n#\n# kernels: all\n"},
		{
			name: "a machine of its own", want: wants{append: "lockdown=integrity quiet", memory: 4096},
			head: "# kernels: 5.10 newest\n# append: lockdown=integrity quiet\n# memory: 4096\n",
		},
		{name: "what follows the first command is no head", head: "# kernels: all\nexec true\n# memory: 4096\n"},
		{name: "memory with a unit", head: "# kernels: all\n# memory: 4G\n", fails: `"4G"`},
		{name: "a kernel that is not in the matrix", head: "# kernels: 4.19\n", fails: `"4.19"`},
		{name: "no word of kernels", head: "# memory: 4096\n", fails: "kernels"},
	} {
		s, err := parseHead([]byte(test.head))
		switch {
		case test.fails == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
			t.Errorf("%s: %v, want an error with %s", test.name, err, test.fails)
		case test.fails == "" && s.wants != test.want:
			t.Errorf("%s: %+v", test.name, s.wants)
		}
	}
}
