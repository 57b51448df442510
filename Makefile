# Every target has its help text behind ##; `make` prints them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# No C compiler is needed, and the binary has to run anywhere.
export CGO_ENABLED := 0

VERSION := $(shell git describe --tags --dirty --always 2>/dev/null || echo unknown)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
FUZZTIME ?= 30s
BENCH ?= .
BENCHTIME ?= 1s
COUNT ?= 1
# -short leaves out benchmarks that take minutes and gigabytes.
SHORT ?=
# What the privileged tests run; for instance E2E=-run=Masquerade.
E2E ?=

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## install the Debian packages that demo and tests need (root)
	@scripts/setup

.PHONY: setup-generate
setup-generate: ## install what `make generate` needs: clang, llvm, libbpf (root)
	@scripts/setup generate

.PHONY: setup-zerocopy
setup-zerocopy: setup ## install QEMU and fetch the kernel for `make test-zerocopy` (root)
	@scripts/setup zerocopy
	@scripts/zerocopy-kernel

.PHONY: build
build: ## build the static bin/xdpct (needs Go only)
	@mkdir -p bin
	go build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/xdpct ./cmd/xdpct
	@echo "bin/xdpct $(VERSION)"

# In other folders, with empty caches: nothing of the machine or of an earlier build
# may get into the binary.
.PHONY: reproducible
reproducible: build ## build again elsewhere: is the binary the same, byte for byte?
	@scripts/reproducible

.PHONY: generate
generate: ## compile the XDP program again (needs make setup-generate)
	go generate ./...

.PHONY: generate-check
generate-check: generate ## fail if the committed generated files are not current
	git diff --exit-code --stat -- '*_bpfel.go' '*_bpfeb.go' '*.o' '*_string.go'

.PHONY: fmt
fmt: ## format the Go code
	gofmt -s -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: vet
