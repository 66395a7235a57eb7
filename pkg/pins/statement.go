// SPDX-License-Identifier: Apache-2.0

package pins

import (
	"fmt"
	"path"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// Statement is what keeps a namespace that is as it should be: no finding.
type Statement struct {
	Netns   *finding.Netns
	Summary string
	Facts   []finding.Fact
}

// stated is how many processes, pins and mounts a statement lists.
const stated = 8

func (d *Detector) state(n *namespace) Statement {
	s := Statement{Netns: d.known.Netns(n.id)}
	residents := n.residents()
	switch n.verdict() {
	case inUse:
		count := plural(len(residents), "process", "processes")
		if n.moreProcesses {
			count = "at least " + count
		}
		s.Summary = fmt.Sprintf("netns %s is in use: %s", s.Netns, count)
	default:
		s.Summary = fmt.Sprintf("netns %s has a name and no processes", s.Netns)
	}
	for i, p := range residents {
		if i == stated {
			s.fact("", fmt.Sprintf("and %d more", len(residents)-i))
			break
		}
		s.fact("lives", fmt.Sprintf("pid %d (%s), %s", p.first.TGID, p.first.Comm, plural(p.threads, "thread", "threads")))
	}
	for _, m := range n.mounts {
		if isName(m) {
			s.fact("name", fmt.Sprintf("%s: %s", m.Path, releaseOfName(m.Path)))
		}
	}
	copies, pins := n.copies()
	if len(copies) > 0 {
		s.fact("copied", fmt.Sprintf("into %s, such as that of pid %d (%s)",
			plural(len(copies), "other mount namespace", "other mount namespaces"), copies[0].PID, copies[0].Comm))
	}
	for i, p := range pins {
		if i == stated {
			s.fact("", fmt.Sprintf("and %d more", len(pins)-i))
			break
		}
		what, _ := d.describe(p, &finding.Finding{Details: map[string]any{}})
		s.fact("kept by", what)
	}
	if n.alive != nil {
		s.fact("references", n.wordAccount())
	}
	return s
}

func (s *Statement) fact(label, text string) {
	s.Facts = append(s.Facts, finding.Fact{Label: label, Text: text})
}

// releaseOfName says how the name is taken off, where it is `ip netns`'s.
func releaseOfName(at string) string {
	if path.Dir(at) == "/run/netns" || path.Dir(at) == "/var/run/netns" {
		return "ip netns del " + path.Base(at) + " takes it off"
	}
	return "made by a container runtime, which takes it off"
}
