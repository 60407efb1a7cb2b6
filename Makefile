# make demo: install and run the main job.  make test: install with test extras and run the checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Twice as many tests as cores: those on Ray mostly wait.
SIDE_BY_SIDE ?= $(shell $(PYTHON) -c 'import os; print(min(8, 2 * os.cpu_count()))')

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/python experiments/run.py env=match

test: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(SIDE_BY_SIDE) --dist worksteal

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "unienv needs Python 3.11 or newer; choose one with make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# torch and torchvision are resolved in one call, so that they come as a matching pair.
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.tested: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) runs
