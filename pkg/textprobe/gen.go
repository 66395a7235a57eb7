// SPDX-License-Identifier: Apache-2.0

package textprobe

// The reaper is committed as a program, so that building netns-trace needs no C
// compiler; `make generate` makes it anew.

//go:generate clang-19 --target=x86_64-linux-gnu -Os -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pic -static -nostdlib -fuse-ld=bfd -Wl,--build-id=none,-z,noseparate-code,-z,norelro,-s -o reaper_amd64.elf reaper/reaper.c
//go:generate sh -c "cat reaper/reaper.c gen.go | sha256sum > reaper.sha256"
