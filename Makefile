# What is needed to start: Rust, Python 3 and make. Everything else is put into .tools/ by `make tools`.

PYTHON ?= python3
CARGO  ?= cargo

# Tests with Node.js clients exist only where Node.js does: left out is not passed, and it is said.
HAS_NODE   = $(wildcard $(or $(CALLGATE_TOOLS),.tools)/node/.stamp)
NODE_TESTS = $(if $(HAS_NODE),--features callgate-testkit/node --features callgate-authenticators/node --features callgate-server/node --features callgate-matrix/node --features callgate-faults/node)
# The real API server, once `make test-kubernetes` has built it; otherwise a stand-in takes its place.
KUBERNETES = $(if $(wildcard $(or $(CALLGATE_TOOLS),.tools)/kubernetes/kube-apiserver),CALLGATE_TEST_KUBERNETES=real)
# And tests of snippets in Go only where Go is.
GO_TESTS   = $(if $(wildcard $(or $(CALLGATE_TOOLS),.tools)/go/.stamp),--features callgate-authenticators/go)
# Vectors of others, which are not part of this checkout, only where CALLGATE_VECTORS names their folder.
VECTOR_TESTS = $(if $(CALLGATE_VECTORS),--features callgate-authenticators/vectors)
# And cells with nsc and the nats command line only where `tools.py go-tools` compiled them.
HAS_GO_TOOLS = $(wildcard $(or $(CALLGATE_TOOLS),.tools)/go-tools/.stamp)
GO_TOOLS_TESTS = $(if $(HAS_GO_TOOLS),--features callgate-matrix/go-tools)

# Both at once: built one by one, their dependencies have other features, and are built twice.
BUILD_BENCH = $(CARGO) build --release --package callgate-server --package callgate-bench
RELEASE     = $(or $(CARGO_TARGET_DIR),target)/release

.DEFAULT_GOAL := help
.PHONY: help demo build test test-matrix test-faults test-kubernetes test-timing test-overload tools fuzz random release fmt lint ci

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 16

demo: ## Start nats-server and Callgate with three users, and show what each may do
	@$(PYTHON) scripts/demo.py

build: ## Build the service: target/debug/callgate
	$(CARGO) build --workspace

tools: ## Install what tests need (servers, clients of other languages) below .tools/
	@$(PYTHON) scripts/tools.py

test: tools ## Run every test, against real servers
	@$(MAKE) --no-print-directory test-only

test-kubernetes: ## Run the tests of Kubernetes on a real kube-apiserver (built once: ten minutes)
	@$(PYTHON) scripts/tools.py nats-server
	@$(PYTHON) scripts/kube_apiserver.py
	CALLGATE_TEST_KUBERNETES=real $(CARGO) test -p callgate-authenticators --features kubernetes --test kubernetes -- --test-threads=2
	CALLGATE_TEST_KUBERNETES=real $(CARGO) test -p callgate-server --features real-kubernetes --test kubernetes -- --test-threads=2

.PHONY: test-only
test-only:
	$(CARGO) test --workspace --features callgate-authenticators/kubernetes $(NODE_TESTS) $(GO_TESTS) $(GO_TOOLS_TESTS) $(VECTOR_TESTS)
	@echo "NOT RUN: the long faults (make test-faults); the quick ones were played"
	@echo "NOT RUN: tests on a real kube-apiserver (make test-kubernetes); a stand-in took its place"
	@echo "NOT RUN: measurements that need a quiet machine: how long refusals take (make test-timing), overload (make test-overload)"
	@$(if $(VECTOR_TESTS),,echo "NOT RUN: Wycheproof's vectors of web signatures and keys (CALLGATE_VECTORS names no folder)")
	@$(if $(NODE_TESTS),,echo "NOT RUN: tests with Node.js clients, since there is no Node.js")
	@$(if $(GO_TESTS),,echo "NOT RUN: tests of snippets in Go, since there is no Go")
	@$(if $(GO_TOOLS_TESTS),,echo "NOT RUN: tests with nsc and the nats command line (scripts/tools.py go-tools)")

test-matrix: tools build ## Run every mode over every kind of connection at every server line; writes docs/compatibility.md
	@mkdir -p docs
	@$(PYTHON) scripts/tools.py go-tools || echo "NOT RUN: cells with nsc and the nats command line"
	@$(MAKE) --no-print-directory test-matrix-only

.PHONY: test-matrix-only
test-matrix-only:
	CALLGATE_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target)/debug/callgate) $(CARGO) run --quiet --package callgate-matrix \
		$(if $(HAS_NODE),--features node) $(if $(HAS_GO_TOOLS),--features go-tools) -- docs/compatibility.json

fuzz: ## Fuzz everything that reads what others wrote, five minutes for each target (SECONDS=300)
	@$(PYTHON) scripts/fuzz.py --seconds $(or $(SECONDS),300)

random: ## Play a million random requests through a gate built with overflow checks, ten minutes (REQUESTS=1000000)
	CALLGATE_RANDOM_REQUESTS=$(or $(REQUESTS),1000000) $(CARGO) test -p callgate-authenticators \
		--features kubernetes --test random_requests -- --nocapture

release: ## Build the release binary reproducibly, with its digest and bill of materials, into dist/
	$(PYTHON) scripts/release.py build dist

test-faults: tools build ## Break everything with real parts, and watch (a quarter of an hour); writes docs/reliability.md
	$(CARGO) build --quiet --package callgate-faults --bins $(if $(HAS_NODE),--features node)
	$(KUBERNETES) CALLGATE_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target)/debug/callgate) \
		$(or $(CARGO_TARGET_DIR),target)/debug/callgate-faults docs/reliability.json

test-timing: ## Measure whether the time of a refusal tells who exists (four minutes; a quiet machine)
	$(BUILD_BENCH)
	$(RELEASE)/callgate-bench timing

test-overload: ## Offer four times the passwords that a core can hash (one minute; two cores, a quiet machine)
	@$(PYTHON) scripts/tools.py nats-server
	$(BUILD_BENCH)
	$(RELEASE)/callgate-bench overload --apart \
		--nats-server $(lastword $(sort $(wildcard $(or $(CALLGATE_TOOLS),.tools)/nats-server/2.*/nats-server)))

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Check format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

ci: ## Everything that must hold before a change is taken
	@.ci/run
