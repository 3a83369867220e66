# Each target sets up what it needs: a virtual environment in .venv and the package in it.
PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.core
READY := .venv/.ready
LOWEST := .venv/lowest
# Processes that share the tests; 0 runs them in one, where a debugger can stop.
PYTEST_WORKERS ?= auto
PYTEST = $(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist worksteal

.PHONY: quickstart test test-slow test-all coverage check format clean help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

quickstart: $(CORE)  ## train a small model on scenes within minutes and write its report
	$(BIN)/genlip quickstart

test: $(READY)  ## run the tests
	$(PYTEST)

test-slow: $(READY) $(LOWEST)/.ready  ## run the slow tests, and those of exports with the oldest libraries
	$(PYTEST) -m slow
	GENLIP_LOWEST=1 PYTHONPATH=$(LOWEST) $(PYTEST) -m "" tests/export

test-all: test test-slow  ## both

coverage: $(READY)  ## run the tests and list the lines and branches that they miss
	$(PYTEST) --cov --cov-report term-missing:skip-covered

check: $(READY)  ## format, lint and type checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the virtual environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# constraints.txt names the torch that the tests were last run with. The quickstart needs no optional library.
$(CORE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(READY): $(CORE)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

# Laid before the newest by PYTHONPATH. Not timm's dependencies: they are there already, and torch is large.
$(LOWEST)/.ready: $(READY) lowest.txt
	rm -rf $(LOWEST)
	$(BIN)/python -m pip install --quiet --target $(LOWEST) $$(grep ^transformers lowest.txt)
	$(BIN)/python -m pip install --quiet --target $(LOWEST) --no-deps $$(grep ^timm lowest.txt)
	@touch $@
