# Everything a developer types. `make help` lists it.

LINT    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZ    ?= 10s
SEEDS   ?= 5000
CUTS    ?= 5000
TIMEOUT ?= 20m
PKGS    := ./...
PREFIX  ?= /usr/local
BIN     ?= bin
CHAOS   ?= 1h
BENCHTIME ?= 1s

.DEFAULT_GOAL := help
.PHONY: help build install test test-vm test-vm-auto test-chaos test-databases chaos race sim powercut fuzz lint check e2e bench demo golden kept cover tidy

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## supd, supctl and supd-keeper into bin/
	@mkdir -p $(BIN)
	go build -trimpath -o $(BIN)/ ./cmd/supd ./cmd/supctl ./cmd/supd-keeper

# The units name /usr/local; a file that is edited on the host (/etc/supd/supd.yaml) is left as it is.
install: build ## programs, systemd units and configuration below DESTDIR (/), PREFIX (/usr/local)
	@set -eu; lib=$(DESTDIR)$(PREFIX)/lib; \
	install -d $(DESTDIR)$(PREFIX)/bin $$lib/systemd/system $$lib/sysusers.d $$lib/tmpfiles.d $(DESTDIR)/etc/supd; \
	for p in supd supctl supd-keeper; do \
		install -m 0755 $(BIN)/$$p $(DESTDIR)$(PREFIX)/bin/.$$p.new; \
		mv -f $(DESTDIR)$(PREFIX)/bin/.$$p.new $(DESTDIR)$(PREFIX)/bin/$$p; \
	done; \
	for u in configs/systemd/*.service; do \
		sed 's|/usr/local/|$(PREFIX)/|' $$u > $$lib/systemd/system/$${u##*/}; \
	done; \
	install -m 0644 configs/systemd/supd.sysusers $$lib/sysusers.d/supd.conf; \
	install -m 0644 configs/systemd/supd.tmpfiles $$lib/tmpfiles.d/supd.conf; \
	[ -e $(DESTDIR)/etc/supd/supd.yaml ] || install -m 0644 configs/supd.yaml $(DESTDIR)/etc/supd/supd.yaml

# The two long ones run beside each other, each one's words kept together. Nothing more beside them: the emulated machine needs a
# core for itself.
test: ## all tests, the walks of 200 seeds, end-to-end, then the virtual machine's beside eight minutes of faults
	SUPD_CHAOS_FOR=0 go test -timeout $(TIMEOUT) $(PKGS)
	@$(MAKE) --no-print-directory -j2 -k --output-sync=target test-vm-auto test-chaos

test-vm-auto:
	@SUPD_TEST_VM=auto go test -count=1 -v -timeout $(TIMEOUT) -run '^TestVirtualMachine$$' ./cmd/supd-keeper

test-chaos:
	@SUPD_CHAOS_FOR=8m go test -count=1 -v -timeout $(TIMEOUT) -run '^TestChaos$$' ./cmd/supd

test-databases: ## of all tests only real databases of configs/examples, from Debian's packages (root)
	go test -count=1 -timeout $(TIMEOUT) -parallel 2 -run '^TestEndToEnd$$/^database$$' ./cmd/supctl

chaos: ## five hosts under faults for CHAOS (1h), clocks wrong too; SUPD_CHAOS_SEED repeats a schedule (root)
	SUPD_CHAOS_FOR=$(CHAOS) SUPD_CHAOS_CLOCKS=1 go test -count=1 -v -timeout 3h -run '^TestChaos$$' ./cmd/supd

test-vm: ## units, limits, shutdown and power cut on a Debian in QEMU (root, debootstrap, qemu-system-x86)
	SUPD_TEST_VM=must go test -count=1 -v -timeout $(TIMEOUT) -run '^TestVirtualMachine$$' ./cmd/supd-keeper

race: ## all tests but end-to-end under the race detector
	GORACE=halt_on_error=1 go test -race -short -timeout $(TIMEOUT) $(PKGS)

sim: ## random walks of SEEDS seeds (5000)
	SUPD_SIM_SEEDS=$(SEEDS) go test -count=1 -timeout 2h -run 'TestWalk$$' ./supervisor/sim

powercut: ## CUTS power cuts (5000) of each program that keeps something on disk, by a file system that loses what was not synced (root, FUSE)
	SUPD_POWER_CUTS=$(CUTS) go test -count=1 -timeout 2h -run 'TestPowerCut' -v ./raftstore ./volumes ./supervisor ./supervisor/keeper ./supervisor/powertest

fuzz: ## every fuzz target for FUZZ (10s) each
	@set -eu; for pkg in $$(go list $(PKGS)); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ) -fuzzminimizetime 5x $$pkg; \
		done; \
	done

lint: ## golangci-lint, pinned
	go run $(LINT) run --allow-parallel-runners

check: lint race ## what a change must pass: lint, race, 200 seeds, fuzz, go.mod tidy
	SUPD_SIM_SEEDS=200 go test -count=1 -timeout $(TIMEOUT) ./supervisor/sim
	$(MAKE) --no-print-directory fuzz
	$(MAKE) --no-print-directory tidy

tidy:
	go mod tidy -diff

e2e: build ## the end-to-end tests alone: real binaries on loopback
	go test -count=1 -v -timeout $(TIMEOUT) ./cmd/supctl -run 'TestEndToEnd'

bench: ## benchmarks, BENCHTIME (1s; 1x: each once) long; those of cmd/supd take a quarter of an hour
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -timeout 2h $(PKGS)

demo: build ## the main job before your eyes, in two minutes (KEEP=1 leaves the cluster running)
	@sh configs/demo.sh $(if $(KEEP),--keep)

golden: ## rewrite golden files
	go test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update

kept: ## keep a data directory of this source's build, which every later one must open (root)
	go test -count=1 ./cmd/supd -run '^TestKeptData$$' -make-kept $$(git rev-parse --short HEAD)

cover: ## test coverage into coverage.html
	go test -short -coverprofile coverage.out $(PKGS)
	go tool cover -html coverage.out -o coverage.html
