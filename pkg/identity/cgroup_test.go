// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainerFromCgroup(t *testing.T) {
	byID := func(runtime string) Container { return Container{ID: redisID, Runtime: runtime} }
	named := func(runtime, name string) Container { return Container{ID: name, Name: name, Runtime: runtime} }
	tests := []struct {
		name   string
		cgroup string
		want   Container
	}{
		{"docker, systemd driver, v2", "0::/system.slice/docker-" + redisID + ".scope\n", byID(RuntimeDocker)},
		{"docker, systemd running inside", "0::/system.slice/docker-" + redisID + ".scope/system.slice/cron.service\n", byID(RuntimeDocker)},
		{"docker, cgroupfs driver, v1", "12:pids:/docker/" + redisID + "\n3:cpuset:/\n1:name=systemd:/docker/" + redisID + "\n", byID(RuntimeDocker)},
		{"docker, hybrid host where only v1 lines lead into it", "0::/system.slice/containerd.service\n5:memory:/docker/" + redisID + "\n", byID(RuntimeDocker)},
		{"docker in docker is the inner one", "0::/docker/" + nginxID + "/docker/" + redisID + "\n", byID(RuntimeDocker)},
		{"docker seen from a nested cgroup namespace", "0::/../../docker-" + redisID + ".scope\n", byID(RuntimeDocker)},
		{"docker, cgroup-parent set to a name of its own", "4:cpu:/actions_job/" + redisID + "\n", byID("")},
		{"containerd under kubelet, systemd driver", criScope(redisID), byID(RuntimeContainerd)},
		{"containerd given a systemd path under the cgroupfs driver", "8:cpu:/system.slice/containerd.service/kubepods-besteffort-pod1a.slice:cri-containerd:" + redisID + "\n", byID(RuntimeContainerd)},
		{"kubelet, cgroupfs driver, runtime not told", "0::/kubepods/besteffort/pod8d2f-44/" + redisID + "\n", byID(RuntimeCRI)},
		{"cri-dockerd", "0::/kubepods.slice/kubepods-pod1.slice/docker-" + redisID + ".scope\n", byID(RuntimeDocker)},
		{"nerdctl", "0::/system.slice/nerdctl-" + redisID + ".scope\n", byID(RuntimeContainerd)},
		{"podman", "0::/machine.slice/libpod-" + redisID + ".scope/container\n", byID(RuntimePodman)},
		{"podman, rootless", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + redisID + ".scope\n", byID(RuntimePodman)},
		{"podman, cgroupfs driver", "2:memory:/libpod_parent/libpod-" + redisID + "\n", byID(RuntimePodman)},
		{"CRI-O", "0::/kubepods.slice/kubepods-pod1.slice/crio-" + redisID + ".scope\n", byID(RuntimeCRIO)},
		{"LXC, payload below it", "0::/lxc.payload.build-7/system.slice/sshd.service\n", named(RuntimeLXC, "build-7")},
		{"LXC, old layout", "6:devices:/lxc/build-7\n", named(RuntimeLXC, "build-7")},
		{"docker inside LXC", "0::/lxc.payload.build-7/docker/" + redisID + "\n", byID(RuntimeDocker)},
		{"nspawn with an escaped name", "0::/machine.slice/machine-web\\x2d1.scope/payload\n", named(RuntimeNspawn, "web-1")},
		{"nspawn as a service", "0::/machine.slice/systemd-nspawn@db.service/payload\n", named(RuntimeNspawn, "db")},

		{"podman's monitor lives on the host", "0::/machine.slice/libpod-conmon-" + redisID + ".scope\n", Container{}},
		{"CRI-O's monitor lives on the host", "0::/system.slice/crio-conmon-" + redisID + ".scope\n", Container{}},
		{"LXC's monitor lives on the host", "0::/lxc.monitor.build-7\n", Container{}},
		{"libvirt's virtual machine", "0::/machine.slice/machine-qemu\\x2d3\\x2dvm1.scope/libvirt/emulator\n", Container{}},
		{"dockerd itself", "0::/system.slice/docker.service\n", Container{}},
		{"a login shell", "0::/user.slice/user-0.slice/session-3.scope\n", Container{}},
		{"32 digits are no container ID", "4:memory:/process_api/67a6fac068b3e637d64073dbb20fe11f\n", Container{}},
		{"65 digits are no container ID", "0::/docker/f" + redisID + "\n", Container{}},
		{"upper case is no container ID", "0::/docker/3F2A9C1DE07B4A55C8F1E6D2B9A0437FE5C6D8A1B2C3D4E5F60718293A4B5C6D\n", Container{}},
		{"a name with an escape sequence is refused", "0::/machine.slice/machine-\x1b[31mroot.scope\n", Container{}},
		{"a name with an escaped escape sequence is refused", "0::/machine.slice/machine-\\x1b[31mroot.scope\n", Container{}},
		{"empty", "", Container{}},
		{"no colons", "garbage\n", Container{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseCgroup([]byte(test.cgroup))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("parseCgroup(%q) (-want +got):\n%s", test.cgroup, diff)
			}
			if ok != (test.want != Container{}) {
				t.Errorf("parseCgroup(%q) ok = %v", test.cgroup, ok)
			}
		})
	}
}

func TestWhoseNameInRunNetns(t *testing.T) {
	tests := map[string]bindingKind{
		"redis0":    bindUser,
		"netns-dev": bindUser,
		"cni-1b4e28ba-2fa1-11d2-883f-0016d3cca427":   bindCRI,
		"1b4e28ba-2fa1-11d2-883f-0016d3cca427":       bindCRI,
		"netns-1b4e28ba-2fa1-11d2-883f-0016d3cca427": bindPodman,
		"1b4e28ba-2fa1-11d2-883f-0016d3cca42":        bindUser,
		"1B4E28BA-2FA1-11D2-883F-0016D3CCA427":       bindUser,
		"1b4e28ba_2fa1-11d2-883f-0016d3cca427":       bindUser,
	}
	for name, want := range tests {
		if got := kindOf(name); got != want {
			t.Errorf("kindOf(%q) = %d, want %d", name, got, want)
		}
	}
}
