// SPDX-License-Identifier: Apache-2.0

// Package monitor is what a service does with what it finds: it logs, and keeps the
// rest of the service out of the detectors.
package monitor

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
)

// The forms of a log.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// NewLogger makes a logger of such a form; its level can change while it is used.
func NewLogger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// overflowEvery is how often it is said that there are too many incidents.
const overflowEvery = time.Minute

// Log is the sink that writes a log: a line when an incident begins and one when it
// is over. What comes between is counted there; it is in the log at level debug.
type Log struct {
	Logger    *slog.Logger
	overflows int64
	said      time.Time
}

// Take implements incident.Sink.
func (l *Log) Take(e *incident.Event) {
	switch e.Change {
	case incident.Opened:
		l.Logger.Warn("incident opened", append(about(e), details(e.Finding)...)...)
	case incident.Ended:
		l.Logger.Info("incident ended", append(about(e),
			slog.Int64("count", e.Incident.Count),
			slog.Time("first", e.Incident.First), slog.Time("last", e.Incident.Last),
		)...)
	case incident.Overflow:
		l.overflows++
		if at := e.Finding.Time; l.said.IsZero() || at.Sub(l.said) >= overflowEvery {
			l.said = at
			l.Logger.Warn("there are too many incidents to tell apart; this one and others are only counted",
				append(about(e), slog.Int64("so_far", l.overflows))...)
		}
	default:
		l.Logger.Debug("incident "+string(e.Change), append(about(e),
			slog.Int64("count", e.Incident.Count), slog.Int64("open", e.Incident.Open), slog.String("now", e.Finding.Summary))...)
	}
}

func about(e *incident.Event) []any {
	i := &e.Incident
	attrs := []any{
		slog.String("signature", i.Signature), slog.String("class", string(i.Class)), slog.String("kind", i.Kind),
		slog.String("summary", i.Summary),
	}
	if i.DeviceKind != "" {
		attrs = append(attrs, slog.String("device_kind", i.DeviceKind))
	}
	return attrs
}

// details is what tells people where to look. The whole finding would be too long
// for a line; netns-trace record has it all.
func details(f *finding.Finding) []any {
	attrs := []any{slog.String("id", f.ID), slog.Time("at", f.Time), slog.Int64("value", f.Count)}
	if f.Device != nil {
		attrs = append(attrs, slog.String("device", f.Device.Name))
	}
	if f.Netns != nil {
		attrs = append(attrs, slog.String("netns", f.Netns.String()))
	}
	if p := f.Process; p != nil {
		attrs = append(attrs, slog.String("process", fmt.Sprintf("%s[%d]", p.Comm, p.PID)))
		if p.ContainerName != "" || p.Container != "" {
			attrs = append(attrs, slog.String("container", firstOf(p.ContainerName, p.Container)))
		}
	}
	if len(f.Stack) > 0 {
		attrs = append(attrs, slog.String("stack", strings.Join(f.Stack, " < ")))
	}
	attrs = append(attrs, slog.Bool("complete", f.Evidence.Complete), slog.String("how", f.Evidence.How))
	if len(f.Evidence.Lost) > 0 {
		attrs = append(attrs, slog.Any("lost", f.Evidence.Lost))
	}
	return attrs
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
