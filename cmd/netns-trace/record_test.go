// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/recording"
)

func TestSizesAreRead(t *testing.T) {
	for text, want := range map[string]int64{"100": 100, "64K": 64 << 10, "100M": 100 << 20, "2G": 2 << 30, "5MB": 5 << 20, "7B": 7} {
		var b byteSize
		if err := b.Set(text); err != nil || int64(b) != want {
			t.Errorf("%s: %d (%v), want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "M", "-5M", "1T", "10000000000G", "1.5M", "M5", "5 M"} {
		var b byteSize
		if err := b.Set(text); err == nil {
			t.Errorf("%q was taken for %d", text, b)
		}
	}
}

func TestMistakesOfRecordingAreNamed(t *testing.T) {
	for _, test := range []struct {
		options recording.Options
		want    string
	}{
		{recording.Options{Path: "f", MaxSize: 1000}, "--max-size must be at least 64K"},
		{recording.Options{Path: "f", MaxFiles: 3}, "--max-files needs --max-size or --last"},
		{recording.Options{Path: "f", MaxFiles: -1, MaxSize: 1 << 20}, "cannot be negative"},
		{recording.Options{Path: "f", Last: time.Millisecond}, "--last must be a second or more"},
		{recording.Options{Path: "-", Last: time.Minute}, "not standard output"},
		{recording.Options{Path: "-", MaxSize: 1 << 20}, "not standard output"},
	} {
		err := recordOptions{Options: test.options}.check()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.options, err, test.want)
		}
		if statusOf(err) != exitUsage {
			t.Errorf("%+v: status %d, want that of a mistake in the command line", test.options, statusOf(err))
		}
	}
	fine := recording.Options{Path: "f", MaxSize: 64 << 10, MaxFiles: 2, Last: time.Minute}
	if err := (recordOptions{Options: fine}).check(); err != nil {
		t.Error(err)
	}
}
