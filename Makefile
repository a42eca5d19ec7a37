PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= results/demo

.PHONY: demo test check bench
demo: $(VENV)/.user  ## run the built-in benchmark and print its leaderboard
	$(BIN)/maebench run --out $(OUT)

test: $(VENV)/.dev check  ## lint, types and tests

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

bench: $(VENV)/.peers  ## time the parts and the peers; results in .benchmarks/
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-autosave

$(VENV)/.user: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.user

$(VENV)/.peers: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,peers]'
	touch $@ $(VENV)/.user $(VENV)/.dev
