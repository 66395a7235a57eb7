// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// sampled says in the evidence of a verdict that names objects which part of them was
// followed.
func (d *Detector) sampled(e finding.Evidence) finding.Evidence {
	if n := d.known.HoldersOneIn(); n > 1 {
		e.Sampled = fmt.Sprintf("1/%d", n)
	}
	return e
}

// sampledBalance is the balance where there is no ledger and not all objects are
// followed: what those that are not would explain is not known, so nothing is called
// unexplained.
func (*Detector) sampledBalance(w *device, f *finding.Finding) {
	f.Evidence.Complete = false
	text := "none of the objects that are followed"
	if len(w.holders.counts) > 0 {
		f.Details["holders_sampled"] = w.holders.counts
		text = wordFamilies(w.holders.counts) + ", of those that are followed"
	}
	f.Facts = append(f.Facts, finding.Fact{Label: "held by", Text: text})
}
