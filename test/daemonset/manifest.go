// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entrypoint is that of deploy/container/Containerfile.
const entrypoint = "/netns-trace"

// manifest is a file with a DaemonSet and the ConfigMaps that it mounts.
type manifest struct {
	pod     pod
	configs map[string]map[string]string // file contents by name of the map and the file
}

// object is one document of the file.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Template struct {
			Spec yaml.Node
		}
	}
}

// pod is all that may be in the pod's specification. An any has to do with where pods
// run and not with what they may.
type pod struct {
	HostPID           bool `yaml:"hostPID"`
	Token             any  `yaml:"automountServiceAccountToken"`
	PriorityClassName any  `yaml:"priorityClassName"`
	Tolerations       any
	Containers        []container
	Volumes           []volume
}

type container struct {
	Name, Image     string
	Args            []string
	Ports           any
	SecurityContext security `yaml:"securityContext"`
	LivenessProbe   any      `yaml:"livenessProbe"`
	ReadinessProbe  any      `yaml:"readinessProbe"`
	Resources       struct {
		Requests any
		Limits   struct{ Memory string }
	}
	VolumeMounts []mount `yaml:"volumeMounts"`
}

type security struct {
	Privileged               bool
	AllowPrivilegeEscalation bool                  `yaml:"allowPrivilegeEscalation"`
	ReadOnlyRootFilesystem   bool                  `yaml:"readOnlyRootFilesystem"`
	RunAsUser                int                   `yaml:"runAsUser"`
	SeccompProfile           struct{ Type string } `yaml:"seccompProfile"`
	AppArmorProfile          struct{ Type string } `yaml:"appArmorProfile"`
	Capabilities             struct{ Drop, Add []string }
}

type mount struct {
	Name             string
	MountPath        string `yaml:"mountPath"`
	ReadOnly         bool   `yaml:"readOnly"`
	MountPropagation string `yaml:"mountPropagation"`
}

type volume struct {
	Name      string
	ConfigMap *struct{ Name string }       `yaml:"configMap"`
	HostPath  *struct{ Path, Type string } `yaml:"hostPath"`
}

func readManifest(text []byte) (*manifest, error) {
	m := &manifest{configs: make(map[string]map[string]string)}
	found := false
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch o.Kind {
		case "ConfigMap":
			m.configs[o.Metadata.Name] = o.Data
		case "DaemonSet":
			found = true
			if err := decodeKnown(&o.Spec.Template.Spec, &m.pod); err != nil {
				return nil, err
			}
		}
	}
	if !found || len(m.pod.Containers) != 1 {
		return nil, errors.New("there is no DaemonSet of one container")
	}
	return m, nil
}

// decodeKnown refuses what there is no field for.
func decodeKnown(from *yaml.Node, to *pod) error {
	text, err := yaml.Marshal(from)
	if err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	return d.Decode(to)
}

func (m *manifest) command() []string {
	return append([]string{entrypoint}, m.pod.Containers[0].Args...)
}

// place returns where on the host each volume is: in a directory below dir what comes
// from the file.
func (m *manifest) place(dir string) (map[string]string, error) {
	places := make(map[string]string)
	for _, v := range m.pod.Volumes {
		switch {
		case v.ConfigMap != nil:
			places[v.Name] = filepath.Join(dir, v.Name)
			if err := os.MkdirAll(places[v.Name], 0o755); err != nil {
				return nil, err
			}
			for name, text := range m.configs[v.ConfigMap.Name] {
				if err := os.WriteFile(filepath.Join(places[v.Name], name), []byte(text), 0o644); err != nil {
					return nil, err
				}
			}
		case v.HostPath != nil:
			places[v.Name] = v.HostPath.Path
			if err := checkHostPath(v.HostPath.Path, v.HostPath.Type); err != nil {
				return nil, fmt.Errorf("volume %s: %w", v.Name, err)
			}
		default:
			return nil, fmt.Errorf("volume %s: neither configMap nor hostPath", v.Name)
		}
	}
	return places, nil
}

// checkHostPath looks whether a path is what its type says, as kubelet does.
func checkHostPath(path, kind string) error {
	if kind == "DirectoryOrCreate" {
		return os.MkdirAll(path, 0o755)
	}
	info, err := os.Stat(path)
	if err == nil && (kind == "File" && !info.Mode().IsRegular() || kind == "Directory" && !info.IsDir()) {
		err = fmt.Errorf("%s is no %s", path, strings.ToLower(kind))
	}
	return err
}
