# Thin faces over Meson; tools/dev and tools/test hold the logic. `make help` lists the targets.
BUILD ?= build
DEV   ?= build-dev
JOBS  ?= $(shell nproc)
PREFIX ?= /usr/local

.PHONY: help deps build dev demo test test-full test-clients bench check fuzz install clean

help:
	@echo "make deps     install what the build and the tests need (Debian packages, npm protos, a venv)"
	@echo "make build    release build: $(BUILD)/cuspd $(BUILD)/cusp $(BUILD)/cusp-runner"
	@echo "make demo     the main road: a dataset, a training pipeline, a scikit-learn model in the registry"
	@echo "make test     all tests (sanitizer build in $(DEV)); TESTS=... narrows the Python part"
	@echo "make test-full    the same with CUSP_EXTENDED=1: every image, floods, kill points, clients; hours"
	@echo "make test-clients  the official clients, all languages and the OCI suite: installs what they need, prints the score table"
	@echo "make bench    figures beside their peers, as a table"
	@echo "make check    floors, headers, banned calls, format, shell, spelling"
	@echo "make fuzz     every fuzz target for FUZZ_SECONDS (default 60) each"
	@echo "make install  PREFIX=/usr/local DESTDIR="

deps:
	@tools/dev deps

build:
	@tools/dev deps build run
	@tools/dev build release $(BUILD)

dev: deps
	@tools/dev build dev $(DEV)

demo: build
	@tools/demo $(BUILD)

test: dev build
	@tools/test quick $(DEV) $(BUILD)

test-full: dev build
	@tools/dev deps clients
	@tools/test full $(DEV) $(BUILD)

test-clients: build
	@tools/dev deps clients
	@tools/test-clients $(BUILD) $(CLIENTS)
	@$(if $(CLIENTS),:,tools/test clients $(BUILD) $(BUILD))

bench: build
	@tools/bench $(BUILD)

check: deps
	@tools/check

fuzz:
	@tools/dev deps build fuzz
	@tools/fuzz $${FUZZ_SECONDS:-60}

# Where things go is decided when the build folder is configured: a prefix that is set afterwards is not seen by install.
install: build
	@meson setup --reconfigure $(BUILD) --prefix=$(PREFIX) >$(BUILD)/install.log || { cat $(BUILD)/install.log >&2; exit 1; }
	@tools/dev build release $(BUILD)
	@meson install -C $(BUILD) --no-rebuild --quiet $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))
	@echo "installed below $(DESTDIR)$(PREFIX): bin/cusp bin/cuspd; man cusp, man cuspd; systemctl enable --now cuspd"

clean:
	rm -rf $(BUILD) $(DEV) build-fuzz