vet: ## formatting, go vet and shellcheck: what make test runs
	@unformatted=$$(gofmt -s -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'd (make fmt): $$unformatted" >&2; exit 1; fi
	go vet ./...
	shellcheck scripts/* .ci/run bench/pktgen/*.sh

# Too many dependencies for go.mod: run at this version.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: lint
lint: vet ## vet, staticcheck and golangci-lint (rules: .golangci.yml)
	go tool staticcheck ./...
	go run $(GOLANGCI) run ./...

# Fetches the database of known vulnerabilities.
VULNCHECK := golang.org/x/vuln/cmd/govulncheck@latest

.PHONY: vulncheck
vulncheck: ## known vulnerabilities in what the code calls (needs the network)
	go run $(VULNCHECK) ./...

# End-to-end tests in which several threads meet.
RACE_E2E := Queues|Crossed|Events|Reader|Delete|Flush|Programs|Interface|Routes|Address|Reload|State|Restart|Expect

.PHONY: test
test: setup build vet test-unit test-root fuzz-short ## nearly everything (root, 11 min); .ci/run has the rest

.PHONY: test-unit
test-unit: ## unit tests of all packages (those that need root skip without it)
	go test -shuffle=on $$(go list ./... | grep -v /test/)

.PHONY: test-root
test-root: build ## real programs and the kernel against xdpct, in namespaces (root)
	go test -p 1 -count=1 -timeout 25m $$(go list ./test/... | grep -v /test/zerocopy) $(E2E)

.PHONY: test-zerocopy
test-zerocopy: setup-zerocopy build ## AF_XDP zero-copy for real, in a virtual machine (root, 2 minutes)
	go test -v -failfast -count=1 -timeout 25m ./test/zerocopy

# What the invariants build does is in dataplane/invariants_on.go.
.PHONY: test-invariants
test-invariants: ## unit and end-to-end tests with a build that follows each frame and poisons what is freed (root)
	go test -tags invariants ./dataplane/... ./flowtable ./nat ./helpers
	go build -trimpath -tags invariants -o dist/invariants/xdpct ./cmd/xdpct
	XDPCT=$(CURDIR)/dist/invariants/xdpct go test -count=1 -timeout 12m ./test/e2e $(E2E)

# How long, and with which faults (0: from the clock).
SOAK_TIME ?= 3m
SOAK_SEED ?= 0

.PHONY: soak
soak: ## traffic and faults for SOAK_TIME (3m) on the invariants build, then a look at what is left (root)
	go build -trimpath -tags invariants -o dist/invariants/xdpct ./cmd/xdpct
	XDPCT=$(CURDIR)/dist/invariants/xdpct go test -count=1 -v -timeout 0 ./test/soak -args -soak-time $(SOAK_TIME) -soak-seed $(SOAK_SEED)

# Memory that is not Go's (rings, tables) is not watched.
.PHONY: test-race-unit
test-race-unit: ## unit tests of what several threads share, with the race detector (root)
	@scripts/setup race
	CGO_ENABLED=1 go test -race ./control ./dataplane ./nat ./helpers

.PHONY: test-race
test-race: test-race-unit ## the same, and end-to-end tests of control paths and hand-over (root)
	CGO_ENABLED=1 go test -race ./dataplane/... ./flowtable ./cmd/...
	CGO_ENABLED=1 go build -race -trimpath -o dist/race/xdpct ./cmd/xdpct
	XDPCT=$(CURDIR)/dist/race/xdpct go test -count=1 -timeout 12m ./test/e2e -run '$(RACE_E2E)'

# How long random scripts are played; SEED=N begins with those of a seed.
RANDOM_TIME ?= 2m

.PHONY: test-diff
test-diff: build ## the kernel and xdpct packet by packet, and random packets for RANDOM_TIME (2m) (root)
	go test -count=1 -timeout 20m ./test/diff -random $(RANDOM_TIME) $(if $(SEED),-seed $(SEED))

# How many random sieges.
CHECKS ?= 20000

.PHONY: test-unasked
test-unasked: ## random attacks from outside against a slow reference: CHECKS=20000
	go test -count=1 -timeout 0 ./dataplane -run TestNothingUnasked -rapid.checks $(CHECKS)

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME (30s)
	@scripts/fuzz $(FUZZTIME) $$(go list ./...)

.PHONY: fuzz-short
fuzz-short: ## fuzz parsers, helpers, state file and path for 3 s each: a minute
	@scripts/fuzz 3s ./packet ./helpers ./flowtable ./dataplane

# The profile that `go build` optimises bin/xdpct with. The same one for benchmarks,
# so that they measure the code that runs.
PROFILE := cmd/xdpct/default.pgo

# Where results go. All of a run are made from one file of JSON lines.
RESULTS := dist/bench

# bench-report turns $(RESULTS)/NAME.jsonl into tables, and all results into plots.
define bench-report
	bin/xdpct bench report -o csv $(RESULTS)/$(1).jsonl >$(RESULTS)/$(1).csv
	bin/xdpct bench report -o markdown $(RESULTS)/$(1).jsonl >$(RESULTS)/$(1).md
	go run ./bench/plot -o $(RESULTS) $(RESULTS)/*.jsonl
endef

.PHONY: bench
bench: build ## measure this machine in memory, no root: dist/bench (QUICK=1: 2 minutes)
	@mkdir -p $(RESULTS)
	bin/xdpct bench all --memory-only $(if $(QUICK),--quick) -o json >$(RESULTS)/memory.part
	mv $(RESULTS)/memory.part $(RESULTS)/memory.jsonl
	$(call bench-report,memory)

.PHONY: bench-veth
bench-veth: setup build ## measure gateways side by side, in namespaces (root): dist/bench (QUICK=1: 3 minutes)
	@mkdir -p $(RESULTS)
	bin/xdpct bench forward $(if $(QUICK),--quick) -o json >$(RESULTS)/forward.part
	mv $(RESULTS)/forward.part $(RESULTS)/forward.jsonl
	$(call bench-report,forward)

.PHONY: bench-compare
bench-compare: ## is the path slower than at REF? (REF=git ref RUNS=8 THRESHOLD=5)
	@scripts/bench-compare $(or $(REF),$(error REF is missing: make bench-compare REF=main))

.PHONY: bench-go
bench-go: ## Go benchmarks of all packages (BENCH=regexp BENCHTIME=1s COUNT=1 SHORT=-short)
	go test -pgo $(CURDIR)/$(PROFILE) -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -count $(COUNT) $(SHORT) \
		$$(go list ./... | grep -v /test/)

.PHONY: bench-peers
bench-peers: ## install and build what xdpct is compared with: DPDK's rte_hash, Open vSwitch (root)
	@scripts/setup peers
	@mkdir -p dist
	gcc -O3 -march=native -Wall -Wextra -o dist/rte_hash bench/peers/rte_hash/rte_hash.c $$(pkg-config --cflags --libs libdpdk)
	@echo "dist/rte_hash, and $$(PATH=$$PATH:/usr/sbin ovs-vswitchd --version | head -n 1)"

.PHONY: profile
profile: ## measure the packet path anew for profile-guided optimisation
	go test -pgo off -trimpath -c -o /dev/shm/bench.test ./bench
	/dev/shm/bench.test -test.run '^$$' -test.bench 'Pipeline|NewFlows' -test.benchtime 1s -test.cpuprofile $(PROFILE)
	rm /dev/shm/bench.test

.PHONY: demo
demo: setup build ## ping, HTTP and active FTP through xdpct, in namespaces (root)
	@scripts/demo

.PHONY: demo-kernel
demo-kernel: setup ## the same demo through the kernel's conntrack, to compare (root)
	@scripts/demo --kernel

.PHONY: clean
clean: ## remove what the build made
	rm -rf bin dist
	go clean -testcache -fuzzcache
