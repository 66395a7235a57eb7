// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/incident"
	"github.com/netns-trace/netns-trace/pkg/monitor"
	"github.com/netns-trace/netns-trace/pkg/otlp"
	"github.com/netns-trace/netns-trace/pkg/seccomp"
	"github.com/netns-trace/netns-trace/pkg/settings"
)

// monitorOptions are the settings of the service.
type monitorOptions struct {
	live liveOptions

	config      string
	checkConfig bool
	logFormat   string
	logLevel    string
	settle      time.Duration
	quietAfter  time.Duration

	maxCPU    percentage
	maxMemory byteSize

	listen    string
	tokenFile string
	tlsCert   string
	tlsKey    string
	pprof     bool
	otlp      string
	seccomp   string

	flags *pflag.FlagSet
}

func (o *monitorOptions) addFlags(f *pflag.FlagSet) {
	o.flags = f
	f.SortFlags = false
	f.StringVar(&o.config, "config", "", "read settings from this YAML `FILE`")
	f.BoolVar(&o.checkConfig, "check-config", false, "tell mistakes in the settings, and end")
	o.logFormat, o.logLevel = monitor.FormatText, "info"
	f.Var(&oneOf{&o.logFormat, []string{monitor.FormatText, monitor.FormatJSON}}, "log-format", "how the log is written, to standard error: text or json")
	f.Var(&oneOf{&o.logLevel, []string{"debug", "info", "warn", "error"}}, "log-level", "what is logged: debug, info, warn or error, and what is worse")
	f.DurationVar(&o.settle, "settle", time.Minute, "an incident has ended when it has been over for so long")
	f.DurationVar(&o.quietAfter, "quiet-after", 10*time.Minute, "one whose end cannot be seen, such as of packets, when it has been silent for so long")
	f.Var(&o.maxCPU, "max-cpu", "leave out stacks, then most objects, then probes of packets, then references but for a search of memory, then all but threads, while tracing takes more than this `PERCENTAGE` of one CPU, such as 1% (default: no limit)")
	f.Var(&o.maxMemory, "max-memory", "keep this process and its tables in the kernel together below this `SIZE`, such as 200M: with smaller tables, then with threads only (default: no limit)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:9435", "serve /metrics, /healthz and /readyz for Prometheus at this `ADDRESS`; empty: do not")
	f.StringVar(&o.tokenFile, "token-file", "", "ask who reads metrics for the bearer token in this `FILE`")
	f.StringVar(&o.tlsCert, "tls-cert", "", "serve by TLS, with the certificate in this `FILE`")
	f.StringVar(&o.tlsKey, "tls-key", "", "and its key in this `FILE`")
	f.BoolVar(&o.pprof, "pprof", false, "serve also profiles of this program, at /debug/pprof/")
	f.StringVar(&o.otlp, "otlp-endpoint", "", "send incidents as logs, and metrics every minute, to this OpenTelemetry collector: http://HOST:4318 or grpc://HOST:4317, https and grpcs with TLS")
	o.seccomp = string(seccomp.Refuse)
	f.Var(&oneOf{&o.seccomp, seccomp.Modes()}, "seccomp", "what happens, once everything is attached, at a system call that the service does not need: refuse, kill, log or off")
	o.live.addWatchFlags(f)
	// What is printed to people, and when to end, is not a service's.
	o.live.addOutputFlags(pflag.NewFlagSet("", pflag.ContinueOnError))
}

func newMonitorFlags(o *monitorOptions) *pflag.FlagSet {
	f := pflag.NewFlagSet("monitor", pflag.ContinueOnError)
	o.addFlags(f)
	return f
}

// typedArgs are the flags that were typed, as they could be typed again.
func typedArgs(f *pflag.FlagSet) []string {
	var args []string
	f.Visit(func(flag *pflag.Flag) {
		values := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			args = append(args, "--"+flag.Name+"="+value)
		}
	})
	return args
}

const environmentPrefix = "NETNS_TRACE_"

