#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs in the guest: each bug in turn, under one netns-trace that records. The
# recording goes to standard output.
set -eu
exec 3>&1 >&2

netns-trace record -o /tmp/r.ntrace --ready-file /tmp/ready --max-size 1M &
tracer=$!
until [ -e /tmp/ready ]; do
	kill -0 $tracer
	sleep 0.1
done

ip netns add redis0
ip -n redis0 link set lo up
setnsclone --hold-ms 200 --run-ms 2500 --connect 192.0.2.1:443 /run/netns/redis0 || true

insmod /faults/objleak.ko
ip -n redis0 link add veth1 type dummy
ip -n redis0 addr add 10.9.0.2/24 dev veth1
ip -n redis0 link set veth1 up
ip netns exec redis0 sh -c 'mount -t debugfs none /sys/kernel/debug; echo neighbour veth1 10.9.0.7 >/sys/kernel/debug/objleak/hold'
ip -n redis0 link delete veth1 &
sleep 3
echo >/sys/kernel/debug/objleak/put
wait $!

modprobe veth
mount -t bpf none /mnt
ip link add veth0 type veth peer name eth0 netns redis0 address 02:00:00:00:00:02
ip addr add 10.8.0.1/24 dev veth0
ip link set veth0 up
ip -n redis0 addr add 10.8.0.2/24 dev eth0
ip -n redis0 link set eth0 up
marktc /mnt/mark
tc -n redis0 qdisc add dev eth0 clsact
tc -n redis0 filter add dev eth0 ingress bpf da object-pinned /mnt/mark
sendbad -dev veth0 -dst-mac 02:00:00:00:00:02 -dst-ip 10.8.0.2 -count 5

insmod /faults/dstfail.ko
insmod /faults/dstcross.ko
ip netns add redis1
ip -n redis1 link set lo up
echo 1 4 >/sys/kernel/debug/dstfail/fail
ip -n redis1 route get 127.0.0.1 || true
sleep 1
(
	exec 4</run/netns/redis0 5</run/netns/redis1
	echo 3 4 5 >/sys/kernel/debug/dstcross/cross
)
sleep 2
kill -INT $tracer
status=0
wait $tracer || status=$?
[ $status = 3 ]
cat /tmp/r.ntrace >&3
