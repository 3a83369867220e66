# Each target sets up what it needs: a virtual environment in .venv and the package in it.
PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.core
READY := .venv/.ready
OLDEST := .venv/oldest
LMMS := .venv/lmms
# Processes that share the tests; 0 runs them in one, where a debugger can stop.
PYTEST_WORKERS ?= auto
# Bytecode is kept: each of the programs that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = python -m pytest --numprocesses $(PYTEST_WORKERS) --dist worksteal

.PHONY: quickstart test test-slow test-oldest test-all lmms test-lmms coverage check format gpu gpu-wheels clean help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

quickstart: $(CORE)  ## train a small model on scenes within minutes and write its report
	$(BIN)/genlip quickstart

test: $(READY)  ## run the tests
	$(BIN)/$(PYTEST)

test-slow: $(READY)  ## run the slow tests
	$(BIN)/$(PYTEST) -m slow

test-oldest: $(OLDEST)/.ready  ## run the tests with the oldest PyTorch and libraries that we support (lowest.txt)
	GENLIP_OLDEST=1 $(OLDEST)/bin/$(PYTEST)

test-all: test test-slow test-oldest  ## all three

lmms: $(LMMS)/.ready  ## set up lmms-eval in an environment of its own (lmms.txt)

test-lmms: $(LMMS)/.ready  ## run the tests that need lmms-eval
	$(LMMS)/bin/$(PYTEST) tests/mllm/test_lmms_plugin.py tests/mllm/test_lmms_model.py tests/evaluate/lmms tests/cli/test_eval_lmms.py

coverage: $(READY)  ## run the tests and list the lines and branches that they miss
	$(BIN)/$(PYTEST) --cov --cov-report term-missing:skip-covered

check: $(READY)  ## format, lint and type checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

gpu: $(READY)  ## check and measure on a GPU within nine minutes; without one, at tiny size
	sh benchmarks/gpu.sh $(ARGS)

gpu-wheels:  ## collect the wheels that a GPU machine without a network lacks
	sh benchmarks/gpu_wheels.sh $(ARGS)

clean:  ## remove the virtual environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# constraints.txt names the torch that the tests were last run with. The quickstart needs no optional library.
$(CORE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing genlip and PyTorch into .venv; on Linux with CUDA libraries, about 3 GB to download and 5.8 GB on disk."
	@echo "README.md says how to take the smaller PyTorch without CUDA. This takes minutes, and pip is silent meanwhile."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(READY): $(CORE)
	@echo "Installing the tools for development and all optional libraries into .venv: several GB more, some minutes."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(OLDEST)/.ready: pyproject.toml lowest.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	@echo "Installing the oldest libraries that we support into $(OLDEST): several GB, some minutes."
	$(OLDEST)/bin/python -m pip install --quiet --constraint lowest.txt --editable ".[dev]"
	@touch $@

$(LMMS)/.ready: pyproject.toml lmms.txt
	test -x $(LMMS)/bin/python || $(PYTHON) -m venv $(LMMS)
	@echo "Installing lmms-eval (lmms.txt) into $(LMMS): several GB, some minutes."
	$(LMMS)/bin/python -m pip install --quiet --constraint lmms.txt --editable ".[lmms]" pytest pytest-xdist hypothesis
	@touch $@
