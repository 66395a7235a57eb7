// SPDX-License-Identifier: Apache-2.0

package identity

import "strings"

// ociConfig is the part of an OCI bundle's config.json that is read.
type ociConfig struct {
	Hostname    string            `json:"hostname"`
	Annotations map[string]string `json:"annotations"`
}

// parseOCIConfig reads the config.json of the container id: containerd's,
// CRI-O's and podman's bundles all have one.
func parseOCIConfig(data []byte, id string) (containerFacts, bool) {
	var config ociConfig
	if !unmarshal(data, &config) {
		return containerFacts{}, false
	}
	facts := podFacts(config.Annotations)
	facts.ID = id
	if facts.Name == "" {
		facts.Name = cleanName(config.Annotations["nerdctl/name"])
	}
	// Outside a pod the host name is often the only name there is, unless it
	// is the ID cut short, as runtimes set it when not told otherwise.
	if facts.Name == "" && facts.Pod == "" && !strings.HasPrefix(id, config.Hostname) {
		facts.Name = cleanName(config.Hostname)
	}
	return facts, true
}

// podFacts reads what Kubernetes runtimes note on a container: containerd as
// io.kubernetes.cri.*, CRI-O as io.kubernetes.cri-o.* annotations, and CRI-O
// and cri-dockerd also pass the kubelet's io.kubernetes.* labels on.
func podFacts(notes map[string]string) containerFacts {
	first := func(keys ...string) string {
		for _, key := range keys {
			if value := cleanName(notes[key]); value != "" {
				return value
			}
		}
		return ""
	}
	var facts containerFacts
	pod := first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
	if pod != "" {
		namespace := first("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")
		facts.Pod = strings.TrimPrefix(namespace+"/"+pod, "/")
	}
	facts.Name = first("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
	switch first("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType",
		"io.kubernetes.docker.type") {
	case "sandbox", "podsandbox":
		facts.sandbox = true
		// "POD" is what the kubelet's convention puts where a container's
		// name would be: it names every sandbox and so none.
		if facts.Name == "POD" {
			facts.Name = ""
		}
	}
	id := first("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID",
		"io.kubernetes.sandbox.id")
	if isContainerID(id) {
		facts.sandboxID = id
	}
	return facts
}
