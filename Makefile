# What can be done here, one word each. `make lab` and `make test` are all a newcomer needs: both
# first install what the machine lacks (scripts/setup), and both work on a fresh Debian 12 with
# rustup. Everything else is cargo, and can be done without make.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One place for everything that is built, whatever the user's cargo is configured to do.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Where rustup puts cargo: a shell that is not a login shell may not know it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Where `make install` puts things; DESTDIR goes before all of it. A packager sets SBINDIR and the
# like one by one, and BINARY to package what has been built already.
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/umacvlan
# Where runtimes look for plugins; others look in /opt/cni/bin.
CNIDIR ?= $(PREFIX)/lib/cni
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
# Where Podman's netavark looks for plugins, whose names are those of its drivers.
NETAVARKDIR ?= $(PREFIX)/lib/netavark
# Where a link named ip is, which scripts find when the directory comes first in PATH.
IPDIR ?= $(PREFIX)/lib/umacvlan
BINARY ?= $(CARGO_TARGET_DIR)/release/umacvlan
CONFIG = $(SYSCONFDIR)/umacvlan/umacvlan.toml
MANUALS = $(notdir $(wildcard man/*.[58]))

# What `make guests` boots: versions of kernels as far as Debian has them, and words of scripts/guests.
KERNELS ?= 5.10 6.1 6.12 7.3
NICS ?= virtio-net virtio-net-iommu e1000 e1000e igb vmxnet3

# Seconds that `make fuzz` spends on each target.
FUZZ_SECONDS ?= 60

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1#\2/p' $(firstword $(MAKEFILE_LIST)) | \
		awk -F'#' '{ printf "%-20s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## Install with apt what the machine lacks; silent when that is nothing
	@scripts/setup

.PHONY: setup-tests
setup-tests:
	@scripts/setup tests

.PHONY: lab
lab: build ## Who reaches whom in every mode, and at what cost: umacvlan lab
	$(CARGO_TARGET_DIR)/release/umacvlan lab

# Without its features it is Rust alone, and has to stay so; built apart from the workspace's tests,
# whose dependencies could bring a feature in again. The benches run once each, to see that they
# still do; the target directory is shared with the tests, so that costs little.
.PHONY: test
test: setup-tests ## Everything a change has to pass: format, lints, tests, documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets --no-default-features -- -D warnings
	cargo build --locked --no-default-features
	scripts/tests
	BINARY=$(CARGO_TARGET_DIR)/debug/umacvlan scripts/guests smoke
	cargo test --locked --workspace --bench '*'
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	scripts/instructions

.PHONY: instructions
instructions: setup-tests ## Compare instructions a frame with benches/instructions.tsv
	scripts/instructions

.PHONY: figures
figures: ## Write the tables of README.md and docs/benchmarks.md anew from docs/results
	FIGURES=write cargo test --locked --test manual figures

.PHONY: baseline
baseline: setup-tests ## Accept the instructions a frame as they are now
	scripts/instructions accept

# Test programs, cases and fuzz targets stay here: nobody depends on them.
.PHONY: crates
crates: setup ## Package every crate for a registry, and build each from its package
	cargo package --locked --workspace --exclude umacvlan-cases --exclude umacvlan-fuzz \
		--exclude umacvlan-testkit

.PHONY: build
build: setup ## Build target/release/umacvlan
	cargo build --locked --release

# What is installed is what was built: as root nothing is compiled, so `make` or `make build` first.
# A configuration that is there already is the administrator's, and stays. The installed program is
# stripped: line tables are for those who build it, and most of its size.
.PHONY: install
install: ## Install what `make build` built: PREFIX=/usr/local, DESTDIR=
	@test -x $(BINARY) || { echo "there is no $(BINARY): run make build first" >&2; exit 1; }
	install -Dm755 $(BINARY) $(DESTDIR)$(BINDIR)/umacvlan
	strip --strip-unneeded $(DESTDIR)$(BINDIR)/umacvlan
	install -d $(DESTDIR)$(CNIDIR)
	ln -sfr $(DESTDIR)$(BINDIR)/umacvlan $(DESTDIR)$(CNIDIR)/umacvlan-cni
	ln -sf umacvlan $(DESTDIR)$(BINDIR)/umacvlan-ip
	install -d $(DESTDIR)$(IPDIR)
	ln -sfr $(DESTDIR)$(BINDIR)/umacvlan $(DESTDIR)$(IPDIR)/ip
	install -d $(DESTDIR)$(NETAVARKDIR)
	ln -sfr $(DESTDIR)$(BINDIR)/umacvlan $(DESTDIR)$(NETAVARKDIR)/umacvlan-netavark
	ln -sfr $(DESTDIR)$(BINDIR)/umacvlan $(DESTDIR)$(NETAVARKDIR)/umacvlan
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(dir $(CONFIG))
	sed 's|/usr/bin/umacvlan|$(BINDIR)/umacvlan|' dist/umacvlan.service \
		>$(DESTDIR)$(UNITDIR)/umacvlan.service
	chmod 644 $(DESTDIR)$(UNITDIR)/umacvlan.service
	install -m644 dist/umacvlan.socket $(DESTDIR)$(UNITDIR)
	install -Dm644 dist/umacvlan.sysusers $(DESTDIR)$(SYSUSERSDIR)/umacvlan.conf
	install -Dm644 completions/umacvlan.bash $(DESTDIR)$(BASHDIR)/umacvlan
	install -Dm644 completions/umacvlan.zsh $(DESTDIR)$(ZSHDIR)/_umacvlan
	install -Dm644 completions/umacvlan.fish $(DESTDIR)$(FISHDIR)/umacvlan.fish
	set -e; for page in $(MANUALS); do \
		install -d $(DESTDIR)$(MANDIR)/man$${page##*.}; \
		gzip -9n <man/$$page >$(DESTDIR)$(MANDIR)/man$${page##*.}/$$page.gz; \
		chmod 644 $(DESTDIR)$(MANDIR)/man$${page##*.}/$$page.gz; \
	done
	install -Dm644 -t $(DESTDIR)$(DOCDIR) README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md \
		CITATION.cff LICENSE-APACHE LICENSE-MIT
	install -Dm644 -t $(DESTDIR)$(DOCDIR)/docs docs/*.md docs/recording.svg
	install -Dm644 -t $(DESTDIR)$(DOCDIR)/docs/results docs/results/*
	install -Dm644 -t $(DESTDIR)$(DOCDIR)/dist dist/umacvlan.service
	install -Dm644 -t $(DESTDIR)$(DOCDIR)/examples examples/umacvlan.toml
	test -e $(DESTDIR)$(CONFIG) || install -m644 dist/umacvlan.toml $(DESTDIR)$(CONFIG)
# The group that the configuration names; a packager's machine is not where it runs.
ifeq ($(DESTDIR),)
	getent group umacvlan >/dev/null || groupadd --system umacvlan
endif

.PHONY: uninstall
uninstall: ## Remove what `make install` put there, but for the configuration
	rm -f $(DESTDIR)$(BINDIR)/umacvlan $(DESTDIR)$(BINDIR)/umacvlan-ip $(DESTDIR)$(IPDIR)/ip \
		$(DESTDIR)$(CNIDIR)/umacvlan-cni \
		$(DESTDIR)$(NETAVARKDIR)/umacvlan-netavark $(DESTDIR)$(NETAVARKDIR)/umacvlan \
		$(DESTDIR)$(UNITDIR)/umacvlan.service $(DESTDIR)$(UNITDIR)/umacvlan.socket \
		$(DESTDIR)$(SYSUSERSDIR)/umacvlan.conf $(DESTDIR)$(BASHDIR)/umacvlan \
		$(DESTDIR)$(ZSHDIR)/_umacvlan $(DESTDIR)$(FISHDIR)/umacvlan.fish
	set -e; for page in $(MANUALS); do \
		rm -f $(DESTDIR)$(MANDIR)/man$${page##*.}/$$page.gz; \
	done
	rm -rf $(DESTDIR)$(DOCDIR)

.PHONY: deb
deb: ## Build target/umacvlan_VERSION_ARCH.deb; BINARY=FILE packages that file
ifeq ($(origin BINARY),file)
	@$(MAKE) build
endif
	scripts/deb $(BINARY) $(CARGO_TARGET_DIR)

.PHONY: bench
bench: setup ## Measure decisions and the engine in memory, with criterion
	cargo bench --locked --workspace --bench '*'

.PHONY: fmt
fmt: ## Format all code
	cargo fmt --all

.PHONY: fuzz
fuzz: ## Fuzz every target of crates/fuzz for FUZZ_SECONDS each; FUZZ="cni ip" only these
	@scripts/setup fuzz
	scripts/fuzz $(FUZZ_SECONDS) $(FUZZ)

# What Miri has no system calls for stays out: sockets, io_uring, namespaces. The pinned toolchain has
# no Miri, so this is the newest one.
.PHONY: miri
miri: ## The memory of the buffer pool and other unsafe code under Miri, with rustup's nightly
	@cargo +nightly miri --version >/dev/null 2>&1 || \
		{ echo "there is no Miri: rustup toolchain install nightly --component miri,rust-src" >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --no-default-features \
		--package umacvlan-sys --lib -- buffer_pool completion ethtool::receive interface_lock syscall_count

# With the debug assertions, of which those of the AF_XDP sockets add up their chunks in every turn.
.PHONY: guests
guests: build ## Other kernels and NICs, in virtual machines: KERNELS="6.1 7.3" NICS="igb e1000"; as root
	@scripts/setup guests
	BINARY=$(CARGO_TARGET_DIR)/release/umacvlan scripts/guests "$(KERNELS)" "$(NICS)"

.PHONY: soak
soak: setup ## Ten million frames through an AF_XDP uplink with faults, in a release build; as root
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true UMACVLAN_SOAK=10000000 \
		cargo test --locked --release -p umacvlan-engine --test xdp soak -- --nocapture

# The seed of a run is printed first; UMACVLAN_CHAOS_SEED=N repeats it.
.PHONY: chaos
chaos: setup-tests ## 15 minutes of tenants, restarts and faults at random, in a release build; as root
	UMACVLAN_CHAOS_SECONDS=900 UMACVLAN_CHAOS_ROUNDS=20 \
		cargo test --locked --release --test chaos -- --nocapture

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
