PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check docs format bench-speed catalogue golden clean

demo: $(STAMP)
	$(BIN)/natmu demo

test: $(STAMP)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(MAKE) --no-print-directory docs

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-speed: $(STAMP)
	$(BIN)/python benchmarks/step.py

catalogue: $(STAMP)
	$(BIN)/python -m tests.methods.test_catalogue
	$(BIN)/python -m tests.scores.test_catalogue
	$(BIN)/python -m tests.records.test_formats
	$(BIN)/python -m tests.cli.test_command_line

golden: $(STAMP)
	$(BIN)/python -m tests.methods.golden $(NAMES)

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@