// load takes settings from the environment and the file.
func (o *monitorOptions) load(flags *pflag.FlagSet) (settings.Places, error) {
	if path, ok := os.LookupEnv(environmentPrefix + "CONFIG"); ok && o.config == "" {
		o.config = path
	}
	return settings.Source{
		Prefix: environmentPrefix, Environ: os.Environ(), Flag: "config", Not: []string{"config", "check-config"},
		Fresh: func() *pflag.FlagSet { return newMonitorFlags(new(monitorOptions)) },
	}.Load(flags)
}

// check finds mistakes that one setting does not tell by itself.
func (o *monitorOptions) check() error {
	switch {
	case o.settle <= 0:
		return usagef("--settle must be more than nothing, got %s", o.settle)
	case o.quietAfter <= 0:
		return usagef("--quiet-after must be more than nothing, got %s", o.quietAfter)
	case o.maxMemory != 0 && o.maxMemory < 64<<20:
		return usagef("--max-memory must be 64M or more: symbols and types of the kernel have to be read")
	case (o.tlsCert == "") != (o.tlsKey == ""):
		return usagef("--tls-cert and --tls-key need each other")
	case o.listen == "" && (o.tokenFile != "" || o.tlsCert != "" || o.pprof):
		return usagef("--token-file, --tls-cert and --pprof are about what --listen serves, which is off")
	}
	if o.otlp != "" {
		if err := otlp.CheckEndpoint(o.otlp); err != nil {
			return usageError{fmt.Errorf("--otlp-endpoint: %w", err)}
		}
	}
	checked := o.live // check puts defaults in, which are then no longer what was set
	return checked.check()
}

func (o *monitorOptions) level() slog.Level {
	var l slog.Level
	// The flag takes its names only.
	_ = l.UnmarshalText([]byte(o.logLevel))
	return l
}

func (o *monitorOptions) bookOptions() incident.Options {
	return incident.Options{Release: kernelRelease(), Settle: o.settle, Quiet: o.quietAfter}
}

func kernelRelease() string {
	var u unix.Utsname
	// It fails for a bad pointer only.
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}

// reloadable are the settings that are taken without a restart.
var reloadable = [...]string{"log-level", "settle", "quiet-after", "max-cpu", "max-memory"}

// take takes those of next that can be, and tells what changed: what was taken, and
// what was not.
func (o *monitorOptions) take(next *monitorOptions) (taken, later []string) {
	next.flags.VisitAll(func(f *pflag.Flag) {
		was := o.flags.Lookup(f.Name)
		switch {
		case was == nil || was.Value.String() == f.Value.String():
		case slices.Contains(reloadable[:], f.Name):
			// It was checked when it was read.
			_ = was.Value.Set(f.Value.String())
			taken = append(taken, f.Name)
		default:
			later = append(later, f.Name)
		}
	})
	return taken, later
}

// oneOf is a flag that takes some words only.
type oneOf struct {
	value *string
	words []string
}

func (o *oneOf) String() string {
	if o.value == nil { // pflag asks a zero value for its default
		return ""
	}
	return *o.value
}

// Type implements pflag.Value.
func (*oneOf) Type() string { return "WORD" }

// Set implements pflag.Value.
func (o *oneOf) Set(text string) error {
	if !slices.Contains(o.words, text) {
		return fmt.Errorf("it is %s, not %q", strings.Join(o.words, ", "), text)
	}
	*o.value = text
	return nil
}

// percentage is a flag such as 1%, kept as a share: 0.01. 0 is no limit.
type percentage float64

func (p *percentage) String() string {
	if *p == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*p)*100, 'g', -1, 64) + "%"
}

// Type implements pflag.Value.
func (*percentage) Type() string { return "PERCENTAGE" }

// Set implements pflag.Value.
func (p *percentage) Set(text string) error {
	if text == "" {
		*p = 0
		return nil
	}
	number, ok := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("%q is no percentage: write it as 1%%", text)
	case !(n >= 0.1 && n <= 10000): // NaN is neither
		return fmt.Errorf("it must be 0.1%% or more, not %s: reading nothing takes about as much; for no limit leave it out", text)
	}
	*p = percentage(n / 100)
	return nil
}
