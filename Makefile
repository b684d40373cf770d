# Loam's commands. `make` lists them.
#
# RocksDB takes about 20 CPU-minutes to compile, so it is compiled once: every cargo call below has the same profile
# (--release), the same features (--workspace) and the same environment (deps.sh), and writes to one build folder
# outside the checkout, which all checkouts of a user share. A tidy test holds the features to that.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help deps env demo demo-takes build build-cuda check test test-long test-emulated-goldens bench fuzz cuda-toolchain \
        gpu-probe gpu-bundle gpu-check dist clean

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/loam/target

ENV   := .tools/deps.sh run
CARGO := $(ENV) cargo
WHOLE := --release --workspace --locked
SAY   := printf '\n== %s\n'

PROGRAMS     := loam loam-audit loam-bench loam-demo
FUZZ_CRATES   = ledger/core ledger/datanet engine engine/server/wire
FUZZ_TARGETS  = $(foreach crate,$(FUZZ_CRATES),$(wildcard $(crate)/fuzz/fuzz_targets/*.rs))
FUZZ_SECONDS ?= 60
# Kernels are compiled once more on their own, for an emulated GPU and, where nvcc can be had, for a real one: `check`
# fetches it (109 MB, once, some seconds), and without network goes on without. Compiling takes about 3 CPU-minutes when a
# kernel has changed. Neither reaches anything of RocksDB.
KERNELS       = --release -p loam-kernels --locked
# Whole engines and servers on an emulated GPU. The selection is the whole one, so that nothing of other people's crates is
# compiled again, and RocksDB not at all: only the kernels, and what stands on them.
EMULATED      = $(WHOLE) --features loam/rehearse --test whole --test rehearsed
# The programs with kernels for GPUs. Nothing of other people's crates differs, so RocksDB is the same.
CUDA          = $(WHOLE) --features loam/cuda,loam-benches/cuda
NVCC          = "$$(.tools/cuda.sh folder)/bin/nvcc"
ROCKSDB_BUILT = $(wildcard $(CARGO_TARGET_DIR)/release/build/librocksdb-sys-*/out/librocksdb.a)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name line; do \
	    printf 'make %-22s %s\n' "$$name" "$$line"; \
	done
	@$(if $(ROCKSDB_BUILT),,echo "The first build compiles RocksDB: about 20 CPU-minutes, once.")

deps: ## look for what the build needs (C++20 compiler, libclang) and install what is missing
	@.tools/deps.sh install
	@$(if $(ROCKSDB_BUILT),,echo "deps: RocksDB   not built yet in $(CARGO_TARGET_DIR): the first build takes about 20 CPU-minutes, once")

env: ## make -s env: export lines, so that plain cargo shares this build: eval "$(make -s env)"
	@printf 'export CARGO_TARGET_DIR=%q\n' "$$CARGO_TARGET_DIR"
	@.tools/deps.sh env

# How long it takes is said before anything is done. A model of your own: make demo MODEL=DIR; it gets random adapters.
demo: demo-takes build ## a server on the bundled model: four answers at once, a receipt of each, an audit (MODEL=DIR: on any model)
	@LOAM_BIN="$(CURDIR)/.bin" .bin/loam-demo $(if $(MODEL),--model "$(MODEL)")

demo-takes:
	@$(if $(ROCKSDB_BUILT),,echo "demo: the first build compiles RocksDB: about 20 CPU-minutes, once")
	@echo "demo: the demo itself takes some seconds; a build after changes to sources some minutes"

# The build folder is shared, so programs are used from .bin/ only. A rename swaps them whole, also under a running one.
build: deps ## programs into ./.bin/
	@$(SAY) "build: $(strip $(PROGRAMS)) into .bin/"
	@$(CARGO) build $(WHOLE)
	@$(INSTALL)

INSTALL = mkdir -p .bin; \
	for program in $(PROGRAMS); do \
	    install -m755 "$$CARGO_TARGET_DIR/release/$$program" ".bin/.$$program.new"; \
	    mv -f ".bin/.$$program.new" ".bin/$$program"; \
	done

build-cuda: deps ## the same programs, with kernels for NVIDIA GPUs; fetches nvcc where it is missing (109 MB, once)
	@$(SAY) "build-cuda: $(strip $(PROGRAMS)) into .bin/"
	@.tools/cuda.sh install
	@$(CARGO) build $(CUDA)
	@$(INSTALL)

check: deps ## format, lints, documentation, licences and repository rules; every warning is an error
	@$(SAY) "check: format (make the change with: cargo fmt --all)"
	@$(CARGO) fmt --all --check
	@$(SAY) "check: the compiler for GPUs"
	@.tools/cuda.sh install || echo "check: without it nothing here says whether the kernels compile for a GPU"
	@$(SAY) "check: lints"
	@$(CARGO) clippy $(WHOLE) --all-targets -- -D warnings
	@$(SAY) "check: lints of the kernels, emulated, and of tests of engines over them"
	@$(CARGO) clippy $(KERNELS) --features emulate --all-targets -- -D warnings
	@$(CARGO) clippy $(KERNELS) --features rehearse --all-targets -- -D warnings
	@$(CARGO) clippy $(EMULATED) -- -D warnings
	@if [[ -x $(NVCC) ]]; then \
	    $(SAY) "check: the kernels for a GPU: lints, registers, spills, instructions (kernels/tests/resources.txt)"; \
	    $(CARGO) clippy $(KERNELS) --features cuda --all-targets -- -D warnings; \
	    $(CARGO) clippy $(KERNELS) --features interpret --all-targets -- -D warnings; \
	    $(CARGO) clippy $(CUDA) --all-targets -- -D warnings; \
	    $(CARGO) test $(KERNELS) --features cuda --test resources; \
	fi
	@$(SAY) "check: documentation"
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(WHOLE) --no-deps
	@$(SAY) "check: licences and repository rules (engine/server/tests/tidy.rs)"
	@$(CARGO) test $(WHOLE) --test tidy -- --quiet

# nextest runs no documentation tests, so cargo does, and first: the last lines of the output are then the summary.
# Some tests ask the programs themselves, from .bin/ and never from the build folder, which other checkouts share.
test: export LOAM_BIN := $(CURDIR)/.bin
test: build ## the fast tier of tests
	@$(SAY) "test: examples in the documentation"
	@$(CARGO) test $(WHOLE) --doc --quiet
	@$(SAY) "test: $${LOAM_TEST_TIER:-fast} tier"
	@if cargo nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run $(WHOLE); \
	else \
	    $(CARGO) test $(WHOLE) --tests --no-fail-fast; \
	fi
	@$(SAY) "test: the kernels on an emulated GPU"
	@if cargo nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run $(KERNELS) --features emulate --test emulation --test conformance \
	        -E 'binary(emulation) | test(/^(invariance::)?emulated::/)'; \
	else \
	    $(CARGO) test $(KERNELS) --features emulate --test emulation && \
	    $(CARGO) test $(KERNELS) --features emulate --test conformance emulated::; \
	fi
	@$(TEST_INTERPRETED)
	@$(TEST_REHEARSED)
	@$(TEST_EMULATED)
	@$(TEST_CUDA)

# What nvcc made of the kernels, interpreted: the very tests that a GPU is asked for. Sequences take minutes, so the fast
# tier has one of them.
TEST_INTERPRETED = if [[ -x $(NVCC) ]]; then \
	    $(SAY) "test: the kernels as nvcc compiled them, interpreted, $${LOAM_TEST_TIER:-fast} tier"; \
	    export LOAM_TEST_GPU=required; \
	    [[ $${LOAM_TEST_TIER:-fast} == long ]] && invariance=. || invariance='$(INTERPRETED)'; \
	    if cargo nextest --version >/dev/null 2>&1; then \
	        $(CARGO) nextest run $(KERNELS) --features interpret --test interpreted --test conformance \
	            -E "binary(interpreted) | test(/^gpu::/) | test(/^invariance::gpu::$$invariance/)"; \
	    else \
	        $(CARGO) test $(KERNELS) --features interpret --test interpreted && \
	        $(CARGO) test $(KERNELS) --features interpret --test conformance gpu:: -- \
	            --skip invariance::gpu::attention --skip invariance::gpu::forward; \
	    fi; \
	fi
INTERPRETED = (adapters|crowd|dense|sampling|forward::in_a_crowd_in_chunks$$)

# What talks to a GPU's driver, over a stand-in for it: where memory, streams, recorded steps and the library of products
# matter. Whole engines and servers are tested over it too.
TEST_REHEARSED = $(SAY) "test: what talks to a GPU's driver, over a stand-in"; \
	if cargo nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run $(KERNELS) --features rehearse --test rehearsal --test emulation --test conformance \
	        -E 'binary(rehearsal) | test(/^(replays|sequence)::/) | test(/^emulated::.*::($(REHEARSED))$$/)'; \
	else \
	    $(CARGO) test $(KERNELS) --features rehearse --test rehearsal && \
	    $(CARGO) test $(KERNELS) --features rehearse --test emulation -- replays:: sequence:: && \
	    $(CARGO) test $(KERNELS) --features rehearse --test conformance emulated::; \
	fi
REHEARSED = memories|inside_a_run|take_tokens|linear|log_probability_of|lora_uniform|attention_mixed|sample_everything

# Of a program that was built for GPUs, where there is none. `check` looks at the kernels themselves.
TEST_CUDA = if [[ -x $(NVCC) ]]; then \
	    $(SAY) "test: a program for GPUs, where there is none"; \
	    $(CARGO) test $(KERNELS) --features cuda --lib cuda::; \
	    $(CARGO) test $(CUDA) --test cuda; \
	fi

TEST_EMULATED = $(SAY) "test: whole engines and servers on an emulated GPU, $${LOAM_TEST_TIER:-fast} tier"; \
	if cargo nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run $(EMULATED) -E 'test(/^emulated::/) | binary(rehearsed)'; \
	else \
	    $(CARGO) test $(EMULATED) emulated:: && $(CARGO) test $(WHOLE) --features loam/rehearse --test rehearsed; \
	fi

test-emulated-goldens: export LOAM_TEST_TIER  := long
test-emulated-goldens: export NEXTEST_PROFILE := patient
test-emulated-goldens: deps ## all golden models through whole engines on an emulated GPU; a part of test-long
	@$(TEST_EMULATED)
	@if [[ -x $(NVCC) ]]; then \
	    $(SAY) "test: golden models through whole engines, with the kernels as nvcc compiled them, interpreted"; \
	    LOAM_TEST_GPU=required $(CARGO) test $(WHOLE) --features loam/interpret --test whole gpu::; \
	fi
	@$(SAY) "test: what loam-bench measures of a GPU, tiny, on an emulated one"
	@$(CARGO) test $(WHOLE) --features loam-benches/emulate --test table --test site emulated::

# The tests themselves read LOAM_TEST_TIER; the nextest profile is about patience and selects nothing.
test-long: export LOAM_TEST_TIER  := long
test-long: export NEXTEST_PROFILE := patient
test-long: export PROPTEST_CASES  ?= 4096
test-long: test fuzz ## every test at full size, then fuzzing; may take hours
	@export LOAM_DRIVER_PACE=late; $(TEST_REHEARSED)
	@export LOAM_DRIVER_PACE=late; $(TEST_EMULATED)
	@export LOAM_DRIVER_PACE=at_once; $(TEST_REHEARSED)
	@export LOAM_DRIVER_PACE=at_once; $(TEST_EMULATED)

bench: build ## figures, into benches/results/ (half an hour; leave the machine alone meanwhile)
	@$(SAY) "bench: the kernels, on all cores"
	@.bin/loam-bench --results benches/results kernels
	@$(SAY) "bench: the engine, on all cores"
	@.bin/loam-bench --results benches/results engine
	@$(SAY) "bench: the ledger, on the disk that this folder lies on"
	@.bin/loam-bench --results benches/results ledger
	@$(SAY) "bench: rewards, an epoch of a million answers"
	@.bin/loam-bench --results benches/results rewards
	@$(SAY) "bench: the server, with its ledger and without"
	@.bin/loam-bench --results benches/results serve

# A fuzzer needs nightly's sanitizers, hence another compiler and a build folder of its own. It starts from the corpus
# in the repository and keeps what it finds beside its build, so that a run leaves the checkout as it was.
fuzz: ## fuzz each decoder of the ledger, and each reader of datasets, engine and server, for FUZZ_SECONDS (60)
	@$(SAY) "fuzz: $(notdir $(basename $(FUZZ_TARGETS))) ($(FUZZ_SECONDS) s each)"
	@if ! cargo +nightly fuzz --version >/dev/null 2>&1; then \
	    echo "fuzzing needs cargo-fuzz and a nightly compiler. Install them with:"; \
	    echo "    rustup toolchain install nightly --profile minimal && cargo install --locked cargo-fuzz"; \
	    exit 1; \
	fi
	@for path in $(FUZZ_TARGETS); do \
	    target="$$(basename "$$path" .rs)"; crate="$${path%/fuzz/fuzz_targets/*}"; \
	    found="$$CARGO_TARGET_DIR/fuzz/corpus/$$target"; corpus="$(CURDIR)/$$crate/fuzz/corpus/$$target"; \
	    mkdir -p "$$found" "$$corpus"; \
	    (cd "$$crate" && cargo +nightly fuzz run --target-dir "$$CARGO_TARGET_DIR/fuzz" "$$target" "$$found" "$$corpus" \
	        -- -max_total_time=$(FUZZ_SECONDS)); \
	done

# Only the `cuda` feature of loam-kernels needs it; without, everything else is built and tested all the same.
cuda-toolchain: ## nvcc, pinned, into the user's cache (LOAM_CUDA=DIR: another toolkit)
	@.tools/cuda.sh install

gpu-probe: cuda-toolchain ## .bin/gpu_probe: what a GPU can do at best, in under five minutes; the first thing to run on one
	@$(SAY) "gpu-probe: kernels/cuda/gpu_probe.cu into .bin/"
	@.tools/cuda.sh probe .bin/gpu_probe

# The programs are those of this checkout, with kernels for GPUs: RocksDB is not compiled again, all that is ours is.
gpu-bundle: deps cuda-toolchain ## .gpu/loam-gpu-COMMIT.tar.gz: all that a machine with a GPU needs, at most 40 MiB (PEERS=no: less)
	@$(SAY) "gpu-bundle: probe, tests, golden models, loam-gpu-bench and gpu-check into .gpu/"
	@PEERS="$(PEERS)" $(ENV) .tools/gpu-bundle.sh make

# Carried elsewhere it needs no make: the script in the bundle is the same.
gpu-check: gpu-bundle ## runs the bundle on this machine's GPU; without one says what to carry where (STAGES="probe table")
	@if nvidia-smi --list-gpus 2>/dev/null | grep -q .; then \
	    .gpu/loam-gpu/gpu-check --out .gpu/results $(STAGES); \
	else \
	    echo "gpu-check: no GPU here, so nothing was measured. On a machine with an NVIDIA GPU (Linux, x86-64, driver 580"; \
	    echo "    or later; nothing to install), put $$(ls -t .gpu/loam-gpu-*.tar.gz | head -n1) anywhere and:"; \
	    echo "        tar xzf loam-gpu-*.tar.gz && loam-gpu/gpu-check --out results"; \
	    echo "    then bring results/*.md and *.json into benches/results/."; \
	    exit 1; \
	fi

# The same commit and compiler give the same bytes: sorted names, no owner, the commit's time. The demo stays with the
# repository, whose model it shows.
dist: NAME = loam-$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)-$(shell uname -s -m | tr 'A-Z ' 'a-z-')
dist: build ## stripped programs, README, LICENSE and FORMAT as an archive with SHA256SUMS, into ./.dist/
	@$(SAY) "dist: .dist/$(NAME).tar.gz"
	@rm -rf .dist
	@mkdir -p ".dist/$(NAME)"
	@install -m755 --strip $(addprefix .bin/,$(filter-out loam-demo,$(PROGRAMS))) ".dist/$(NAME)/"
	@install -m644 README.md LICENSE ledger/FORMAT.md ".dist/$(NAME)/"
	@tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
	    -C .dist -c "$(NAME)" | gzip -9n >".dist/$(NAME).tar.gz"
	@rm -r ".dist/$(NAME)"
	@cd .dist && sha256sum "$(NAME).tar.gz" | tee SHA256SUMS

clean: ## remove what was made from our own sources; RocksDB stays built
	@rm -rf .bin .dist .gpu/loam-gpu*
	@cargo clean --release --workspace
	@echo "RocksDB stays built; to remove it too: rm -r $(CARGO_TARGET_DIR)"
