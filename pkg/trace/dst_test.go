// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// A count that stands still was fed, and its namespace and stack named, each second
// for as long as tracing went on.
func TestACountThatStandsStillIsNotFedForEver(t *testing.T) {
	counts := make(news[string])
	fed := 0
	for second := range record.Time(3600) {
		count := uint64(1)
		if second >= 100 {
			count = 2
		}
		if counts.has("red", count, second*record.Time(time.Second)) {
			fed++
		}
	}
	// Long enough after each change to be told, when the last telling was just before.
	if least, most := 2*11, 2*13; fed < least || fed > most {
		t.Errorf("fed %d times in an hour with two changes, want %d to %d", fed, least, most)
	}
	if !counts.has("blue", 2, 3600*record.Time(time.Second)) {
		t.Error("another namespace's count was not fed")
	}
}
