// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	"github.com/parquet-go/parquet-go"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/report"
)

// Row is a row of a Parquet file: a finding, or an event. The schema is the same for
// all recordings, so that those of a fleet are one table. Columns are added, never
// renamed or removed. What does not apply is null.
type Row struct {
	Row     string `parquet:"row,dict"` // finding or event
	Time    int64  `parquet:"time,timestamp(nanosecond)"`
	Host    string `parquet:"host,dict"`
	Kernel  string `parquet:"kernel,dict"`
	BootID  string `parquet:"boot_id,dict"`
	Class   string `parquet:"class,dict,optional"` // of a finding
	Kind    string `parquet:"kind,dict"`           // of a finding, or the type of an event
	ID      string `parquet:"id,optional"`
	State   string `parquet:"state,dict,optional"`
	Summary string `parquet:"summary,optional"`
	Count   *int64 `parquet:"count,optional"`

	NetnsInode    *int64 `parquet:"netns_inode,optional"`
	NetnsCookie   *int64 `parquet:"netns_cookie,optional"`
	NetnsName     string `parquet:"netns_name,dict,optional"`
	Container     string `parquet:"container,dict,optional"`
	ContainerName string `parquet:"container_name,dict,optional"`
	Device        string `parquet:"device,dict,optional"`
	Ifindex       *int32 `parquet:"ifindex,optional"`
	PID           *int64 `parquet:"pid,optional"`
	TID           *int64 `parquet:"tid,optional"`
	Comm          string `parquet:"comm,dict,optional"`

	Stack    []string `parquet:"stack,list"` // innermost first
	Complete *bool    `parquet:"complete,optional"`
	Details  string   `parquet:"details,optional"` // JSON
	Traces   []Trace  `parquet:"traces,list"`      // of a finding about references
}

// Trace is a call trace by which references were taken or dropped.
type Trace struct {
	Count int64    `parquet:"count"`      // taken; negative: dropped
	Place string   `parquet:"place,dict"` // the instruction: symbol+0xoff [module]
	Comm  string   `parquet:"comm,dict,optional"`
	Stack []string `parquet:"stack,list"` // innermost first
}

// rowsInGroup is how many rows are held before they are written.
const rowsInGroup = 20_000

type parquetWriter struct {
	out   *parquet.GenericWriter[Row]
	start *recording.Start
	known *finding.Knowledge
	words *worder
	rows  int
	err   error
}

func newParquet(w io.Writer, start *recording.Start, known *finding.Knowledge) *parquetWriter {
	return &parquetWriter{
		out:   parquet.NewGenericWriter[Row](w, parquet.Compression(&parquet.Zstd), parquet.CreatedBy("netns-trace", start.Tool, "")),
		start: start, known: known, words: newWorder(known),
	}
}

func (p *parquetWriter) write(r Row) {
	if p.err != nil {
		return
	}
	r.Host, r.Kernel, r.BootID = p.start.Host.Name, p.start.Host.Release, p.start.Host.BootID
	if _, p.err = p.out.Write([]Row{r}); p.err != nil {
		return
	}
	if p.rows++; p.rows%rowsInGroup == 0 {
		p.err = p.out.Flush()
	}
}

func number[T int32 | int64, F uint32 | uint64 | int32 | int64](n F) *T {
	v := T(n)
	return &v
}

func (r *Row) netns(n *finding.Netns) {
	if n == nil || n.Inode == 0 {
		return
	}
	r.NetnsInode, r.NetnsName = number[int64](n.Inode), n.Name
	if n.Cookie != 0 {
		r.NetnsCookie = number[int64](n.Cookie)
	}
	r.Container, r.ContainerName = n.Container, n.ContainerName
}

func (r *Row) process(p *finding.Process) {
	if p == nil {
		return
	}
	r.PID, r.TID, r.Comm = number[int64](p.PID), number[int64](p.TID), p.Comm
}

// Finding implements Writer.
func (p *parquetWriter) Finding(f *finding.Finding) {
	r := Row{
		Row: "finding", Time: f.Time.UnixNano(), Class: string(f.Class), Kind: f.Kind, ID: f.ID, State: string(f.State),
		Summary: f.Summary, Count: &f.Count, Stack: f.Stack, Complete: &f.Evidence.Complete,
	}
	r.netns(f.Netns)
	r.process(f.Process)
	if f.Device != nil {
		r.Device, r.Ifindex = f.Device.Name, &f.Device.Ifindex
	}
	for _, t := range f.Traces {
		r.Traces = append(r.Traces, Trace{t.Count, t.Place, t.Comm, t.Stack})
	}
	p.details(&r, f.Details)
	p.write(r)
}

// Record implements Writer: records of names, clocks and of the passing of time are no
// events.
func (p *parquetWriter) Record(rec record.Record) {
	switch rec.(type) {
	case *record.Clock, *record.Setup, *record.Tick, *record.Symbol, *record.NetnsName, *record.ProcessName:
		return
	}
	r := Row{Row: "event", Time: p.known.At(rec.When()).UnixNano(), Kind: name(rec)}
	v := reflect.ValueOf(rec).Elem()
	if tgid, stacks := stacksOf(v); stacks != nil {
		r.Stack = append(p.known.Stack(0, stacks.Kernel), p.known.Stack(tgid, stacks.User)...)
	}
	p.places(&r, v)
	p.details(&r, p.words.object(v))
	p.write(r)
}

// places fills the columns of where it was, from the fields that most types have.
func (p *parquetWriter) places(r *Row, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		switch f := v.Field(i).Interface().(type) {
		case record.NetnsID:
			if field.Name == "Netns" || field.Name == "To" || field.Name == "Away" {
				r.netns(p.known.Netns(f))
			}
		case record.DstOps:
			if field.Name == "Ops" || field.Name == "To" {
				r.netns(p.known.Netns(f.Netns))
			}
		case record.Thread:
			if field.Name == "Thread" || field.Name == "Child" || field.Name == "Leader" {
				r.process(p.known.Process(f))
			}
		case record.CsumDevice:
			r.netns(p.known.Netns(f.Netns))
			r.Device, r.Ifindex = f.Name, &f.Ifindex
		}
	}
	if f := v.FieldByName("Ifindex"); f.IsValid() && f.Kind() == reflect.Int32 && r.Ifindex == nil {
		r.Ifindex = number[int32](int32(f.Int()))
		if name := v.FieldByName("Name"); name.IsValid() && name.Kind() == reflect.String {
			r.Device = name.String()
		}
	}
}

func (p *parquetWriter) details(r *Row, of map[string]any) {
	if len(of) == 0 {
		return
	}
	b, err := json.Marshal(of)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("writing details as JSON: %w", err)
	}
	r.Details = string(b)
}

// Finish implements Writer.
func (p *parquetWriter) Finish(report.Recorded) error {
	if p.err != nil {
		return p.err
	}
	if err := p.out.Close(); err != nil {
		return fmt.Errorf("ending the Parquet file: %w", err)
	}
	return nil
}
