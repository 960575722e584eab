# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := constraints/core.txt
ENGINE_PIP = $(@D)/bin/python -m pip --disable-pip-version-check install -q -c constraints/$(notdir $(@D)).txt
NO_CUDA_FOR_NOTHING = command -v nvidia-smi >/dev/null || ! $(@D)/bin/python -m pip list | grep -q '^nvidia-' || { echo \
  "no graphics card here, but pip chose torch with CUDA: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds and run make again" >&2; \
  rm -rf $(@D); exit 1; }

.PHONY: help venv demo test bench lint clean engine-chatterbox engine-llama engine-moonshine engine-nemo engine-smart-turn gpu-check test-engines

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
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

engine-chatterbox: .engines/chatterbox/installed  ## the voice Chatterbox, in an environment of its own

.engines/chatterbox/installed: pyproject.toml constraints/chatterbox.txt
	@echo "installing Chatterbox into .engines/chatterbox (a few minutes, 2 GB)…"
	@$(PYTHON) -m venv .engines/chatterbox
	@$(ENGINE_PIP) torch 'setuptools<81' wheel
	@$(NO_CUDA_FOR_NOTHING)
	@$(ENGINE_PIP) --no-deps chatterbox-tts resemble-perth torchaudio s3tokenizer
	@$(ENGINE_PIP) librosa transformers diffusers conformer safetensors pyloudnorm omegaconf einops onnx soundfile
	@$(ENGINE_PIP) --no-build-isolation -e . pytest pytest-asyncio pytest-timeout
	@touch $@

engine-nemo: .engines/nemo/installed  ## recognisers of NeMo, in an environment of their own

.engines/nemo/installed: pyproject.toml constraints/nemo.txt
	@echo "installing NeMo into .engines/nemo (a few minutes, 2 GB)…"
	@$(PYTHON) -m venv .engines/nemo
	@$(ENGINE_PIP) torch 'setuptools<81' wheel
	@$(NO_CUDA_FOR_NOTHING)
	@$(ENGINE_PIP) 'nemo_toolkit[asr]'
	@$(ENGINE_PIP) --no-build-isolation -e . pytest pytest-asyncio pytest-timeout
	@touch $@

test-engines: engine-llama engine-chatterbox engine-nemo engine-smart-turn engine-moonshine  ## the large engines, each in its environment
	@$(PIP) install -q -c $(CONSTRAINTS) -r constraints/test-engines.txt
	@$(BIN)/python -m pytest tests/engines/test_llama.py tests/engines/test_run_llama.py tests/engines/test_smart_turn.py \
	  tests/engines/test_moonshine.py
	@$(BIN)/python -m pytest tests/engine_conformance --engine stt:moonshine
	@.engines/chatterbox/bin/python -m pytest -o filterwarnings=ignore tests/engines/test_chatterbox.py
	@.engines/nemo/bin/python -m pytest -o filterwarnings=ignore tests/engines/test_nemo.py
	@$(BIN)/python -m pytest tests/engines/test_gpu_check.py

gpu-check: venv engine-nemo engine-chatterbox  ## the large engines on a graphics card, whole, against their bars
	@$(BIN)/python -P -m soak.gpu_check

engine-smart-turn: venv  ## the end of a turn by its sound: a model from the wheel of pipecat-ai, 11 MB
	@$(PIP) install -q -c $(CONSTRAINTS) --no-deps pipecat-ai

engine-moonshine: venv  ## a recogniser of people's English: a model from the wheel of moonshine-voice, 56 MB
	@$(PIP) install -q -c $(CONSTRAINTS) --no-deps moonshine-voice

engine-llama: venv  ## llama-server, from the pinned source or the one on PATH
	@$(BIN)/python -P -m ops.build_llama

bench: venv      ## speed as ratios: JSON and a table
	@$(BIN)/bargein bench

lint: venv       ## ruff and mypy --strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:           ## remove what make made
	rm -rf .venv .engines var/calls var/journal var/transcripts var/run/* var/log/* *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
