// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/netns-trace/netns-trace/pkg/metrics"
)

// The rules do what they say, by Prometheus's own tool.
func TestPromtool(t *testing.T) {
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (apt-get install prometheus)")
	}
	c := exec.CommandContext(t.Context(), program, "test", "rules", "alerts_test.yaml", "fleet_test.yaml")
	c.Dir = "prometheus"
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

var ruleNames = regexp.MustCompile(`\w+:\w+:\w+`)

// Rules and the dashboard ask for metrics that there are.
func TestMetricsThatAreAskedForExist(t *testing.T) {
	known := metrics.New("v0").Names()
	for _, file := range []string{"prometheus/alerts.yaml", "prometheus/fleet.yaml", "grafana/netns-trace.json"} {
		// After a colon it is a rule's own name.
		names := regexp.MustCompile(`\bnetns_trace_\w+`).FindAllString(ruleNames.ReplaceAllString(read(t, file), ""), -1)
		if len(names) < 4 {
			t.Errorf("%s asks for %d metrics only", file, len(names))
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				t.Errorf("%s asks for %s, which there is not", file, name)
			}
		}
	}
}

func TestDashboardIsJSON(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/netns-trace.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 || p.Targets[0].Expr == "" {
			t.Errorf("panel %q shows nothing", p.Title)
		}
	}
}

// The unit and the DaemonSet give the same capabilities, and never all. The DaemonSet
// has one more, since pods have no LimitMEMLOCK.
func TestCapabilitiesAreTheSame(t *testing.T) {
	unit := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindStringSubmatch(read(t, "systemd/netns-trace.service"))
	if unit == nil {
		t.Fatal("the unit does not bound capabilities")
	}
	var want []string
	for _, c := range strings.Fields(unit[1]) {
		want = append(want, strings.TrimPrefix(c, "CAP_"))
	}
	want = append(want, "SYS_RESOURCE")
	for d := yaml.NewDecoder(strings.NewReader(read(t, "kubernetes/daemonset.yaml"))); ; {
		var object struct {
			Kind string
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							SecurityContext struct {
								Privileged   bool
								Capabilities struct{ Add, Drop []string }
							} `yaml:"securityContext"`
						}
					}
				}
			}
		}
		err := d.Decode(&object)
		if errors.Is(err, io.EOF) {
			t.Fatal("there is no DaemonSet")
		}
		if err != nil {
			t.Fatal(err)
		}
		if object.Kind != "DaemonSet" {
			continue
		}
		c := object.Spec.Template.Spec.Containers[0].SecurityContext
		if c.Privileged || !slices.Equal(c.Capabilities.Add, want) || !slices.Equal(c.Capabilities.Drop, []string{"ALL"}) {
			t.Errorf("the DaemonSet has %+v, the unit %q", c, want)
		}
		return
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
