# Each of these works as the first command on a machine with Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
# Where the environment forbids Python to keep compiled files, as many container images do, each process that imports
# TensorFlow would compile it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all test-fast test-jax test-hosts test-torch lint docs

demo: .venv/.train
	$(BIN)/keras-sd train

# Distributed by file: otherwise each process would create the fixtures that the tests of a file share.
test: .venv/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs --durations=20 -m "not large and not other_engine"

test-all: .venv/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs --durations=60
	$(MAKE) test-hosts

test-fast: .venv/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs -m "not slow and not large and not other_engine"

# The layers, all forms of networks, training, resuming and weights on the engines other than TensorFlow.
# The longest files first, so that both processes end together.
ON_ENGINES = -n 2 --dist loadfile --no-loadscope-reorder -rs -m "not large and not other_engine" \
	tests/test_engines.py tests/training/test_devices.py tests/layers \
	tests/training/test_finetuning.py::test_the_head_moves_first_and_then_all_that_is_not_frozen \
	tests/training/test_finetuning.py::test_averages_of_weights_that_did_not_move_are_the_weights

test-jax: .venv/.test
	KERAS_BACKEND=jax JAX_PLATFORMS=cpu $(BIN)/python -m pytest $(ON_ENGINES)

# Runs of several processes on JAX, some of which are killed.
test-hosts: .venv/.test
	KERAS_BACKEND=jax JAX_PLATFORMS=cpu $(BIN)/python -m pytest -rs --durations=10 tests/training/test_hosts.py

# With the CPU build of PyTorch, which `.ci/run` installs; the default package adds gigabytes for GPUs.
test-torch: .venv/.test
	KERAS_BACKEND=torch $(BIN)/python -m pytest $(ON_ENGINES)

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Build the site in `site/`; a broken link or an unreadable docstring is an error.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/mkdocs build --strict --quiet

# uv, where it is installed, takes half of pip's time. `--no-compile` saves pip a third of its own: Python compiles the
# files that are imported. uv does not compile by default.
INSTALL := $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(BIN)/pip install --no-compile)

.venv/.train .venv/.test .venv/.docs: .venv/.%: setup.cfg pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(INSTALL) --editable ".[$*]"
	touch $@
