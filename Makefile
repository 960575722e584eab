# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := constraints/core.txt

.PHONY: help venv demo test test-engines engine-llama bench lint clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:[^#]*## */\t/' | expand -t 14

venv: .venv/installed  ## the environment, pinned by constraints/, without torch

.venv/installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bargein needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into .venv (about a minute)…"
	@$(PYTHON) -m venv .venv
	@$(PIP) install -q -c $(CONSTRAINTS) setuptools wheel
	@$(PIP) install -q -c $(CONSTRAINTS) --no-build-isolation -e '.[dev,vad-onnx]'
	@$(PIP) install -q -c $(CONSTRAINTS) --no-deps silero-vad
	@touch $@

demo: venv       ## a real call, talked over, on embedded engines
	@$(BIN)/bargein demo

test: venv       ## the default suite
	@$(BIN)/python -m pytest

test-engines: engine-llama  ## the tests of engines that make builds; 25 minutes at most, builds included
	@$(PIP) install -q -c $(CONSTRAINTS) -r constraints/test-engines.txt
	@$(BIN)/python -m pytest -n0 tests/engines

engine-llama: venv  ## llama-server, from the pinned source or the one on PATH
	@$(BIN)/python -P -m ops.build_llama

bench: venv      ## speed as ratios: JSON and a table
	@$(BIN)/bargein bench

lint: venv       ## ruff and mypy --strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:           ## remove what make made
	rm -rf .venv .engines var/calls var/journal var/transcripts var/run/* var/log/* *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
