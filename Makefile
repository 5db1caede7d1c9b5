# What is needed to start: Rust, Python 3 and make. Everything else is put into .tools/ by `make tools`.

PYTHON ?= python3
CARGO  ?= cargo

# Tests with Node.js clients exist only where Node.js does: left out is not passed, and it is said.
HAS_NODE   = $(wildcard $(or $(CALLGATE_TOOLS),.tools)/node/.stamp)
NODE_TESTS = $(if $(HAS_NODE),--features callgate-testkit/node --features callgate-authenticators/node --features callgate-server/node --features callgate-conformance/node)
# And tests of snippets in Go only where Go is.
GO_TESTS   = $(if $(wildcard $(or $(CALLGATE_TOOLS),.tools)/go/.stamp),--features callgate-authenticators/go)

.DEFAULT_GOAL := help
.PHONY: help demo build test test-matrix test-kubernetes test-timing test-overload tools fmt lint ci

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
	CALLGATE_TEST_KUBERNETES=real $(CARGO) test -p callgate-server --test kubernetes -- --test-threads=2

.PHONY: test-only
test-only:
	$(CARGO) test --workspace --features callgate-authenticators/kubernetes $(NODE_TESTS) $(GO_TESTS)
	@echo "NOT RUN: tests on a real kube-apiserver (make test-kubernetes); a stand-in took its place"
	@$(if $(NODE_TESTS),,echo "NOT RUN: tests with Node.js clients, since there is no Node.js")
	@$(if $(GO_TESTS),,echo "NOT RUN: tests of snippets in Go, since there is no Go")

test-matrix: tools build ## Run every mode over every kind of connection at every server line; writes docs/compatibility.md
	@mkdir -p docs
	CALLGATE_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target)/debug/callgate) $(CARGO) run --quiet --package callgate-conformance \
		$(if $(HAS_NODE),--features node) -- docs/compatibility.json
	$(PYTHON) scripts/compatibility.py

test-timing: ## Measure whether the time of a refusal tells who exists (four minutes; a quiet machine)
	$(CARGO) run --release --package callgate-bench -- timing

test-overload: ## Offer four times the passwords that the cores can hash (one minute; a quiet machine)
	@$(PYTHON) scripts/tools.py nats-server
	$(CARGO) build --release --package callgate-server
	$(CARGO) run --release --package callgate-bench -- overload \
		--nats-server $(lastword $(sort $(wildcard $(or $(CALLGATE_TOOLS),.tools)/nats-server/2.*/nats-server)))

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Check format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

ci: ## Everything that must hold before a change is taken
	@.ci/run
