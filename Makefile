# Everything here works on a fresh machine with Python 3.11 or later and make.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PEERS := .venv-bench/.installed
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help install run test check simulation bench lock openapi clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Install Roster and its tools into .venv, from the lock file

$(STAMP): pyproject.toml requirements.lock requirements-dev.lock
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: $(STAMP) ## Serve the directory on http://127.0.0.1:8000 from roster.db
	$(BIN)/roster serve

test: $(STAMP) ## Run every test, on memory, SQLite and PostgreSQL
	$(BIN)/pytest -n auto

check: $(STAMP) ## Check form, types, layers, and that openapi.json is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/roster openapi | diff openapi.json - || { echo "openapi.json is out of date: make openapi"; exit 1; }

simulation: $(STAMP) ## Run a million simulations, and the model and the history at length, in half an hour; fewer with SEEDS=20000
	SIMULATION_SEEDS=$(or $(SEEDS),1000000) MODEL_RUNS=500 HISTORY_KILLS=20 \
		$(BIN)/pytest -q -n auto tests/simulation tests/api/test_model.py tests/e2e/test_history.py

bench: $(STAMP) $(PEERS) ## Measure Roster beside others, in 25 minutes; with ARGS="--rounds 1 --seconds 1" in fewer
	$(BIN)/python -m bench $(ARGS)

$(PEERS): bench/requirements.lock
	test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/requirements.lock
	touch $@

lock: $(STAMP) ## Write the lock files anew, with hashes and without addresses
	$(BIN)/uv pip compile $(LOCK) --upgrade --extra dev --extra console --extra webhooks pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile $(LOCK) -c requirements-dev.lock --extra console --extra webhooks pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCK) --upgrade bench/requirements.in -o bench/requirements.lock

openapi: $(STAMP) ## Write openapi.json
	$(BIN)/roster openapi > openapi.json

clean: ## Remove .venv and what tools left behind; no database
	rm -rf .venv .venv-bench build dist bench/results .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
