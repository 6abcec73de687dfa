# Everything runs from a fresh checkout: each target makes the environment it needs inside the checkout.
define HELP
make demo    the whole story on a small library, in .venv-demo    DEMO_DIR=… DEMO_SERVE=0 DEMO_ARGS="…"
make test    tools, lint, types, all tests, in .venv              what CI runs
make lint | bench | lock | clean
endef
export HELP

PYTHON ?= python3
DEMO_ARGS ?=
PYTEST_ARGS ?=

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench lock clean tools

BIN := .venv/bin
PIP_FLAGS := --quiet --disable-pip-version-check --no-input

# The first target, so that a bare `make` installs nothing.
help:
	@echo "$$HELP"

# Makes the environment $(1) hold what the lock $(2) names, and this checkout.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Trainmark needs Python 3.11 or newer; choose one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@echo "installing $(2) into $(1)"
	@$(1)/bin/python -m pip install $(PIP_FLAGS) --require-hashes -r $(2)
	@$(1)/bin/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@
endef

.venv/.stamp: requirements/dev.txt pyproject.toml
	$(call environment,.venv,requirements/dev.txt)

.venv-demo/.stamp: requirements/runtime.txt pyproject.toml
	$(call environment,.venv-demo,requirements/runtime.txt)

demo: .venv-demo/.stamp
	@exec .venv-demo/bin/trainmark demo $${DEMO_DIR:+--dir "$$DEMO_DIR"} $(DEMO_ARGS)

test: tools lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(PYTEST_ARGS)

lint: .venv/.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(if $(wildcard benchmarks/*.py),$(BIN)/mypy benchmarks)

# Programs that do not come from PyPI, and the packages of the Hardhat project and of the IPFS node.
tools: .venv/.stamp
	@sh .ci/tools

bench: .venv/.stamp
	@for script in benchmarks/*.py; do \
	    echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

# Rewrites both locks from pyproject.toml and requirements/*.in; UPGRADE=1 takes newer releases.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
lock: .venv/.stamp
	@$(LOCK) pyproject.toml requirements/dev.in --extra registry --extra s3 --extra ipfs --extra scan --extra face -o requirements/dev.txt
	@$(LOCK) pyproject.toml requirements/runtime.in --extra registry -c requirements/dev.txt -o requirements/runtime.txt
	@$(LOCK) requirements/node.in -o requirements/node.txt

clean:
	rm -rf .venv .venv-demo .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	rm -rf hardhat-local/node_modules hardhat-local/artifacts hardhat-local/cache tests/ipfs-node/node_modules
	find ledger anchors api tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
