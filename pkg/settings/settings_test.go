// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

type values struct {
	only   []string
	away   time.Duration
	level  string
	number uint32
}

func flagsOf(v *values) *pflag.FlagSet {
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.StringSliceVar(&v.only, "only", nil, "")
	f.DurationVar(&v.away, "away", 5*time.Second, "")
	f.StringVar(&v.level, "log-level", "info", "")
	f.Uint32Var(&v.number, "devices", 1, "")
	f.String("config", "", "")
	f.Bool("check-config", false, "")
	return f
}

func load(t *testing.T, file string, environ []string, args ...string) (values, Places, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var v values
	flags := flagsOf(&v)
	if err := flags.Parse(append(args, "--config", path)); err != nil {
		t.Fatal(err)
	}
	places, err := Source{
		Prefix: "NT_", Environ: environ, Flag: "config", Not: []string{"config", "check-config"},
		Fresh: func() *pflag.FlagSet { return flagsOf(new(values)) },
	}.Load(flags)
	for name, place := range places {
		places[name] = strings.TrimPrefix(place, filepath.Dir(path)+"/")
	}
	return v, places, err
}

func TestLoad(t *testing.T) {
	for _, test := range []struct {
		name, file string
		environ    []string
		args       []string
		want       values
	}{
		{name: "nothing", want: values{away: 5 * time.Second, level: "info", number: 1}},
		{name: "comments only", file: "# nothing yet\n", want: values{away: 5 * time.Second, level: "info", number: 1}},
		{
			name: "file", file: "only: [refs, dst]\naway: 3s\nlog-level: debug\ndevices: 9\n",
			want: values{only: []string{"refs", "dst"}, away: 3 * time.Second, level: "debug", number: 9},
		},
		{
			name: "environment over file", file: "away: 3s\nonly: [refs]\n", environ: []string{"NT_AWAY=4s", "NT_ONLY=csum,dst", "OTHER=1"},
			want: values{only: []string{"csum", "dst"}, away: 4 * time.Second, level: "info", number: 1},
		},
		{
			name: "typed over both", file: "away: 3s\nonly: [refs]\n", environ: []string{"NT_AWAY=4s"},
			args: []string{"--away", "9s", "--only", "threads"},
			want: values{only: []string{"threads"}, away: 9 * time.Second, level: "info", number: 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := load(t, test.file, test.environ, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(values{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesAreToldWithTheirLine(t *testing.T) {
	for _, test := range []struct {
		name, file string
		environ    []string
		args       []string
		want       []string
	}{
		{name: "unknown", file: "away: 3s\nlog_level: debug\n", want: []string{`m.yaml:2: there is no setting "log_level"`}},
		{name: "value", file: "\n\naway: soon\n", want: []string{"m.yaml:3: away: "}},
		{name: "all of them", file: "away: soon\ndevices: -1\n", want: []string{"m.yaml:1: away: ", "m.yaml:2: devices: "}},
		{name: "one that is overridden", file: "away: soon\n", args: []string{"--away", "1s"}, want: []string{"m.yaml:1: away: "}},
		{name: "twice", file: "away: 1s\naway: 2s\n", want: []string{"m.yaml:2: away was set in line 1 already"}},
		{name: "list for one", file: "away: [1s, 2s]\n", want: []string{"m.yaml:1: away takes one value, not a list"}},
		{name: "nested", file: "only:\n  refs: true\n", want: []string{"m.yaml:2: only is a value or a list of values"}},
		{name: "nothing", file: "log-level:\n", want: []string{"m.yaml:1: log-level has no value"}},
		{name: "no mapping", file: "- refs\n", want: []string{"m.yaml:1: a file of settings has lines of the form"}},
		{name: "syntax", file: "away: 1s\nonly: [refs\n", want: []string{"m.yaml:"}},
		{name: "alias", file: "only: &a [refs]\naway: *a\n", want: []string{"m.yaml:2: away is a value or a list"}},
		{name: "typed only", file: "check-config: true\n", want: []string{`m.yaml:1: there is no setting "check-config"`}},
		{name: "environment", environ: []string{"NT_DEVICES=many"}, want: []string{"NT_DEVICES: devices: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := load(t, test.file, test.environ, test.args...)
			if err == nil {
				t.Fatal("no mistake was found")
			}
			for _, want := range test.want {
				if !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool {
					line = line[strings.LastIndex(line, "/")+1:]
					return strings.HasPrefix(line, want)
				}) {
					t.Errorf("got %q, want %q", err, want)
				}
			}
		})
	}
}

func TestLocate(t *testing.T) {
	_, places, err := load(t, "log-level: info\naway: 0s\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := places.Locate(errors.New("--away must be more than nothing"))
	if want := "m.yaml:2: --away must be more than nothing"; got.Error() != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := places.Locate(errors.New("--devices is typed")); got.Error() != "--devices is typed" {
		t.Errorf("got %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("only: [refs, dst]\naway: 3s\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		made, _ := parse("f", text)
		for _, m := range made {
			if !m.list && len(m.values) != 1 {
				t.Errorf("%q has %d values", m.name, len(m.values))
			}
		}
	})
}
