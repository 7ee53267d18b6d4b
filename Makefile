# What can be done here, one word each. `make lab` and `make test` are all a newcomer needs: both
# first install what the machine lacks (scripts/setup), and both work on a fresh Debian 12 with
# rustup. Everything else is cargo, and can be done without make.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One place for everything that is built, whatever the user's cargo is configured to do.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Where rustup puts cargo: a shell that is not a login shell may not know it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Seconds that `make fuzz` spends on each target.
FUZZ_SECONDS ?= 60

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1#\2/p' $(MAKEFILE_LIST) | \
		awk -F'#' '{ printf "%-14s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## Install with apt what the machine lacks; silent when that is nothing
	@scripts/setup

.PHONY: lab
lab: build ## Who reaches whom in every mode, and at what cost: umacvlan lab
	$(CARGO_TARGET_DIR)/release/umacvlan lab

# The benches run once each, to see that they still do; the target directory is shared with the
# tests, so that costs little.
.PHONY: test
test: setup ## Everything a change has to pass: format, lints, tests, documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace
	cargo test --locked --workspace --bench '*'
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: build
build: setup ## Build target/release/umacvlan
	cargo build --locked --release

.PHONY: bench
bench: setup ## Measure decisions and the engine in memory, with criterion
	cargo bench --locked --workspace --bench '*'

.PHONY: fmt
fmt: ## Format all code
	cargo fmt --all

.PHONY: fuzz
fuzz: setup ## Fuzz every target for FUZZ_SECONDS each; needs nightly and cargo-fuzz
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { \
		echo "make fuzz needs a nightly toolchain and cargo-fuzz, which are not installed for you:"; \
		echo "  rustup toolchain install nightly --profile minimal"; \
		echo "  cargo install cargo-fuzz"; \
		exit 1; } >&2
	@set -e; for target in $$(cargo +nightly fuzz list); do \
		echo "fuzz: $$target, $(FUZZ_SECONDS) s"; \
		cargo +nightly fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS); \
	done

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
