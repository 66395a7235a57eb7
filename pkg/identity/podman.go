// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// storedContainer is an entry of containers.json, the list that podman's and
// CRI-O's storage library keeps.
type storedContainer struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
}

// parseStoredContainers calls use with each container that has a name.
// Entries are decoded one at a time, so that those before a damaged one count.
func parseStoredContainers(data []byte, use func(id, name string)) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return
	}
	for decoder.More() {
		var entry storedContainer
		if err := decoder.Decode(&entry); err != nil {
			return
		}
		if !isContainerID(entry.ID) || len(entry.Names) == 0 {
			continue
		}
		if name := cleanName(entry.Names[0]); name != "" {
			use(entry.ID, name)
		}
	}
}

// storedNames knows the names in those lists, and reads a list again only
// when it changed. The lock of containerNames guards it.
type storedNames struct {
	paths   []string
	scanned time.Time
	lists   map[string]storedList // by path
}

type storedList struct {
	info  os.FileInfo
	names map[string]string // by container ID
}

// newStoredNames reads the lists in the storage directories dirs.
func newStoredNames(dirs []string) storedNames {
	s := storedNames{lists: make(map[string]storedList)}
	for _, dir := range dirs {
		// Containers started with --rm are in the volatile list.
		s.paths = append(s.paths, filepath.Join(dir, "containers.json"),
			filepath.Join(dir, "volatile-containers.json"))
	}
	return s
}

// find returns the name of container id, empty when no list has it.
func (s *storedNames) find(id string, now time.Time) string {
	if now.Sub(s.scanned) >= retryAfter {
		for _, path := range s.paths {
			s.refresh(path)
		}
		s.scanned = now
	}
	for _, path := range s.paths {
		if name := s.lists[path].names[id]; name != "" {
			return name
		}
	}
	return ""
}

func (s *storedNames) refresh(path string) {
	info, err := os.Stat(path)
	if err != nil {
		delete(s.lists, path)
		return
	}
	if unchanged(s.lists[path].info, info) {
		return
	}
	list := storedList{info: info, names: make(map[string]string)}
	// A thousand containers fill more than maxFile; those in its first part
	// are better than none.
	if data, err := readStart(path); err == nil {
		parseStoredContainers(data, func(id, name string) { list.names[id] = name })
	}
	s.lists[path] = list
}
