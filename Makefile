# lastmile: what one does with this repository. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ARGS    ?=

# Tests. RACE= runs them without the race detector, which is faster and needs no C compiler.
PKG       ?= ./...
RACE      ?= -race
TIMEOUT   ?= 15m
TESTFLAGS ?=
BENCH     ?= .
COUNT     ?= 6
FUZZTIME  ?= 10s
FOR       ?= 30m
SEED      ?= 0

# Images. BUILD_FLAGS go to the engine's build, for example --network=host.
ENGINE      ?= $(firstword $(foreach engine,docker podman,$(shell command -v $(engine) 2>/dev/null)))
BUILD_FLAGS ?=
IMAGE       ?= lastmile

APP     := lastmile/cmd
LDFLAGS := -X $(APP)/coordinator/app.version=$(VERSION) -X $(APP)/probe/app.version=$(VERSION)
TOOL    := go tool -modfile=tools/go.mod

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: need-demo build ## run the whole fleet on this machine; ARGS='--fault slow-region' and more: bin/coordinator demo --help
	@exec bin/coordinator demo $(ARGS)

.PHONY: build
build: need-go ## build bin/coordinator and bin/probe
	@echo "building bin/coordinator and bin/probe ($(VERSION))" >&2
	@go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/coordinator ./cmd/probe

.PHONY: test
test: need-test ## run all tests, and install what they need; PKG=./internal/slo/ RACE= TESTFLAGS='-run X' narrow it
	go test $(RACE) -timeout $(TIMEOUT) $(TESTFLAGS) $(PKG)

.PHONY: check
check: need-go ## look for faults without running: format, tidy modules, vet, lint, floors, dead code
	$(TOOL) golangci-lint fmt --diff
	go mod tidy -diff
	go vet ./...
	$(TOOL) golangci-lint run
	go test -count=1 ./internal/floors/
	@echo "deadcode"; dead=$$($(TOOL) deadcode -test ./...); [ -z "$$dead" ] || { echo "$$dead"; exit 1; }

.PHONY: fmt
fmt: need-go ## format the sources as check wants them
	$(TOOL) golangci-lint fmt

.PHONY: bench
bench: need-demo ## run the benchmarks COUNT times and print medians with their spread; BENCH=regexp picks some
	@mkdir -p bin
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 60m $(TESTFLAGS) $(PKG) | tee bin/bench.txt
	@$(TOOL) benchstat bin/bench.txt

.PHONY: peers
peers: need-peers ## beside other runners of recordings and another prober: the same verdicts and requests, and what each takes
	npm ci --prefix tools/peers --no-audit --no-fund --silent
	go test -tags peers -count=1 -timeout 15m -run AsTheReference ./cmd/probe/app
	go test -run '^$$' -bench Peers -benchtime 1x -timeout 15m ./cmd/probe/app

# Disks that are full are small ones of the suite's own: without root it takes a user namespace to mount them.
OWN_MOUNTS = $(if $(filter 0,$(shell id -u)),,unshare --user --map-root-user --mount)

.PHONY: faults
faults: need-faults ## the long form of the fault suite: kill, stop and cut off real processes at each step of a run, look at the books
	$(OWN_MOUNTS) go test -count=1 -timeout 60m -parallel 4 $(TESTFLAGS) -run '^TestFaults$$' ./internal/faults -faults

.PHONY: soak
soak: need-faults ## a whole fleet with random faults FOR=30m; SEED= repeats one; the summary is internal/faults/SOAK.md
	go test -count=1 -timeout 0 $(TESTFLAGS) -run '^TestSoak$$' -v ./internal/faults -soak $(FOR) -seed $(SEED) -summary SOAK.md

.PHONY: fuzz
fuzz: need-go ## run every fuzz target for FUZZTIME each
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal | sort | \
	while IFS=: read -r file _ match; do \
		echo "$$(dirname $$file) $${match#func }"; \
		go test -run '^$$' -fuzz "^$${match#func }\$$" -fuzztime $(FUZZTIME) "./$$(dirname $$file)" </dev/null; \
	done

.PHONY: image
image: need-engine ## build the images lastmile-coordinator and lastmile-probe
	$(ENGINE) build $(BUILD_FLAGS) --build-arg VERSION=$(VERSION) --target coordinator -t $(IMAGE)-coordinator .
	$(ENGINE) build $(BUILD_FLAGS) --build-arg VERSION=$(VERSION) --target probe -t $(IMAGE)-probe .

.PHONY: containers
containers: image ## build the images, run a coordinator and a probe on a private network once, show that runs are accounted
	ENGINE=$(ENGINE) IMAGE=$(IMAGE) .ci/containers

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

.PHONY: need-go need-demo need-test need-faults need-peers need-engine
need-go:
	@.ci/need go

need-demo:
	@.ci/need go chromium

need-test:
	@.ci/need go $(if $(filter -race,$(RACE)),cc) engines prometheus alertmanager victoria nginx varnish

need-faults:
	@.ci/need go chromium $(if $(OWN_MOUNTS),unshare)

need-peers:
	@.ci/need go engines npm nginx blackbox

need-engine:
	@[ -n "$(ENGINE)" ] || { echo "a container engine is required: got neither docker nor podman on PATH" >&2; exit 1; }
	@$(ENGINE) info >/dev/null 2>&1 || { echo "a container engine is required: $(ENGINE) info: the engine does not answer; is it running, and may you use it?" >&2; exit 1; }
