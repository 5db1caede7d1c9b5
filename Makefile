# Needs Rust, Python 3 and make. `make tools` installs everything else into .tools/.

PYTHON ?= python3
CARGO  ?= cargo

# Tests with Node.js clients run only where Node.js is installed; the output says so if they do not.
HAS_NODE   = $(wildcard $(or $(CALLGATE_TOOLS),.tools)/node/.stamp)
NODE_TESTS = $(if $(HAS_NODE),--features callgate-testkit/node --features callgate-authenticators/node --features callgate-server/node --features callgate-matrix/node --features callgate-faults/node)
# The real API server once `make test-kubernetes` has built it; until then a stand-in.
KUBERNETES = $(if $(wildcard $(or $(CALLGATE_TOOLS),.tools)/kubernetes/kube-apiserver),CALLGATE_TEST_KUBERNETES=real)
# Tests of Go snippets and examples run only where Go is installed,
GO_TESTS   = $(if $(wildcard $(or $(CALLGATE_TOOLS),.tools)/go/.stamp),--features callgate-authenticators/go --features callgate-server/go)
# those of the Java snippet only where a JDK and Maven are,
JAVA_TESTS = $(if $(wildcard $(or $(CALLGATE_TOOLS),.tools)/java/.stamp),--features callgate-server/java)
# tests against OpenLDAP only where `tools.py debian` has installed slapd,
SLAPD_TESTS = $(if $(wildcard $(or $(CALLGATE_TOOLS),.tools)/slapd/.stamp),--features callgate-authenticators/slapd --features callgate-server/slapd --features callgate-faults/slapd)
# tests with Prometheus,
PROMETHEUS_TESTS = $(if $(call HAS,prometheus),--features callgate-server/prometheus)
# and tests with databases only where they are installed,
HAS = $(wildcard $(or $(CALLGATE_TOOLS),.tools)/$(1)/.stamp)
DATABASES = $(if $(call HAS,postgresql),postgres) $(if $(call HAS,mariadb),mariadb) \
	$(if $(and $(call HAS,postgresql),$(call HAS,pgbouncer)),pgbouncer)
DATABASE_TESTS = $(foreach database,$(DATABASES),--features callgate-authenticators/$(database)) \
	$(if $(filter postgres,$(DATABASES)),--features callgate-server/postgres) \
	$(foreach database,$(filter postgres mariadb,$(DATABASES)),--features callgate-faults/$(database))
# faults of each of these,
FAULT_FEATURES = $(if $(HAS_NODE),--features node) $(if $(SLAPD_TESTS),--features slapd) \
	$(foreach database,$(filter postgres mariadb,$(DATABASES)),--features $(database))
# external test vectors only with CALLGATE_VECTORS=FOLDER,
VECTOR_TESTS = $(if $(CALLGATE_VECTORS),--features callgate-authenticators/vectors)
# and cells with nsc and the nats command line only where `tools.py go-tools` has compiled them.
HAS_GO_TOOLS = $(wildcard $(or $(CALLGATE_TOOLS),.tools)/go-tools/.stamp)
GO_TOOLS_TESTS = $(if $(HAS_GO_TOOLS),--features callgate-matrix/go-tools --features callgate-server/go-tools)

# One command for both: built separately, their dependencies would have different features.
BUILD_BENCH = $(CARGO) build --release --package callgate-server --package callgate-bench
RELEASE     = $(or $(CARGO_TARGET_DIR),target)/release

.DEFAULT_GOAL := help
.PHONY: help demo picture docs build test test-matrix test-faults test-kubernetes test-timing test-overload bench-operations bench-backends tools fuzz random release deb image fmt lint ci

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 24

demo: ## Start nats-server and Callgate with three users, and show the permissions of each
	@$(PYTHON) scripts/demo.py

picture: ## Draw the output of `make demo` again: docs/demo.svg
	@$(PYTHON) scripts/demo_picture.py

docs: ## Build the documentation site with mdBook, and check its links: target/site/index.html
	@$(PYTHON) scripts/site.py

build: ## Build the service: target/debug/callgate
	$(CARGO) build --workspace

tools: ## Install the servers and client libraries that tests need into .tools/
	@$(PYTHON) scripts/tools.py

test: tools ## Run every test, against real servers
	@$(MAKE) --no-print-directory test-only

test-kubernetes: ## Run the Kubernetes tests against a real kube-apiserver (built once, in ten minutes)
	@$(PYTHON) scripts/tools.py nats-server
	@$(PYTHON) scripts/kube_apiserver.py
	@$(PYTHON) scripts/helm.py check
	CALLGATE_TEST_KUBERNETES=real $(CARGO) test -p callgate-authenticators --features kubernetes --test kubernetes -- --test-threads=2
	CALLGATE_TEST_KUBERNETES=real $(CARGO) test -p callgate-server --features real-kubernetes --test kubernetes -- --test-threads=2

