# Two commands on a fresh machine with Python 3.11 to 3.13 and a package registry:
#   make demo    install, make pictures, read them, train, sample, score, report (about twelve minutes on 2 cores)
#   make test    install what tests need and run the whole suite

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.txtdiff
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Trust what the machine trusts, as pip does: a company's registry may have a certificate of its own.
export UV_SYSTEM_CERTS ?= 1
# Torch and what comes with it are three thousand files: read from source by every command, each would start
# seconds later. What was compiled once is kept, whatever this machine's own habit is.
unexport PYTHONDONTWRITEBYTECODE
# uv does not read pip's settings: hand on the registry that the machine names for pip.
ifeq ($(UV_DEFAULT_INDEX)$(UV_INDEX_URL),)
pip_index := $(or $(PIP_INDEX_URL),$(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null))
ifneq ($(pip_index),)
export UV_DEFAULT_INDEX := $(pip_index)
endif
endif

.PHONY: help demo test bench soak lint format clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

# uv installs in seconds; on a machine without it, pip brings it into .venv.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "txtdiff needs Python 3.11 to 3.13, and '$(PYTHON)' is not. Name another: make PYTHON=python3.12 ..."; exit 2; }
	@if command -v uv >/dev/null; then uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV); \
	 else $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	   echo "no environment could be made: install python3-venv (apt) or uv, then run make again"; exit 2; }; fi

$(STAMP)-demo: EXTRAS := offline
$(STAMP)-test: EXTRAS := offline,dev
$(STAMP)-demo $(STAMP)-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing txtdiff[$(EXTRAS)] into $(VENV) ..."
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV='$(CURDIR)/$(VENV)' uv pip install --quiet --constraints constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP)-demo  ## pictures in, leaderboard out: the main job on a small scale
	@./demo.sh

test: $(STAMP)-test  ## the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(STAMP)-test  ## measure, half an hour and more: benchmarks/RESULTS.md (ONLY=NAME: one alone)
	@$(BIN)/python benchmarks/run.py bench $(ONLY:%=--only %)

soak: $(STAMP)-test  ## kills, hostile pictures and odd input at length: benchmarks/RESULTS.md (ONLY=NAME: one alone)
	@$(BIN)/python benchmarks/run.py soak $(ONLY:%=--only %)

lint: $(STAMP)-test  ## format, lint, types, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP)-test  ## put every file into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the demo and the build made; the environment stays
	rm -rf demo build dist *.egg-info
