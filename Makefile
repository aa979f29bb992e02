# Everything a developer types. `make help` lists it.

LINT    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZ    ?= 10s
SEEDS   ?= 5000
TIMEOUT ?= 20m
PKGS    := ./...

.DEFAULT_GOAL := help
.PHONY: help build test race sim fuzz lint check e2e bench demo golden cover tidy

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## supd, supctl and supd-keeper into bin/
	@mkdir -p bin
	go build -trimpath -o bin/ ./cmd/supd ./cmd/supctl ./cmd/supd-keeper

test: ## all tests, the walks of 200 seeds and the end-to-end tests with them
	go test -timeout $(TIMEOUT) $(PKGS)

race: ## all tests but end-to-end under the race detector
	GORACE=halt_on_error=1 go test -race -short -timeout $(TIMEOUT) $(PKGS)

sim: ## random walks of SEEDS seeds (5000)
	SUPD_SIM_SEEDS=$(SEEDS) go test -count=1 -timeout 2h -run 'TestWalk$$' ./supervisor/sim

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

bench: ## benchmarks
	go test -run '^$$' -bench . -benchmem $(PKGS)

demo: build ## the main job before your eyes, in two minutes (KEEP=1 leaves the cluster running)
	@sh configs/demo.sh $(if $(KEEP),--keep)

golden: ## rewrite golden files
	go test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update

cover: ## test coverage into coverage.html
	go test -short -coverprofile coverage.out $(PKGS)
	go tool cover -html coverage.out -o coverage.html
