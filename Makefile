# Syncline: every command a developer needs. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

CACHE ?= $(or $(SYNCLINE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/syncline)
export SYNCLINE_CACHE := $(CACHE)

# CI runs every test anew; a developer's second run may use Go's test cache.
COUNT := $(if $(CI),-count=1,)
# The packages that speak SQL, which also run on the oldest and the newest supported PostgreSQL.
POSTGRES_PACKAGES := ./internal/pgtest/... ./internal/runtime/... ./internal/controller/database/... ./sdk/...

.PHONY: help
help: ## List the commands
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Show the main job on a throw-away real cluster (KEEP=1 leaves it up)
	@hack/demo.sh

.PHONY: test
test: postgres ## Unit, PostgreSQL, API server and simulated-node tests
	@assets=$${KUBEBUILDER_ASSETS:-$$(hack/tools.sh test)}
	KUBEBUILDER_ASSETS=$$assets go test $(COUNT) -timeout 10m ./...

.PHONY: race
race: postgres ## The data plane's tests under the race detector
	@go test -race $(COUNT) -timeout 20m $(POSTGRES_PACKAGES) ./test/kill/...

.PHONY: test-postgres
test-postgres: ## The data plane's tests on PostgreSQL 14, and on 18 under the race detector
	@echo 'PostgreSQL 14'
	PG_BINDIR=$$(SYNCLINE_CACHE= hack/postgres-version.sh 14) go test -count=1 -timeout 15m $(POSTGRES_PACKAGES)
	echo 'PostgreSQL 18, with the race detector'
	PG_BINDIR=$$(SYNCLINE_CACHE= hack/postgres-version.sh 18) $(MAKE) --no-print-directory race COUNT=-count=1

.PHONY: model
model: ## Search the model of the claim protocol, and hold its switched-off rules against what they must break
	@hack/model.sh quick

.PHONY: chaos
chaos: postgres ## Random faults for real workers and servers, judged by their history (SEEDS=40, SEEDS=7..7)
	@hack/chaos.sh

.PHONY: bench
bench: postgres ## Measure beside River, graphile-worker and pg-boss (long; NAME="throughput ..." picks cases)
	@bench/run.sh $(NAME)

.PHONY: e2e
e2e: postgres ## The demo's checks on a real node, as a test suite (root)
	@hack/e2e.sh

.PHONY: lint
lint: ## Static checks, the walls of the house among them
	@hack/lint/lint.sh
	cd bench && go vet ./...

.PHONY: generate
generate: ## Write deepcopy, CRDs, RBAC, apply configurations and the chart's copies
	@hack/gen/generate.sh

.PHONY: verify
verify: ## Check that generated files are what `make generate` writes
	@hack/verify-generated.sh

.PHONY: chart-test
chart-test: ## Lint and render the chart, apply it to a real API server
	@hack/chart-test.sh

.PHONY: postgres
postgres: ## Find a PostgreSQL server, or install Debian's
	@hack/postgres.sh >/dev/null

.PHONY: tools
tools: ## Build every cluster binary into the cache (many minutes cold)
	@hack/tools.sh test
	hack/tools.sh e2e

.PHONY: build
build: ## Build both binaries into bin/
	@CGO_ENABLED=0 go build -trimpath -tags timetzdata -o bin/ ./cmd/manager ./cmd/worker
