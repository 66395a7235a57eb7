// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// dockerConfig is the part of containers/ID/config.v2.json that is read.
type dockerConfig struct {
	ID              string
	Name            string
	NetworkSettings struct{ SandboxKey string }
	Config          struct{ Labels map[string]string }
}

// parseDockerConfig reads the config.v2.json of the container id.
func parseDockerConfig(data []byte, id string) (containerFacts, bool) {
	var config dockerConfig
	if !unmarshal(data, &config) || (config.ID != "" && config.ID != id) {
		return containerFacts{}, false
	}
	facts := podFacts(config.Config.Labels)
	facts.ID, facts.Runtime = id, RuntimeDocker
	// The runtime's own name is the more useful one outside Kubernetes, and
	// in it k8s_CONTAINER_POD_NAMESPACE_UID_N says nothing the labels do not.
	if facts.Name == "" {
		facts.Name = cleanName(strings.TrimPrefix(config.Name, "/"))
	}
	if key := path.Base(config.NetworkSettings.SandboxKey); isSandboxKey(key) {
		facts.sandboxKey = strings.Clone(key)
	}
	return facts, true
}

// isSandboxKey tells the name of a namespace that Docker made (the first 12
// digits of a sandbox ID) from "default", the host's, which any number of
// containers may share.
func isSandboxKey(name string) bool { return len(name) == 12 && isHex(name) }

// unmarshal decodes what it can: a field of an unexpected type is left empty
// and does not hide the others.
func unmarshal(data []byte, into any) bool {
	err := json.Unmarshal(data, into)
	var wrongType *json.UnmarshalTypeError
	return err == nil || errors.As(err, &wrongType)
}

// maxDockerContainers bounds how many of Docker's containers are indexed.
const maxDockerContainers = 16384

// dockerSandboxes finds the container that owns a namespace by the name which
// Docker gave that namespace in /run/docker/netns. That works with no process
// left inside. The namer's resolving lock guards it.
type dockerSandboxes struct {
	dir     string // /var/lib/docker/containers
	scanned time.Time
	seen    map[string]dockerFile // by container ID
	byKey   map[string]string     // sandbox key to container ID
}

// dockerFile is a config as last read.
type dockerFile struct {
	info  os.FileInfo
	facts containerFacts
}

// find returns the container whose sandbox is key.
func (d *dockerSandboxes) find(key string, now time.Time) (containerFacts, bool) {
	if facts, ok := d.check(key); ok {
		return facts, true
	}
	if now.Sub(d.scanned) < retryAfter {
		return containerFacts{}, false
	}
	d.scan()
	d.scanned = now
	return d.check(key)
}

// check reads again the config that held key when last seen.
func (d *dockerSandboxes) check(key string) (containerFacts, bool) {
	id, ok := d.byKey[key]
	if !ok {
		return containerFacts{}, false
	}
	file := d.read(id, d.seen[id])
	d.seen[id] = file
	return file.facts, file.facts.sandboxKey == key
}

func (d *dockerSandboxes) scan() {
	seen := make(map[string]dockerFile)
	byKey := make(map[string]string)
	eachName(d.dir, maxDockerContainers, func(id string) {
		if !isContainerID(id) {
			return
		}
		file := d.read(id, d.seen[id])
		seen[id] = file
		if file.facts.sandboxKey != "" {
			byKey[file.facts.sandboxKey] = id
		}
	})
	d.seen, d.byKey = seen, byKey
}

func (d *dockerSandboxes) read(id string, last dockerFile) dockerFile {
	name := filepath.Join(d.dir, id, "config.v2.json")
	info, err := os.Stat(name)
	if err != nil {
		return dockerFile{}
	}
	if unchanged(last.info, info) {
		return last
	}
	file := dockerFile{info: info}
	if data, err := readFile(name); err == nil {
		file.facts, _ = parseDockerConfig(data, id)
	}
	return file
}
