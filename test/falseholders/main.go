// SPDX-License-Identifier: Apache-2.0

// Falseholders searches the memory of a machine that churns, again and again, and counts
// what the searches say that cannot be so: more holders than a device has references, and
// references that nothing explains where nothing leaks them. It is for guests, beside
// churn.sh.
//
// A run is what "netns-trace holders --all" does, but for reading the kernel's types and
// symbols, which is done every fifty runs. With the programs built (see test/faults),
//
//	lab run -f falseholders:/bin/falseholders -f churn:/bin/churn -f sockhold:/bin/sockhold \
//		-f test/falseholders/churn.sh:/churn.sh 6.12 -- \
//		sh -c 'sh /churn.sh & sleep 15; falseholders -runs 100'
//
// prints a line a run, and all that was found of a device of which something false was said.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/holders"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refs"
)

func main() {
	runs := flag.Int("runs", 10, "how many searches")
	flag.Parse()
	goFirst()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	found, err := run(ctx, *runs)
	fmt.Println(found)
	if err == nil && found.tooMany+found.leaked > 0 {
		err = errors.New("there were false findings")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "falseholders:", err)
		os.Exit(1)
	}
}

// goFirst has this process served before what churns: on an emulated machine a search
// would take a minute otherwise, and everything has changed by then. Threads that are
// made later have the priority of those that make them.
func goFirst() {
	tasks, err := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		if tid, errTID := strconv.Atoi(task.Name()); errTID == nil {
			err = errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, tid, -15))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "falseholders: not served first:", err)
	}
}

// counts are of devices, but for runs and holders.
type counts struct {
	runs, devices, exact, moved, tooMany, leaked int
	holders                                      int // objects named
	freed                                        int // devices that were freed during the search
}

func (c counts) String() string {
	return fmt.Sprintf("runs=%d devices=%d holders=%d exact=%d moved=%d freed=%d too_many=%d leaked=%d",
		c.runs, c.devices, c.holders, c.exact, c.moved, c.freed, c.tooMany, c.leaked)
}

func run(ctx context.Context, runs int) (counts, error) {
	var sum counts
	for ctx.Err() == nil && sum.runs < runs {
		if err := runSome(ctx, min(sum.runs+withSameTypes, runs), &sum); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// withSameTypes is after how many runs types and symbols are read anew: modules come.
const withSameTypes = 50

func runSome(ctx context.Context, until int, sum *counts) error {
	k, err := holders.OpenRunning()
	if err != nil {
		return err
	}
	defer k.Close()
	for ctx.Err() == nil && sum.runs < until {
		started := time.Now()
		if err := search(ctx, k, sum); err != nil {
			return err
		}
		sum.runs++
		fmt.Printf("%s took=%s\n", sum, time.Since(started).Round(time.Millisecond))
	}
	return nil
}

// search is one run.
func search(ctx context.Context, k *holders.Running, sum *counts) error {
	waiting, err := k.Waiting()
	if err != nil {
		return fmt.Errorf("looking for devices that wait: %w", err)
	}
	devices, err := k.Devices()
	if err != nil {
		return fmt.Errorf("listing devices: %w", err)
	}
	devices = append(waiting, devices...)
	known := new(finding.Knowledge)
	known.Observe(probe.Clock())
	words := refs.NewSearches(known)
	var objects []*record.HeldObject
	told := 0
	err = k.Search(ctx, devices, nil, holders.Options{Now: probe.Now, Settle: time.Second}, func(rec record.Record) {
		var findings []*finding.Finding
		words.Observe(rec, func(f *finding.Finding) { findings = append(findings, f) })
		switch r := rec.(type) {
		case *record.HeldObject:
			objects = append(objects, r)
		case *record.HolderSearch:
			told++
			sum.judge(r, findings, objects)
			objects = nil
		}
	})
	sum.freed += len(devices) - told
	return err
}

// judge looks at all that was said of one device.
func (c *counts) judge(r *record.HolderSearch, findings []*finding.Finding, objects []*record.HeldObject) {
	c.devices++
	wrong := false
	for _, f := range findings {
		switch f.Kind {
		case refs.KindHolder:
			c.holders++
		case refs.KindLeaked:
			c.leaked++
			wrong = true
		}
	}
	unexplained, known := findings[0].Details["unexplained"].(int64)
	switch {
	case r.Moved:
		c.moved++
	case known && unexplained < 0:
		c.tooMany++
		wrong = true
	case known && unexplained == 0:
		c.exact++
	}
	if !wrong {
		return
	}
	fmt.Printf("FALSE %s (%s), and %d in memory that nobody uses; %d without reference, %d dropped\n",
		findings[0].Summary, r.State, r.Free, r.Plain, r.Dropped)
	for _, o := range objects {
		fmt.Printf("  %s %s certain=%t means=%d %s %v %s\n", o.Family, o.Field, o.Certain, o.Means, o.Cache, o.Facts, o.Reason)
	}
}
