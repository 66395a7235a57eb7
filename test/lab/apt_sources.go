// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// aptSource is one archive of the host's own apt configuration, for one suite.
type aptSource struct {
	URI   string
	Suite string
	// Options are the deb822 fields that decide whether apt trusts the archive,
	// under their canonical names, kept as the host wrote them.
	Options map[string]string
}

// trustFields are the options worth carrying over to another suite of the same
// archive: without them a private apt root would not trust what the host trusts.
var trustFields = map[string]string{
	"signed-by":         "Signed-By",
	"trusted":           "Trusted",
	"check-valid-until": "Check-Valid-Until",
	"check-date":        "Check-Date",
}

// hostSources reads the one-line and deb822 source files below root (a view of
// /etc/apt). Files that cannot be parsed are skipped the way apt skips them: a
// bad line gives no source.
func hostSources(root fs.FS) ([]aptSource, error) {
	names := []string{"sources.list"}
	for _, pattern := range []string{"sources.list.d/*.sources", "sources.list.d/*.list"} {
		more, err := fs.Glob(root, pattern)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", pattern, err)
		}
		names = append(names, more...)
	}
	var sources []aptSource
	for _, name := range names {
		data, err := fs.ReadFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading apt's %s: %w", name, err)
		}
		if strings.HasSuffix(name, ".sources") {
			sources = append(sources, parseDeb822(string(data))...)
		} else {
			sources = append(sources, parseOneLine(string(data))...)
		}
	}
	return sources, nil
}

// parseOneLine reads "deb [options] uri suite component..." lines.
func parseOneLine(text string) []aptSource {
	var sources []aptSource
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == strings.TrimLeft(rest, " \t") {
			continue // deb-src, or no space after the type
		}
		rest = strings.TrimSpace(rest)
		options := map[string]string{}
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			list, after, closed := strings.Cut(inner, "]")
			if !closed {
				continue
			}
			for _, option := range strings.Fields(list) {
				name, value, _ := strings.Cut(option, "=")
				if field, ok := trustFields[strings.ToLower(name)]; ok {
					options[field] = value
				}
			}
			rest = after
		}
		if fields := strings.Fields(rest); len(fields) >= 2 {
			sources = append(sources, aptSource{URI: fields[0], Suite: fields[1], Options: options})
		}
	}
	return sources
}

// parseDeb822 reads stanzas of "Field: value" lines.
func parseDeb822(text string) []aptSource {
	var sources []aptSource
	stanza := map[string]string{}
	last := ""
	flush := func() {
		sources = append(sources, sourcesOfStanza(stanza)...)
		stanza, last = map[string]string{}, ""
	}
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				// A key block in Signed-By spans lines; keep its line structure.
				stanza[last] += "\n" + line
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				last = ""
				continue
			}
			last = strings.ToLower(strings.TrimSpace(name))
			stanza[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return sources
}

func sourcesOfStanza(stanza map[string]string) []aptSource {
	if !slices.Contains(strings.Fields(stanza["types"]), "deb") {
		return nil
	}
	switch strings.ToLower(stanza["enabled"]) {
	case "no", "false", "0", "off":
		return nil
	}
	options := map[string]string{}
	for name, field := range trustFields {
		if value, ok := stanza[name]; ok {
			options[field] = value
		}
	}
	var sources []aptSource
	for _, uri := range strings.Fields(stanza["uris"]) {
		for _, suite := range strings.Fields(stanza["suites"]) {
			sources = append(sources, aptSource{URI: uri, Suite: suite, Options: options})
		}
	}
	return sources
}

// debianSuite recognises the suites of Debian itself, so that third-party
// archives with names such as "nodistro" are left out. "/updates" is how security
// suites were called up to buster.
var debianSuite = regexp.MustCompile(
	`^(buster|bullseye|bookworm|trixie|forky|duke|sid|(old){0,2}stable|testing|unstable)(-[a-z-]+|/updates)?$`)

// snapshotTime marks an archive frozen at a moment.
var snapshotTime = regexp.MustCompile(`/\d{8}T\d{6}Z(/|$)`)

// archivesFor returns the archives of sources that may hold suite, the likeliest
// first: security suites live in an archive of their own, and a frozen snapshot
// has older packages than a plain mirror.
func archivesFor(sources []aptSource, suite string) []aptSource {
	var found []aptSource
	for _, s := range sources {
		if !debianSuite.MatchString(s.Suite) || isSecurity(s.Suite) != isSecurity(suite) {
			continue
		}
		s.Suite = suite
		same := func(o aptSource) bool { return o.URI == s.URI }
		if !slices.ContainsFunc(found, same) {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b aptSource) int { return frozen(a) - frozen(b) })
	return found
}

func isSecurity(suite string) bool {
	return strings.HasSuffix(suite, "-security") || strings.HasSuffix(suite, "/updates")
}

func frozen(s aptSource) int {
	if snapshotTime.MatchString(s.URI) {
		return 1
	}
	return 0
}

// stanza writes the source as a deb822 stanza for amd64 and component main.
func (s aptSource) stanza() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: amd64\n", s.URI, s.Suite)
	for _, name := range []string{"Signed-By", "Trusted", "Check-Valid-Until", "Check-Date"} {
		if value, ok := s.Options[name]; ok {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	return b.String()
}
