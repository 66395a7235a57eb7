#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs in the guest: a socket holds a device that is deleted. What netns-trace says of
# the references is compared with the list that the kernel prints itself.
set -eu

fail() {
	echo "FAIL: $1" >&2
	cat /tmp/said /tmp/report >&2
	dmesg | tail -n 40 >&2
	exit 1
}

netns-trace --only refs --refs tracker --ready-file /tmp/ready --json >/tmp/said 2>/tmp/report &
tracer=$!
until [ -e /tmp/ready ]; do
	kill -0 $tracer || fail "netns-trace did not get ready"
	sleep 0.2
done
ip link add hold0 type dummy
ip link set hold0 up
ip address add 10.9.0.1/24 dev hold0
sockhold llc hold0 &
holder=$!
sleep 2
ip link delete hold0 &
for i in $(seq 60); do
	grep -q '"kind":"holder"' /tmp/said && dmesg | grep -q 'ref_tracker: .*has 1/1 users at' && break
	sleep 1
done
dmesg | grep -A 8 'ref_tracker: .*has 1/1 users at' || fail "the kernel says nothing"
grep -q '"kind":"holder".*"family":"AF_LLC socket"' /tmp/said || fail "the holder is not named"
grep -q '"kind":"waiting".*"references":1,.*"unexplained":0' /tmp/said || fail "the account is not exact"
kill $holder
for i in $(seq 60); do
	grep -q '"kind":"released"' /tmp/said && break
	sleep 1
done
grep -q '"kind":"released"' /tmp/said || fail "its end was not seen"
kill -INT $tracer
wait $tracer || [ $? = 3 ] || fail "netns-trace ended with status $?"
cat /tmp/said /tmp/report
echo PASS
