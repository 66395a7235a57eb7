// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// aptFresh is how long package lists are believed before they are fetched again.
const aptFresh = 24 * time.Hour

// Apt is a view of some Debian suites that shares nothing with the host's apt but
// the addresses of its archives, their keys and its proxy settings. It needs no
// root. Its methods may be called from several goroutines and processes at once.
type Apt struct {
	root    string
	missing error
}

// ErrNoPackage says that none of the suites has a package of that name.
var ErrNoPackage = errors.New("no such package in these suites")

// OpenApt opens the view of suite, of its security suite where there is one, and
// of the extra suites, in cacheDir. Package lists less than a day old are used as
// they are; remove cacheDir/apt to force new ones.
//
// A suite that no archive of the host has is an error only when nothing is left;
// [Apt.Missing] tells what was tried.
func OpenApt(ctx context.Context, cacheDir, suite string, extra ...string) (*Apt, error) {
	return openApt(ctx, cacheDir, aptFresh, append([]string{suite}, extra...))
}

// openApt fetches the package lists again when they are older than maxAge.
func openApt(ctx context.Context, cacheDir string, maxAge time.Duration, suites []string) (*Apt, error) {
	cacheDir, err := filepath.Abs(cacheDir)
	if err != nil {
		return nil, fmt.Errorf("opening an apt root: %w", err)
	}
	a := &Apt{root: filepath.Join(cacheDir, "apt", strings.Join(suites, "+"))}
	unlock, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Always: the configuration holds absolute paths, and the cache may have moved.
	if err := a.prepare(ctx); err != nil {
		return nil, fmt.Errorf("preparing an apt root in %s: %w", a.root, err)
	}
	if info, err := os.Stat(a.path("updated")); err == nil && time.Since(info.ModTime()) < maxAge {
		return a, nil
	}
	sources, err := hostSources(os.DirFS("/etc/apt"))
	if err != nil {
		return nil, err
	}
	if err := a.update(ctx, sources, suites); err != nil {
		return nil, err
	}
	return a, nil
}

// Missing is nil, or tells which suites could not be had and what each archive
// answered.
func (a *Apt) Missing() error { return a.missing }

func (a *Apt) path(parts ...string) string {
	return filepath.Join(append([]string{a.root}, parts...)...)
}

// lock serialises apt runs on this root. apt's own locks fail at once instead of
// waiting, so they are off.
func (a *Apt) lock(ctx context.Context) (func(), error) { return lockFile(ctx, a.path("lock")) }

// prepare lays out an empty root and its configuration.
func (a *Apt) prepare(ctx context.Context) error {
	for _, dir := range []string{
		"etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d",
		"var/lib/apt/lists/partial", "var/cache/apt/archives/partial",
	} {
		if err := os.MkdirAll(a.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(a.path("status"), nil, 0o644); err != nil {
		return err
	}
	conf := fmt.Sprintf(`Dir "%[1]s";
Dir::State::status "%[1]s/status";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::Etc::trusted "/etc/apt/trusted.gpg";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
`, a.root)
	connection, err := hostConnection(ctx)
	if err != nil {
		return err
	}
	return os.WriteFile(a.path("apt.conf"), []byte(conf+connection), 0o644)
}

// connectionOption matches what decides how the host reaches its archives. The
// rest of the host's configuration is left out on purpose: it holds hooks that
// would change the host, such as cleaning its package cache after an update.
var connectionOption = regexp.MustCompile(`^Acquire::(Check-Valid-Until|Check-Date|(http|https|ftp|tor)::[^"]*) "`)

func hostConnection(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return "", fmt.Errorf("reading the host's apt configuration: %w", withStderr(err))
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if connectionOption.MatchString(line) {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

// update finds an archive for each suite and fetches its package lists.
func (a *Apt) update(ctx context.Context, sources []aptSource, suites []string) error {
	var failed []error
	have := 0
	for _, suite := range suites {
		if err := a.updateSuite(ctx, sources, suite); err != nil {
			failed = append(failed, err)
		} else {
			have++
		}
		if strings.Contains(suite, "-") || suite == "sid" {
			continue // backports, updates and sid have no security suite
		}
		if err := a.updateSuite(ctx, sources, suite+"-security"); err != nil {
			failed = append(failed, err)
		} else {
			have++
		}
	}
	a.missing = errors.Join(failed...)
	if have == 0 {
		return fmt.Errorf("opening Debian %s: %w", strings.Join(suites, " "), a.missing)
	}
	if a.missing != nil {
		return nil // not marked fresh: the next run tries again
	}
	return os.WriteFile(a.path("updated"), nil, 0o644)
}

// updateSuite tries the host's archives in turn until one has the suite.
func (a *Apt) updateSuite(ctx context.Context, sources []aptSource, suite string) error {
	archives := archivesFor(sources, suite)
	if len(archives) == 0 {
		return fmt.Errorf("suite %s: the host's apt sources name no Debian archive for it", suite)
	}
	file := a.path("etc/apt/sources.list.d", strings.ReplaceAll(suite, "/", "-")+".sources")
	var failed []error
	for _, archive := range archives {
		if err := os.WriteFile(file, []byte(archive.stanza()), 0o644); err != nil {
			return fmt.Errorf("suite %s: %w", suite, err)
		}
		// One suite at a time, keeping the lists of the others: a failure then
		// belongs to this archive and to nothing else.
		_, err := a.run(ctx, "apt-get", "-q", "-o", "Dir::Etc::sourcelist="+file, "-o", "Dir::Etc::sourceparts=-",
			"-o", "APT::Get::List-Cleanup=false", "-o", "APT::Update::Error-Mode=any", "update")
		if err == nil {
			return nil
		}
		failed = append(failed, fmt.Errorf("suite %s at %s: %w", suite, archive.URI, err))
		if ctx.Err() != nil {
			break
		}
	}
	failed = append(failed, os.Remove(file))
	return errors.Join(failed...)
}

// run runs one of apt's programs on this root and returns its standard output.
func (a *Apt) run(ctx context.Context, name string, args ...string) (string, error) {
	return a.runIn(ctx, a.root, name, args...)
}

func (a *Apt) runIn(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.path("apt.conf"), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%s: %w%s", name, err, aptComplaints(stderr.String()))
	}
	return stdout.String(), nil
}

// aptComplaints keeps the errors and warnings of apt's standard error.
func aptComplaints(stderr string) string {
	var b strings.Builder
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "W: ") || strings.HasPrefix(line, "dpkg") {
			b.WriteString("; " + strings.TrimSpace(line))
		}
	}
	return b.String()
}

// withStderr adds what a program said to the error of its end.
func withStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}

// sortedUnique returns the distinct strings of list in order.
func sortedUnique(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
