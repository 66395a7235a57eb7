// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestContainerNamesFromRuntimeFiles(t *testing.T) {
	const crioDir = "run/containers/storage/overlay-containers/"
	tests := []struct {
		name  string
		files map[string]string
		given Container
		want  Container
	}{
		{
			name:  "docker",
			files: map[string]string{"var/lib/docker/containers/" + redisID + "/config.v2.json": `{"ID":"` + redisID + `","Name":"/redis-cache"}`},
			given: Container{ID: redisID, Runtime: RuntimeDocker},
			want:  Container{ID: redisID, Name: "redis-cache", Runtime: RuntimeDocker},
		},
		{
			name: "cri-dockerd",
			files: map[string]string{"var/lib/docker/containers/" + redisID + "/config.v2.json": `{"Name":"/k8s_app_cart_shop_77_0","Config":{"Labels":{` +
				`"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"cart","io.kubernetes.pod.namespace":"shop","io.kubernetes.docker.type":"container"}}}`},
			given: Container{ID: redisID, Runtime: RuntimeDocker},
			want:  Container{ID: redisID, Name: "app", Pod: "shop/cart", Runtime: RuntimeDocker},
		},
		{
			name:  "docker, labels of an unexpected type do not hide the name",
			files: map[string]string{"var/lib/docker/containers/" + redisID + "/config.v2.json": `{"Config":{"Labels":["a=b"]},"Name":"/redis-cache"}`},
			given: Container{ID: redisID, Runtime: RuntimeDocker},
			want:  Container{ID: redisID, Name: "redis-cache", Runtime: RuntimeDocker},
		},
		{
			name:  "docker, another container's record",
			files: map[string]string{"var/lib/docker/containers/" + redisID + "/config.v2.json": `{"ID":"` + nginxID + `","Name":"/web"}`},
			given: Container{ID: redisID, Runtime: RuntimeDocker},
			want:  Container{ID: redisID, Runtime: RuntimeDocker},
		},
		{
			name:  "docker, record cut short",
			files: map[string]string{"var/lib/docker/containers/" + redisID + "/config.v2.json": `{"Name":"/redis-cache","Config":{`},
			given: Container{ID: redisID, Runtime: RuntimeDocker},
			want:  Container{ID: redisID, Runtime: RuntimeDocker},
		},
		{
			name:  "docker, record larger than we read",
			files: map[string]string{"var/lib/docker/containers/" + redisID + "/config.v2.json": `{"Name":"/redis-cache"}` + strings.Repeat(" ", maxFile)},
			given: Container{ID: redisID, Runtime: RuntimeDocker},
			want:  Container{ID: redisID, Runtime: RuntimeDocker},
		},
		{
			name:  "docker, a name that would move the cursor",
			files: map[string]string{"var/lib/docker/containers/" + redisID + "/config.v2.json": `{"Name":"/a\u001b[2J"}`},
			given: Container{ID: redisID, Runtime: RuntimeDocker},
			want:  Container{ID: redisID, Runtime: RuntimeDocker},
		},
		{
			name: "containerd on k3s, found without the cgroup naming it",
			files: map[string]string{"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/" + redisID + "/config.json": `{"annotations":{"io.kubernetes.cri.container-name":"app",` +
				`"io.kubernetes.cri.sandbox-name":"cart","io.kubernetes.cri.sandbox-namespace":"shop"},"hostname":"cart"}`},
			given: Container{ID: redisID, Runtime: RuntimeCRI},
			want:  Container{ID: redisID, Name: "app", Pod: "shop/cart", Runtime: RuntimeContainerd},
		},
		{
			name:  "nerdctl",
			files: map[string]string{"run/containerd/io.containerd.runtime.v2.task/default/" + redisID + "/config.json": `{"hostname":"3f2a9c1de07b","annotations":{"nerdctl/name":"cache"}}`},
			given: Container{ID: redisID, Runtime: RuntimeContainerd},
			want:  Container{ID: redisID, Name: "cache", Runtime: RuntimeContainerd},
		},
		{
			name:  "containerd without annotations is known by its host name",
			files: map[string]string{"run/containerd/io.containerd.runtime.v2.task/default/" + redisID + "/config.json": `{"hostname":"buildbox"}`},
			given: Container{ID: redisID, Runtime: RuntimeContainerd},
			want:  Container{ID: redisID, Name: "buildbox", Runtime: RuntimeContainerd},
		},
		{
			name:  "a host name that is the ID cut short says nothing",
			files: map[string]string{"run/containerd/io.containerd.runtime.v2.task/default/" + redisID + "/config.json": `{"hostname":"3f2a9c1de07b"}`},
			given: Container{ID: redisID, Runtime: RuntimeContainerd},
			want:  Container{ID: redisID, Runtime: RuntimeContainerd},
		},
		{
			name:  "podman",
			files: map[string]string{"var/lib/containers/storage/overlay-containers/containers.json": `[{"id":"` + nginxID + `","names":["web"]},{"id":"` + redisID + `","names":["cache"],"metadata":"{}"}]`},
			given: Container{ID: redisID, Runtime: RuntimePodman},
			want:  Container{ID: redisID, Name: "cache", Runtime: RuntimePodman},
		},
		{
			name:  "podman run --rm",
			files: map[string]string{"var/lib/containers/storage/overlay-containers/volatile-containers.json": `[{"id":"` + redisID + `","names":["cache"]}]`},
			given: Container{ID: redisID, Runtime: RuntimePodman},
			want:  Container{ID: redisID, Name: "cache", Runtime: RuntimePodman},
		},
		{
			name: "podman, the list goes on past what we read",
			files: map[string]string{"var/lib/containers/storage/overlay-containers/containers.json": `[{"id":"` + redisID + `","names":["cache"]},{"id":"` +
				strings.Repeat("x", maxFile) + `"}]`},
			given: Container{ID: redisID, Runtime: RuntimePodman},
			want:  Container{ID: redisID, Name: "cache", Runtime: RuntimePodman},
		},
		{
			name: "CRI-O",
			files: map[string]string{
				crioDir + redisID + "/userdata/config.json": `{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"cart",` +
					`"io.kubernetes.pod.namespace":"shop","io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.cri-o.SandboxID":"` + pauseID + `"}}`,
				crioDir + "containers.json": `[{"id":"` + redisID + `","names":["k8s_app_cart_shop_77_0"]}]`,
			},
			given: Container{ID: redisID, Runtime: RuntimeCRIO},
			want:  Container{ID: redisID, Name: "app", Pod: "shop/cart", Runtime: RuntimeCRIO},
		},
		{
			name:  "no runtime knows it",
			given: Container{ID: redisID},
			want:  Container{ID: redisID},
		},
		{
			name:  "an ID that is no ID is never used as a path",
			files: map[string]string{"var/lib/docker/config.v2.json": `{"Name":"/outside"}`},
			given: Container{ID: "..", Runtime: RuntimeDocker},
			want:  Container{ID: "..", Runtime: RuntimeDocker},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			for path, content := range test.files {
				h.write(path, content)
			}
			got := newContainerNames(h.root).describe(test.given, time.Now()).Container
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("describe (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenamedContainerIsNoticedAndRemovedOneIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.dockerContainer(redisID, "cache", "")
		names := newContainerNames(h.root)
		given := Container{ID: redisID, Runtime: RuntimeDocker}
		step := func(when, want string) {
			t.Helper()
			if got := names.describe(given, time.Now()).Name; got != want {
				t.Errorf("%s: name %q, want %q", when, got, want)
			}
		}
		step("at first", "cache")
		h.dockerContainer(redisID, "cache-old", "")
		step("right after docker rename", "cache")
		time.Sleep(staleAfter)
		step("half a minute after docker rename", "cache-old")
		h.remove("var/lib/docker/containers/" + redisID)
		time.Sleep(staleAfter)
		step("after docker rm", "cache-old")
	})
}

func TestFIFOInPlaceOfARecordDoesNotHang(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(h.root, "var/lib/docker/containers", redisID, "config.v2.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	mkfifo(t, path)
	got := newContainerNames(h.root).describe(Container{ID: redisID, Runtime: RuntimeDocker}, time.Now())
	if got.Name != "" {
		t.Errorf("name %q from a FIFO", got.Name)
	}
}
