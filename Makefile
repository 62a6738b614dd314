# make run    make the environment, run the quickstart, print its tables
# make test   make the environment, run the tests
# make lint   ruff and mypy
# make bench  measure the sweep against the plain training loop
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/made-$(shell cat pyproject.toml constraints.txt scripts/environment.py | cksum | cut -d ' ' -f 1)

# Without .pyc files every process would compile torch's imports again (18 s instead of 7).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint bench
.DELETE_ON_ERROR:

run: $(STAMP)
	$(BIN)/umlbench run quickstart

test: $(STAMP)
	$(BIN)/pytest -n auto

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/umlbench bench sweep

$(STAMP):
	$(PYTHON) scripts/environment.py $(VENV)
	@touch $@
