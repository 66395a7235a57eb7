#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# start-dockerd [--preload FILE.so]: starts containerd and dockerd, and returns when
# the image "busybox" is there to be run. Without systemd, so the mounts are made here.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
limit=300 # seconds; emulated machines are slow, busy ones slower

preload=
case ${1:-} in
--preload) preload=$2 ;;
'') ;;
*) echo "usage: start-dockerd [--preload FILE.so]" >&2; exit 2 ;;
esac

mount_at() { # TYPE DIR [OPTIONS]
	grep -q "^[^ ]* $2 " /proc/mounts && return
	mkdir -p "$2"
	mount -t "$1" ${3:+-o "$3"} "$1" "$2"
}
[ -e /proc/mounts ] || mount -t proc proc /proc
mount_at sysfs /sys
mount_at devtmpfs /dev
mount_at devpts /dev/pts
mount_at tmpfs /dev/shm
mount_at tmpfs /run
mount_at tmpfs /tmp
mount_at cgroup2 /sys/fs/cgroup
# Containers' namespace files in /run/docker/netns are mounts that must be seen.
mount --make-rshared /
# Keeps dockerd from AppArmor, which needs its own tools and has nothing to do with
# networks: this file is what dockerd and runc ask.
if [ -e /sys/module/apparmor/parameters/enabled ]; then
	echo N >/run/apparmor-enabled
	mount --bind /run/apparmor-enabled /sys/module/apparmor/parameters/enabled
fi
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward

die() {
	echo "start-dockerd: $1" >&2
	tail -n 20 /var/log/containerd.log /var/log/dockerd.log >&2
	exit 1
}

# wait_for WHAT PID COMMAND...: until COMMAND succeeds, PID ends or time is up.
wait_for() {
	what=$1 pid=$2
	shift 2
	end=$(($(cut -d. -f1 /proc/uptime) + limit))
	until "$@" 2>/dev/null; do
		kill -0 "$pid" 2>/dev/null || die "$what ended"
		[ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ] || die "$what was not ready within $limit s"
		sleep 0.2
	done
}

# end_earlier NAME: a scenario before may have left its daemon, and a daemon refuses to
# start while the pid file names a process that lives.
end_earlier() {
	for comm in /proc/[0-9]*/comm; do
		[ "$(cat "$comm" 2>/dev/null)" = "$1" ] || continue
		dir=${comm%/comm}
		kill "${dir#/proc/}" 2>/dev/null || continue
		while [ -e "$dir" ]; do sleep 0.1; done
	done
}
end_earlier dockerd
end_earlier containerd
rm -f /run/docker.pid /var/run/docker.pid /run/containerd/containerd.sock

: >/var/log/dockerd.log
containerd >/var/log/containerd.log 2>&1 &
wait_for containerd $! test -S /run/containerd/containerd.sock
# The variables are for dockerd alone; an empty LD_PRELOAD is none.
LD_PRELOAD=$preload DOCKERDCLONE_FIFO=/run/dockerdclone dockerd >/var/log/dockerd.log 2>&1 &
dockerd=$!
wait_for dockerd $dockerd grep -q 'API listen on' /var/log/dockerd.log
docker image inspect busybox >/dev/null 2>&1 || docker import /usr/lib/lab/busybox.tar busybox >/dev/null
echo "dockerd is ready: pid $dockerd, after $(cut -d' ' -f1 /proc/uptime) s"
