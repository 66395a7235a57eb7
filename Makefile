# SPDX-License-Identifier: Apache-2.0

GO      ?= go
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
NEED    := test/lab/need.sh
# go test, with a line for what ends and for what is skipped.
GOTEST  := $(GO) run ./test/gotest

# What each target wants of Debian; need.sh installs what is missing, and says so.
LAB_PACKAGES      := gcc make libc6-dev e2fsprogs xz-utils kmod binutils
GENERATE_PACKAGES := clang-19 llvm-19 libbpf-dev libc6-dev binutils

.PHONY: all
all: netns-trace ## build ./netns-trace, static, without clang

.PHONY: netns-trace
netns-trace:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/netns-trace

.PHONY: install
install: netns-trace ## install it below PREFIX (/usr/local), with shell completions
	install -D -m 0755 netns-trace $(DESTDIR)$(PREFIX)/bin/netns-trace
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	./netns-trace completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/netns-trace
	./netns-trace completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_netns-trace

.PHONY: packages
packages: netns-trace ## a Debian and an RPM package, in build/
	install -D -m 0755 netns-trace build/netns-trace
	install -d build/man build/completion
	./netns-trace man build/man
	gzip -9nf build/man/*.1
	for shell in bash zsh; do ./netns-trace completion $$shell > build/completion/$$shell; done
	for form in deb rpm; do VERSION=$(if $(filter v%,$(VERSION)),$(VERSION:v%=%),0.0.0+$(VERSION)) ARCH=$$($(GO) env GOARCH) \
		$(GO) tool -modfile=test/tools/nfpm/go.mod nfpm package -f deploy/nfpm/nfpm.yaml -p $$form -t build/; done

.PHONY: demo
demo: ## boot a kernel, cause each bug, and watch netns-trace name it
	@$(NEED) $(LAB_PACKAGES)
	$(GO) run ./test/demo

.PHONY: test
test: test-unit lint check-generated bench-gate test-kernels ## everything: unit tests, lint, what tracing costs, and the scenarios on all kernels

.PHONY: test-unit
test-unit: ## unit tests with the race detector; boots nothing
	@$(NEED) gcc libc6-dev
	$(GOTEST) -race -short ./...

# A guest waits for a third of its time: one more than there are processors.
.PHONY: test-kernels
test-kernels: ## the lab's own tests, crash dumps and the scenarios, on all kernels
	@$(NEED) $(LAB_PACKAGES)
	$(GOTEST) -each -timeout 80m -p 1 -parallel $$(($$(nproc) + 1)) ./test/lab ./test/crashdump ./test/scenarios

.PHONY: test-readers
test-readers: ## what is exported, the HTML page, the metrics and the DaemonSet, read by what they are for
	@$(NEED) chromium tshark protobuf-compiler prometheus
	@if command -v npm; then npm --prefix test/readers install --no-package-lock --ignore-scripts --no-audit --no-fund; fi
	$(GOTEST) -run 'Page|Tshark|Protobuf|Perfetto|Rows|DuckDB|Schema|Earlier' ./cmd/netns-trace
	$(GOTEST) -run 'Prometheus|Promtool' ./pkg/metrics ./deploy
	$(GOTEST) -run 'Queries' ./bench/fleet
	cd test/tools/kube && $(GO) run . ../../../deploy/kubernetes/daemonset.yaml

.PHONY: test-faults
test-faults: ## every variant of every fault, on all kernels: for who changes one
	@$(NEED) $(LAB_PACKAGES)
	$(GOTEST) -each -timeout 80m ./test/faults

.PHONY: lint
lint: ## golangci-lint, gofumpt included, and the shell scripts' syntax
	$(GO) tool -modfile=test/tools/go.mod golangci-lint run ./...
	@git ls-files '*.sh' .ci/run | xargs -n1 sh -n

.PHONY: generate
generate: ## compile the BPF programs and the reaper anew (needs clang-19)
	@$(NEED) $(GENERATE_PACKAGES)
	$(GO) generate ./pkg/probe ./pkg/textprobe

.PHONY: check-generated
check-generated: generate ## fail if the committed objects are not what the sources give
	@git diff --exit-code --stat -- pkg/probe pkg/textprobe || \
		{ echo 'The committed objects are stale: run "make generate" and commit the result.' >&2; exit 1; }

.PHONY: fuzz
fuzz: ## run every fuzz test for a while (FUZZTIME, default 20s each)
	@test/fuzz.sh $(or $(FUZZTIME),20s)

.PHONY: bench
bench: ## what tracing costs, in instructions, on 6.12 and 6.1, beside other tools
	@$(NEED) $(LAB_PACKAGES)
	$(GO) run ./bench

.PHONY: bench-gate
bench-gate: ## its short form, under 3 minutes; both fail when a promise is broken
	@$(NEED) $(LAB_PACKAGES)
	$(GO) run ./bench -short -kernels 6.12

.PHONY: bench-native
bench-native: ## Go benchmarks of what runs in user space
	$(GO) test -run '^$$' -bench . -benchmem ./pkg/...

.PHONY: bench-fleet
bench-fleet: ## 1,000 simulated nodes, by OTLP and as Parquet: bytes, rates, times of queries
	@if command -v npm; then npm --prefix test/readers install --no-package-lock --ignore-scripts --no-audit --no-fund; fi
	$(GO) run ./bench/fleet

.PHONY: soak
soak: ## 30 minutes of namespaces that come and go, with everything on: memory, losses, findings
	@$(NEED) $(LAB_PACKAGES)
	$(GO) run ./test/soak

.PHONY: flood
flood: ## each thing that is traced as fast as a guest can, and what the budget does about it
	@$(NEED) $(LAB_PACKAGES)
	$(GO) run ./test/soak -flood

.PHONY: refsite-oracle
refsite-oracle: ## measure pkg/refsite against DWARF; fetches 1 GB a kernel (KERNELS)
	$(GO) run ./test/refsites $(KERNELS)

.PHONY: lab
lab: ## fetch the kernels of the matrix into .lab/
	@$(NEED) $(LAB_PACKAGES)
	$(GO) run ./test/lab/cmd/lab kernels

.PHONY: clean
clean: ## remove what was built; .lab/ stays (remove it by hand to fetch anew)
	rm -rf netns-trace build

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
