// SPDX-License-Identifier: Apache-2.0

package probe

// The compiled objects are committed, so that building netns-trace needs no
// clang; `make generate` makes them anew. The compiler's version is fixed, since
// another one gives other bytes from the same sources; Debian 12 and 13 both have
// this one. -mcpu=v3 is the newest instruction set that 5.10 knows.

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types threads ../../bpf/threads.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types refs ../../bpf/refs.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types names ../../bpf/names.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types pins ../../bpf/pins.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types csum ../../bpf/csum.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types dst ../../bpf/dst.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package probe -no-global-types ledger ../../bpf/ledger.bpf.c -- -I../../headers -mcpu=v3 -O2 -Wall -Werror
//go:generate sh -c "cat ../../bpf/*.h ../../bpf/*.c ../../headers/*.h gen.go | sha256sum > objects.sha256"
