// SPDX-License-Identifier: Apache-2.0

package probe

// The compiled objects are committed, so that building netns-trace needs no
// clang; `make generate` makes them anew and `make check-generated` compares.
// -mcpu=v3 is the newest instruction set that 5.10 knows.

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types threads ../../bpf/threads.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types refs ../../bpf/refs.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