.PHONY: test-only
test-only:
	$(CARGO) test --workspace --no-fail-fast --features callgate-authenticators/kubernetes $(NODE_TESTS) $(GO_TESTS) $(JAVA_TESTS) $(SLAPD_TESTS) $(PROMETHEUS_TESTS) $(DATABASE_TESTS) $(GO_TOOLS_TESTS) $(VECTOR_TESTS)
	@echo "NOT RUN: the long faults (make test-faults; the quick faults ran)"
	@echo "NOT RUN: tests against a real kube-apiserver (make test-kubernetes; a stand-in was used)"
	@echo "NOT RUN: measurements that need an idle machine: duration of refusals (make test-timing), overload (make test-overload)"
	@$(if $(VECTOR_TESTS),,echo "NOT RUN: Wycheproof vectors of web signatures and keys (CALLGATE_VECTORS is not set)")
	@$(if $(NODE_TESTS),,echo "NOT RUN: tests with Node.js clients (Node.js is not installed)")
	@$(if $(GO_TESTS),,echo "NOT RUN: tests of Go snippets and examples (Go is not installed)")
	@$(if $(JAVA_TESTS),,echo "NOT RUN: tests of the Java snippet (a JDK and Maven are not installed)")
	@echo "NOT RUN: the .NET snippet (no package registry has the .NET SDK)"
	@$(if $(SLAPD_TESTS),,echo "NOT RUN: tests against OpenLDAP (slapd is not installed)")
	@$(if $(PROMETHEUS_TESTS),,echo "NOT RUN: tests of alerts and the dashboard with Prometheus (it is not installed)")
	@$(if $(filter postgres,$(DATABASES)),,echo "NOT RUN: tests with PostgreSQL (it is not installed)")
	@$(if $(filter mariadb,$(DATABASES)),,echo "NOT RUN: tests with MariaDB (it is not installed)")
	@$(if $(filter pgbouncer,$(DATABASES)),,echo "NOT RUN: tests with PgBouncer (it is not installed)")
	@$(if $(GO_TOOLS_TESTS),,echo "NOT RUN: tests with nsc and the nats command line (scripts/tools.py go-tools)")

test-matrix: tools build ## Run every mode, connection type and server line; writes docs/compatibility.md
	@mkdir -p docs
	@$(PYTHON) scripts/tools.py go-tools || echo "NOT RUN: cells with nsc and the nats command line"
	@$(MAKE) --no-print-directory test-matrix-only

.PHONY: test-matrix-only
test-matrix-only:
	CALLGATE_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target)/debug/callgate) $(CARGO) run --quiet --package callgate-matrix \
		$(if $(HAS_NODE),--features node) $(if $(HAS_GO_TOOLS),--features go-tools) -- docs/compatibility.json

fuzz: ## Fuzz every parser of untrusted input, five minutes per target (SECONDS=300)
	@$(PYTHON) scripts/fuzz.py --seconds $(or $(SECONDS),300)

random: ## Decide a million random requests with overflow checks, ten minutes (REQUESTS=1000000)
	CALLGATE_RANDOM_REQUESTS=$(or $(REQUESTS),1000000) $(CARGO) test -p callgate-authenticators \
		--features kubernetes --test random_requests -- --nocapture

release: ## Build the release binary reproducibly, with its digest and bill of materials, into dist/
	$(PYTHON) scripts/release.py build dist

deb: release ## Build a Debian package of the release binary, into dist/
	$(PYTHON) scripts/deb.py build dist

image: ## Build the container image without Docker, and run it: dist/callgate-VERSION.oci.tar
	$(PYTHON) scripts/image.py build

test-faults: tools build ## Play every fault with real parts (15 minutes); writes docs/reliability.md
	$(CARGO) build --quiet --package callgate-faults --bins $(FAULT_FEATURES)
	$(KUBERNETES) CALLGATE_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target)/debug/callgate) \
		$(or $(CARGO_TARGET_DIR),target)/debug/callgate-faults docs/reliability.json

test-timing: ## Measure whether the duration of a refusal reveals which users exist (4 minutes, idle machine)
	$(BUILD_BENCH)
	$(RELEASE)/callgate-bench timing

test-overload: ## Send four times the passwords that a core can hash (1 minute, two cores, idle machine)
	@$(PYTHON) scripts/tools.py nats-server
	$(BUILD_BENCH)
	$(RELEASE)/callgate-bench overload --apart \
		--nats-server $(lastword $(sort $(wildcard $(or $(CALLGATE_TOOLS),.tools)/nats-server/2.*/nats-server)))

bench-operations: ## Measure what locks, sessions, audit and policy tools cost (30 minutes, idle machine)
	@$(PYTHON) scripts/tools.py nats-server
	$(PYTHON) bench/operations.py --record
	$(PYTHON) bench/report.py

bench-backends: ## Measure logins that ask a backend, beside the same in Go (15 minutes, idle machine)
	@$(PYTHON) scripts/tools.py nats-server
	@$(PYTHON) scripts/tools.py debian postgresql slapd
	$(PYTHON) bench/backends.py --record
	$(PYTHON) bench/report.py

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Check format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

ci: ## Run every check that a change must pass
	@.ci/run
