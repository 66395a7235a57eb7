// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"slices"
	"strings"
	"testing"
)

// Each way names programs that exist, of the kind that it says it is; a map that
// all objects share must be one.
func TestWaysNameProgramsOfTheirKind(t *testing.T) {
	for detector, points := range map[string][]point{DetectorThreads: threadsPoints, DetectorRefs: refsPoints, DetectorCsum: csumPoints, DetectorDst: dstPoints, Names: namesPoints} {
		set, err := setOf(detector, Kernel{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		spec, err := set.spec()
		if err != nil {
			t.Fatal(err)
		}
		used := make(map[string]bool)
		for _, p := range points {
			if !p.required && p.lost == "" {
				t.Errorf("%s: %q can be missing, but not what is then lost", detector, p.thing)
			}
			for _, way := range p.ways {
				hasKind := false
				for _, name := range way.programs {
					prog := spec.Programs[name]
					if prog == nil {
						t.Errorf("%s: no program %s", detector, name)
						continue
					}
					used[name] = true
					section, target, _ := strings.Cut(prog.SectionName, "/")
					if !slices.Contains(strings.Split(way.Target, ", "), target) {
						t.Errorf("%s: program %s is for %s, the way for %s", detector, name, target, way.Target)
					}
					hasKind = hasKind || Kind(section) == way.Kind
				}
				if !hasKind {
					t.Errorf("%s: no program of the way %s is a %s", detector, way, way.Kind)
				}
			}
		}
		for name := range spec.Programs {
			if !used[name] {
				t.Errorf("%s: no way uses program %s", detector, name)
			}
		}
	}
}
