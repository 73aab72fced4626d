# Everything starts from Python 3.10 or newer, gcc and make; nothing else is assumed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test torture bench check format clean

demo: $(VENV)/.demo  ## index a real corpus, ask it real questions, print the measured table
	$(BIN)/colbert-rag demo

test: $(VENV)/.dev  ## the whole test suite
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

torture: $(VENV)/.dev  ## hours: the long sizes of the tests that hold the promises; MINUTES=50 goes as far as that allows
	$(BIN)/python tests/torture.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.dev  ## speed behind a gate of quality, beside peers; ONLY="search peers" DATA="FOLDER …" choose
	$(BIN)/python tests/benchmarks/run.py $(if $(ONLY),--only $(ONLY)) $(if $(DATA),--data $(DATA))

check: $(VENV)/.dev  ## format, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[cpu,eval,offline]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[cpu,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
