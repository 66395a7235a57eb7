#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dockerdclone NETNS-FILE: has the dockerd that dockerdclone.so was preloaded into
# strand a thread there, and prints the steps with their thread ids.
set -eu
fifo=${DOCKERDCLONE_FIFO:-/run/dockerdclone}
log=$fifo.log
[ $# -eq 1 ] || { echo "usage: dockerdclone NETNS-FILE" >&2; exit 2; }
[ -p "$fifo" ] || { echo "dockerdclone: no $fifo: dockerd runs without dockerdclone.so" >&2; exit 1; }

before=$(wc -l <"$log")
echo "$1" >"$fifo"
for _ in $(seq 100); do
	new=$(tail -n "+$((before + 1))" "$log")
	case $new in
	*error*) echo "$new" >&2; exit 1 ;;
	*back*) echo "$new" | grep -v ^connect; exit 0 ;;
	esac
	sleep 0.1
done
echo "dockerdclone: no answer within 10 s" >&2
exit 1
