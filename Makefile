# Everything a person does with this repository. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo dev test test-postgres-15 check chaos bench format lint types layers clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## build the environment in .venv

$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Building the environment in $(VENV); this takes a minute or two, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --progress-bar on --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(INSTALLED) ## run the whole service on this machine on real files (ARGS=--exit ends by itself)
	@$(BIN)/python -m run demo $(ARGS)

dev: $(INSTALLED) ## start the local stack and keep it up
	@$(BIN)/python -m run dev $(ARGS)

test: $(INSTALLED) ## pass every test (ARGS are pytest's)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# The oldest Postgres that is supported; the rounds of the barrier are fewer, its cases are all there.
test-postgres-15: $(INSTALLED) ## pass the tests of the engine and the tables on Postgres 15 too
	TEST_POSTGRES=15 BARRIER_ROUNDS=500 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests/integration/engine tests/integration/test_tables.py

check: lint types layers test test-postgres-15 ## everything that must hold before a change lands: format, lint, types, layers, migrations, tests

# The second step is what `make test` does too, with fifty times as many rounds and every point of the kill test.
chaos: $(INSTALLED) ## torment two services for ten minutes (ARGS=--minutes=N --seed=N), then race 100,000 times
	$(BIN)/python -m tests.faults.chaos --json=benchmarks/results/chaos.json $(ARGS)
	BARRIER_ROUNDS=100000 KILL_ALL=1 MODEL_EXAMPLES=1000 $(BIN)/python -m pytest tests/integration/engine/test_barrier.py \
	  tests/integration/engine/test_move_races.py tests/faults/test_kill_at_every_point.py tests/model

bench: $(INSTALLED) ## measure how fast it is on this machine, beside what it should reach (ARGS="--only hop,rate")
	@$(BIN)/python -m benchmarks $(ARGS)

format: $(INSTALLED) ## write the code as the formatter wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED) ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED) ## check the types
	$(BIN)/mypy

layers: $(INSTALLED) ## check that imports point downwards
	$(BIN)/lint-imports

clean: ## take away what was built
	rm -rf $(VENV) .local .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
