# The two commands of the README are `make demo` and `make test`; each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT ?= .out

.PHONY: demo test check lint types layers bench clean

demo: $(VENV)/.server
	$(BIN)/vision-edge demo --out $(OUT)/demo --json $(OUT)/demo/summary.json

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=worksteal

check: lint types layers test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

# Figures for the README and docs: needs no GPU; SHARED is a folder with weights/ and data/.
SHARED ?= ../shared
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/startup.py --out $(OUT)/bench
	$(BIN)/python benchmarks/build_average.py --out $(OUT)/bench
	$(BIN)/python benchmarks/run_speed.py --shared $(SHARED) --out $(OUT)/bench

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip

$(VENV)/.server: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[server]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[server,dev]"
	touch $@ $(VENV)/.server

clean:
	rm -rf $(VENV) $(OUT) .mypy_cache .ruff_cache .pytest_cache
