# `make train`, `make test`: the environment is made on first use and again when requirements.txt changes.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help train test test-all test-processors lint benchmark gpu reproduce collect tables docs lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

train: .venv/ready  ## train: QM9 homo with GIGP, or other settings with ARGS="dataset=... pool=..."
	@$(BIN)/python train.py dataset=qm9 pool=gigp $(ARGS)

test: .venv/ready lint  ## lint and the fast tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

test-all: .venv/ready lint  ## the slow tests too
	@$(BIN)/python -m pytest -q -m "not gpu and not network" $(ARGS)

# other processors: the oldest (no FMA in PyTorch, 8 emulated lanes in C), AVX2 without the C file, AVX-512 (16 lanes);
# three threads may have fewer cores, and do not spin
AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell
old := ATEN_CPU_CAPABILITY=default $(AVX2) GIGP_NATIVE_ARCH=x86-64 OMP_NUM_THREADS=1
avx2 := ATEN_CPU_CAPABILITY=avx2 $(AVX2) GIGP_NATIVE=0 OMP_NUM_THREADS=3 GOMP_SPINCOUNT=0
avx512 := GIGP_NATIVE_ARCH=x86-64-v4 OMP_NUM_THREADS=3 GOMP_SPINCOUNT=0
PROCESSORS := old avx2 $(if $(shell grep -m1 -o avx512vl /proc/cpuinfo 2>/dev/null),avx512)

test-processors: $(PROCESSORS:%=test-on-%)  ## the fast tests as other processors run them, one after the other; test-on-old: one

test-on-%: .venv/ready
	@echo "As on another processor ($*): $($*)"
	@env $($*) $(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

lint: .venv/ready  ## ruff and mypy: style, formatting and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/python -m mypy --no-error-summary

benchmark: .venv/ready  ## speed and memory; ARGS="--lieconv PATH --gigp PATH" measures the reference, too
	@$(BIN)/python -m scripts.benchmark $(ARGS)

gpu: .venv/ready  ## what one GPU does: tests, rates, parity, hours of paper-scale runs; DEVICE=cpu tries it in small
	@$(BIN)/python -m scripts.benchmark.gpu $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

reproduce: .venv/ready  ## run what TABLE lacks (all, or a name from results/tables), JOBS at a time; collect; make the tables
	@$(BIN)/python scripts/reproduce.py --table $(or $(TABLE),all) $(if $(SCALE),--scale $(SCALE)) --jobs $(or $(JOBS),1) $(ARGS)

collect: .venv/ready  ## put finished runs into results/records, the evidence of the study; ARGS="RUN ..."
	@$(BIN)/python scripts/collect.py $(ARGS)

tables: .venv/ready  ## tables and figures from results/records; FORMAT=latex OUT=DIR writes LaTeX
	@$(BIN)/python scripts/make_tables.py $(if $(FORMAT),--format $(FORMAT)) $(if $(OUT),--out $(OUT)) $(ARGS)

docs: .venv/ready  ## the site into site/, which opens without a server; NOTEBOOK=false shows the notebook as it is stored
	@NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 $(BIN)/python -m mkdocs build --quiet
	@echo "The site is at $(CURDIR)/site/index.html"

clean:  ## remove the environment, caches and the site; data, runs and checkpoints stay
	rm -rf .venv .venv.unfinished .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info site

lock:  ## pin the environment anew in requirements.txt; ARGS=--upgrade takes the newest versions
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--annotation-style line \
		--custom-compile-command "make lock" --extra dev pyproject.toml -o requirements.txt $(ARGS)

# An installation that was interrupted starts over: .venv.unfinished holds the process that began it.
.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "gigp needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	@if test -e .venv.unfinished; then \
		if kill -0 "$$(cat .venv.unfinished)" 2>/dev/null; then \
			echo "Process $$(cat .venv.unfinished) is installing .venv; wait for it."; exit 1; \
		fi; \
		rm -rf .venv; \
	fi
	@set -e; echo $$$$ > .venv.unfinished; \
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv; \
	echo "Installing the environment into .venv (about 6 GB with CUDA libraries; some minutes)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	rm .venv.unfinished; touch $@
