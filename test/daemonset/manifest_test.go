// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// text is the file that is deployed, with the places of the host in a directory.
func text(t *testing.T, edit ...string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../deploy/kubernetes/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(edit); i += 2 {
		if !strings.Contains(string(b), edit[i]) {
			t.Fatalf("the DaemonSet has no %q", edit[i])
		}
	}
	return []byte(strings.NewReplacer(edit...).Replace(string(b)))
}

func TestWhatTheDaemonSetAsksForIsAskedOfContainerd(t *testing.T) {
	m, err := readManifest(text(t))
	if err != nil {
		t.Fatal(err)
	}
	flags, err := m.flags(map[string]string{"config": "/c", "tracefs": "/t", "debugfs": "/d", "kcore": "/k", "netns": "/n"})
	if err != nil {
		t.Fatal(err)
	}
	got := " " + strings.Join(append(flags, m.command()...), " ") + " "
	for _, want := range []string{
		" --read-only ", " --seccomp ", " --cap-drop CAP_SETUID ", " --cap-add CAP_BPF ", " --cap-add CAP_SYS_RESOURCE ",
		" --with-ns pid:/proc/1/ns/pid ", " --memory-limit 536870912 ",
		" --mount type=bind,src=/k,dst=/host/proc/kcore,options=rbind:rprivate:ro ",
		" --mount type=bind,src=/n,dst=/run/netns,options=rbind:rslave:ro ",
		" --mount type=bind,src=/t,dst=/sys/kernel/tracing,options=rbind:rprivate:rw ",
		" /netns-trace monitor --config /etc/netns-trace/monitor.yaml ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q in %q", want, got)
		}
	}
}

// What is not understood must not be left out.
func TestWhatCannotBeAskedForIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, was, is, want string }{
		{"an unknown field", "hostPID: true", "hostPID: true\n      hostIPC: true", "hostIPC"},
		{"privileged", "privileged: false", "privileged: true", "privileged"},
		{"without seccomp", "type: RuntimeDefault", "type: Unconfined", "seccomp"},
		{"a user", "runAsUser: 0", "runAsUser: 7", "root"},
		{"no volume", "- name: kcore\n", "- name: other\n", "no volume kcore"},
		{"a memory limit of another unit", "memory: 512Mi", "memory: 1Gi", "1Gi"},
	} {
		m, err := readManifest(text(t, tc.was, tc.is))
		if err == nil {
			places := make(map[string]string)
			for _, v := range m.pod.Volumes {
				places[v.Name] = "/"
			}
			_, err = m.flags(places)
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestTheConfigMapIsAFile(t *testing.T) {
	m, err := readManifest(text(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.pod.Volumes {
		if h := m.pod.Volumes[i].HostPath; h != nil {
			h.Path, h.Type = t.TempDir(), "Directory"
		}
	}
	places, err := m.place(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(places["config"], "monitor.yaml")); err != nil || !strings.Contains(string(b), "max-cpu: 1%") {
		t.Errorf("monitor.yaml has %q, %v", b, err)
	}
}
