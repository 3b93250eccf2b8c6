# `make demo` and `make test` need only Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test test-full lint types bench clean
.DELETE_ON_ERROR:

# Installs again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dnn-partition needs Python 3.11 or newer; run make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

help:
	@echo "make demo       install into $(VENV), then cut, write, run and verify AlexNet"
	@echo "make test       lint, strict types, tests with seeded subsets of the big ones"
	@echo "make test-full  the same at full counts"
	@echo "make bench      the figures of the README"
	@echo "make clean      remove what these made"

demo: $(STAMP)
	$(BIN)/dnn-partition demo --out demo-out --force

test: $(STAMP) lint types
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Everything at full counts; no limit on time.
test-full: $(STAMP) lint types
	DNN_PARTITION_FULL=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks emit

clean:
	rm -rf $(VENV) build dist demo-out .mypy_cache .ruff_cache .hypothesis
