#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# need.sh PACKAGE...: installs the Debian packages that are missing, after saying
# which. Prints nothing when all are there.
set -eu

missing=
for package in "$@"; do
	if ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
		missing="$missing $package"
	fi
done
[ -n "$missing" ] || exit 0

echo "netns-trace: installing from Debian:$missing" >&2
as_root=
if [ "$(id -u)" != 0 ]; then
	as_root=sudo
	command -v sudo >/dev/null || {
		echo "netns-trace: run as root: apt-get install$missing" >&2
		exit 1
	}
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of words
if ! { $as_root apt-get update && DEBIAN_FRONTEND=noninteractive \
	$as_root apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "netns-trace: could not install:$missing" >&2
	exit 1
fi
