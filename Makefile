# `make demo` and `make test` need only Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZ_SECONDS := 600
FUZZ_CORPUS := .fuzz

.PHONY: help demo test test-full lint types bench docs fuzz clean
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
	@echo "make docs       the API reference from the docstrings: docs-out/index.html"
	@echo "make fuzz       coverage-guided fuzzing of the loader for FUZZ_SECONDS ($(FUZZ_SECONDS)); Linux and macOS"
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

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	rm -rf docs-out
	$(BIN)/python docs/reference/build.py docs-out
	@echo "docs-out/index.html"

# The corpus grows from run to run; a file that breaks something is left there as crash-...
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,fuzz]'
	mkdir -p $(FUZZ_CORPUS)
	$(BIN)/python -m tests.graph_io.fuzz $(FUZZ_CORPUS) -max_total_time=$(FUZZ_SECONDS) -timeout=30 -rss_limit_mb=4096 -max_len=65536 -artifact_prefix=$(FUZZ_CORPUS)/

clean:
	rm -rf $(VENV) build dist demo-out docs-out .mypy_cache .ruff_cache .hypothesis $(FUZZ_CORPUS)
