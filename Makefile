# Wattle. `make demo` and `make test` set up what is missing by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where cargo builds, and where tools that no package brings are kept.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export WATTLE_TOOLS ?= $(CARGO_TARGET_DIR)/tools
export WATTLE_POLICIES ?= $(CARGO_TARGET_DIR)/policies
export PATH := $(WATTLE_TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)

BIN := $(CARGO_TARGET_DIR)/debug
POLICY_SOURCES := $(shell find sdk/wit sdk/policy sdk/policy-build sdk/toolchain policies -type f 2>/dev/null)

.PHONY: help setup setup-check build policies kafka languages demo real compare sim torture test test-line test-parts test-kafka check fmt bench hakari clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: ## Install what building, running and testing need (Debian 12, as root or with sudo)
	@deploy/setup/packages.sh

policies: setup $(WATTLE_POLICIES)/.built ## Build the policies to WebAssembly components

$(WATTLE_POLICIES)/.built: $(POLICY_SOURCES)
	@sdk/toolchain/build-policies.sh
	@touch $@

kafka: setup $(WATTLE_TOOLS)/kafka/.fetched ## Fetch Apache Kafka, for the tests

$(WATTLE_TOOLS)/kafka/.fetched: tests/kafka/pom.xml
	@rm -rf "$(@D)" && mkdir -p "$(@D)"
	@mvn -q -B -l "$(@D)/fetch.log" -f $< dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory="$(abspath $(@D))" >/dev/null || { cat "$(@D)/fetch.log"; exit 1; }
	@touch $@

languages: setup ## Install what policies in C, JavaScript and Python are built with
	@sdk/toolchain/languages.sh

build: setup ## Build every program
	@cargo build --workspace --bins

demo: build policies ## Play a site of one meter and three chargers, with an outage, down to the receipts
	@$(BIN)/wattle demo

real: build policies ## Run the real sessions in TRACES=DIR through the whole line
	@test -n "$(TRACES)" || { echo "say where the traces are: make real TRACES=DIR"; exit 2; }
	@deploy/real/run.sh "$(TRACES)"

torture: build policies kafka ## Kill every process at random moments and count what is lost (KILLS=200 SEED=n WAY=kafka)
	@$(BIN)/wattle-torture --kills $(or $(KILLS),200) --way $(or $(WAY),kafka) $(if $(SEED),--seed $(SEED))

compare: build policies ## Run the real sessions in TRACES=DIR under each policy, and write docs/policies/comparison.md (MONTH=2019-07 JOBS=n)
	@test -n "$(TRACES)" || { echo "say where the traces are: make compare TRACES=DIR"; exit 2; }
	@deploy/real/compare.sh "$(TRACES)"

test: check policies kafka languages ## Check and test everything
	@cargo build --workspace --bins
	@cargo test --workspace --no-run --quiet
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-line test-parts

# The tests of the line wait for processes more than they compute, so the others run beside them; with the feature that
# building the whole workspace turns on, so that nothing is built twice.
LINE_TESTS := wattle-line-tests wattle-torture

test-line:
	@cargo test $(addprefix -p ,$(LINE_TESTS)) --features wattle-edge/testing --no-fail-fast

test-parts:
	@cargo test --workspace $(addprefix --exclude ,$(LINE_TESTS)) --no-fail-fast

test-kafka: kafka ## Run only the suite of the ways up: direct, on a mock of Kafka, on Apache Kafka itself
	@cargo test -p wattle-line-tests --test uplinks

check: setup setup-check ## Formatting, lints, dependencies, documentation
	@cargo fmt --all --check
	@deploy/real/compare.sh --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@cargo clippy -p wattle-edge --lib --no-default-features -- -D warnings
	@cargo deny --log-level error check bans licenses sources
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet

setup-check:
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked --version 0.20.2 --root "$(WATTLE_TOOLS)" --target-dir "$(WATTLE_TOOLS)/build" --quiet

sim: ## Run the whole line on virtual time with SEEDS=n seeds (default 1000), or SEED=n alone
	@cargo run --quiet -p wattle-sim -- $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --from $(or $(FROM),0))

fmt: ## Format everything
	@cargo fmt --all

bench: setup policies ## Measure, each figure beside its limit or peer (ONLY=name for one)
	@benchmarks/peer/setup.sh
	@cargo build --release --workspace --bins
	@"$(CARGO_TARGET_DIR)/release/wattle-bench" $(if $(ONLY),--only $(ONLY))

hakari: ## Write sdk/hack anew after a change of dependencies
	@command -v cargo-hakari >/dev/null || cargo install cargo-hakari --locked --root "$(WATTLE_TOOLS)" --target-dir "$(WATTLE_TOOLS)/build" --quiet
	@cargo hakari generate

clean: ## Remove what was built
	@cargo clean
