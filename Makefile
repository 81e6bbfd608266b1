# `make demo` and `make test` each work as the first command on a machine with Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast lint

demo: .venv/.train
	$(BIN)/keras-sd train

test: .venv/.test
	$(BIN)/python -m pytest -n 2 -rs

test-fast: .venv/.test
	$(BIN)/python -m pytest -n 2 -rs -m "not slow"

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/.train .venv/.test: .venv/.%: setup.cfg pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[$*]"
	touch $@
