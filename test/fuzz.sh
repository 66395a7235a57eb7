#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# fuzz.sh DURATION: runs every fuzz test of the module for that long.
set -eu

grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do
	dir=$(dirname "$file")
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r name; do
		echo "$dir $name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" -fuzzminimizetime 20x "$dir"
	done
done
