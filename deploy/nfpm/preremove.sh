#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0) systemctl disable --now netns-trace.service ;;
esac
