#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs in the guest: each bug in turn, under one netns-trace whose output is shown
# as it comes.
set -eu

say() { printf '\n=== %s\n' "$*"; }
run() {
	printf '# %s\n' "$*"
	"$@"
}
trace() { # FLAG...: start it, wait until it watches
	rm -f /tmp/ready
	printf '# netns-trace %s\n' "$*"
	netns-trace --color "$COLOR" --ready-file /tmp/ready "$@" &
	tracer=$!
	until [ -e /tmp/ready ]; do
		kill -0 $tracer || exit 1
		sleep 0.1
	done
}
untrace() { # ends it, and holds it to having found something
	kill -INT $tracer
	status=0
	wait $tracer || status=$?
	[ $status = 3 ]
}

run ip netns add redis0
run ip -n redis0 link set lo up

say "threads: a daemon clones a thread while its parent is in a container's namespace."
setnsclone --wait --stay --hold-ms 1500 --connect 192.0.2.1:443 /run/netns/redis0 >/tmp/daemon &
daemon=$!
until grep -q waiting /tmp/daemon; do sleep 0.1; done
trace --pid $daemon --only threads
kill -USR1 $daemon
sleep 4
untrace

say "threads: the same thread, found long afterwards by somebody who was not watching."
trace --pid $daemon --only threads --away 500ms
sleep 1.5
untrace
kill $daemon

say "refs: something in the kernel keeps a neighbour of a device that is then deleted."
insmod /faults/objleak.ko
trace --only refs
run ip -n redis0 link add veth1 type dummy
run ip -n redis0 addr add 10.9.0.2/24 dev veth1
run ip -n redis0 link set veth1 up
ip netns exec redis0 sh -c 'mount -t debugfs none /sys/kernel/debug; echo neighbour veth1 10.9.0.7 > /sys/kernel/debug/objleak/hold'
run ip -n redis0 link delete veth1 &
sleep 3
echo "# it is given back"
echo > /sys/kernel/debug/objleak/put
sleep 1.5
untrace
wait

say "csum: packets with wrong checksums are marked as verified on their way into a container."
modprobe veth
mount -t bpf none /mnt
run ip link add veth0 type veth peer name eth0 netns redis0 address 02:00:00:00:00:02
ip addr add 10.8.0.1/24 dev veth0
ip link set veth0 up
ip -n redis0 addr add 10.8.0.2/24 dev eth0
ip -n redis0 link set eth0 up
marktc /mnt/mark
run tc -n redis0 qdisc add dev eth0 clsact
run tc -n redis0 filter add dev eth0 ingress bpf da object-pinned /mnt/mark
trace --only csum
run sendbad -dev veth0 -dst-mac 02:00:00:00:00:02 -dst-ip 10.8.0.2 -count 5
run sendbad -dev veth0 -dst-mac 02:00:00:00:00:02 -dst-ip 10.8.0.2 -count 3 -good
sleep 1
untrace

say "dst: a route cannot be allocated; entries of one namespace are released from another's counter."
insmod /faults/dstfail.ko
insmod /faults/dstcross.ko
run ip netns add redis1
run ip -n redis1 link set lo up
trace --only dst
echo 1 4 >/sys/kernel/debug/dstfail/fail
run ip -n redis1 route get 127.0.0.1 || true
sleep 1
(
	exec 3</run/netns/redis0 4</run/netns/redis1
	echo 3 3 4 >/sys/kernel/debug/dstcross/cross
)
sleep 2
untrace
echo >/sys/kernel/debug/dstcross/undo
say "healthy hosts print nothing: see test/scenarios/busy-host.txtar and dockerd.txtar"
