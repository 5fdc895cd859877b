# make serve   set everything up and serve the embedded demo model on 127.0.0.1:8080
# make test    set everything up and run lint, types, the import contract and all tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE_FLAGS ?=

# See the header: without it llama.cpp built by an older GCC crashes on CPUs with AMX.
AMX_FIX := -include $(CURDIR)/deploy/amx_tile_config.h
BUILD_ENV := CFLAGS="$(CFLAGS) $(AMX_FIX)" CXXFLAGS="$(CXXFLAGS) $(AMX_FIX)"

.PHONY: serve test lint types imports unit clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

serve: $(VENV)/.serve
	$(BIN)/llamapack serve $(SERVE_FLAGS)

test: lint types imports unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

# OpenMP's threads would spin at barriers while another process needs the core.
unit: $(VENV)/.dev
	GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "llamapack needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# llama-cpp-python comes as source: show its compiler at work, for it takes minutes the first time.
# Later installations find the result in pip's wheel cache.
$(VENV)/.llama: pyproject.toml | $(BIN)/python
	@echo "==> llama-cpp-python: compiled for this CPU, about 4 minutes on 2 cores, the first time"
	@$(BUILD_ENV) $(BIN)/python deploy/install_llama.py
	@touch $@

$(VENV)/.serve: $(VENV)/.llama
	@echo "==> llamapack and its libraries"
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.llama
	@echo "==> llamapack with its development tools"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.serve
