// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

func TestDockerdcloneStrandsAThreadOfARealDockerd(t *testing.T) {
	// Minutes of emulation each, so two stand for all.
	onKernels(t, []string{"6.1", "6.12"}, func(t *testing.T, cache lab.Cache, kernel lab.Kernel) {
		disk, err := lab.DockerDisk(t.Context(), cache)
		if err != nil {
			t.Fatal(err)
		}
		clone, err := lab.BuildC(t.Context(), cache, "dockerdclone")
		if err != nil {
			t.Fatal(err)
		}
		vm := boot(t, lab.Config{
			Cache: cache, Kernel: kernel, Disk: disk, MemoryMiB: 2048,
			Files: map[string]string{
				"/usr/lib/dockerdclone.so": filepath.Join(clone, "dockerdclone.so"),
				"/usr/bin/dockerdclone":    filepath.Join(clone, "dockerdclone.sh"),
			},
		})
		timed(t, vm, lab.DockerStart+" --preload /usr/lib/dockerdclone.so")
		timed(t, vm, "docker run -d --name web busybox sleep 86400")
		timed(t, vm, "docker run -d --name cache busybox sleep 86400")
		timed(t, vm, "docker network create backend")
		timed(t, vm, "docker run -d --name db --network backend busybox sleep 86400")
		timed(t, vm, "docker run -d --name app --network backend busybox sleep 86400")
		timed(t, vm, "docker exec app ping -c 1 db")

		pid := strings.TrimSpace(sh(t, vm, "pidof dockerd"))
		netns := strings.TrimSpace(sh(t, vm, "docker inspect -f '{{.NetworkSettings.SandboxKey}}' web"))
		inode := strings.TrimSpace(sh(t, vm, "stat -L -c %i "+netns))
		if before := threadsIn(t, vm, pid, inode); len(before) != 0 {
			t.Errorf("before the fault, threads %v of dockerd are in the container's namespace", before)
		}
		out := timed(t, vm, "dockerdclone "+netns)
		var cloned string
		for _, line := range steps(out, "cloned") {
			cloned = field(line, "tid")
		}
		if after := threadsIn(t, vm, pid, inode); cloned == "" || !slices.Equal(after, []string{cloned}) {
			t.Errorf("after the fault, threads %v of dockerd are in the container's namespace:\n%s", after, out)
		}

		timed(t, vm, "docker stop -t 0 web cache")
		timed(t, vm, "docker rm -f db app")
		// The container is gone, and with it the way out: what users report.
		end := time.Now().Add(patience)
		for !strings.Contains(sh(t, vm, "tail -n 2 /run/dockerdclone.log"), "result=ENETUNREACH") {
			if time.Now().After(end) {
				t.Fatalf("the stranded thread can still connect:\n%s", sh(t, vm, "cat /run/dockerdclone.log"))
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
}

// timed is sh for one command, with the time that it took in the test's log.
func timed(t *testing.T, vm *lab.VM, command string) string {
	t.Helper()
	start := time.Now()
	out := sh(t, vm, command)
	t.Logf("%5.1f s  %s", time.Since(start).Seconds(), command)
	return out
}
