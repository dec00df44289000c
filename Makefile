# Everything here works on a fresh machine with Python 3.11 or later and make.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
RUNTIME := .venv/.runtime
PEERS := .venv-bench/.installed
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# If the environment sets this, each process of the tests compiles the source again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install run test proofs check simulation fuzz kills failover night bench dist image lock pictures openapi docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A lock file is complete, so pip must not resolve anything. It would not accept a pin of pydantic for pydantic[email].
install: $(STAMP) ## Install Roster and its tools into .venv, from the lock file

$(STAMP): pyproject.toml requirements.lock requirements-dev.lock
	@echo "Installing Roster and its tools into .venv, about 590 MB. This takes a minute, once."
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Only what serving needs, without the tools: a third of the size. If the tools are installed, everything is updated together.
$(RUNTIME): pyproject.toml requirements.lock
	@if test -e $(STAMP); then $(MAKE) --no-print-directory install; else \
		echo "Installing Roster into .venv, about 150 MB. This takes half a minute, once."; \
		{ test -d .venv || $(PYTHON) -m venv .venv; } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .; fi
	@touch $@

run: $(RUNTIME) ## Serve the directory on http://127.0.0.1:8000 from roster.db
	$(BIN)/roster serve

test: $(STAMP) ## Run the tests that need one process, on memory, SQLite and PostgreSQL
	$(BIN)/pytest -n auto -m "not heavy"

proofs: $(STAMP) ## Run the heavy tests: servers, kills, replicas, the console in a browser, the whole API, the docs
	ROSTER_TEST_EXAMPLES=4 $(BIN)/pytest -n auto -m "heavy or generated"

check: $(STAMP) ## Check formatting, types, layers, and that openapi.json is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/roster settings | diff docs/configuration.md - || { echo "docs/configuration.md is out of date: make docs"; exit 1; }
	$(BIN)/roster openapi | diff openapi.json - || { echo "openapi.json is out of date: make openapi"; exit 1; }

simulation: $(STAMP) ## Run a million simulations, and long tests of the model and the history, in half an hour; fewer with SEEDS=20000
	SIMULATION_SEEDS=$(or $(SEEDS),1000000) MODEL_RUNS=500 HISTORY_KILLS=20 \
		$(BIN)/pytest -q -n auto tests/simulation tests/api/test_model.py tests/e2e/test_history.py

fuzz: $(STAMP) ## Send 100 generated requests to each operation on each database, in ten minutes
	SCHEMATHESIS_EXAMPLES=100 $(BIN)/pytest -q -n auto tests/api/web/test_schema.py

kills: $(STAMP) ## Kill servers 50 times on each database while they deliver to a webhook, in some minutes
	ROSTER_TEST_KILLS=50 $(BIN)/pytest -q tests/e2e/test_webhook_kills.py

failover: $(STAMP) ## Kill PostgreSQL's primary 20 times under load, and promote its standby, in a few minutes
	ROSTER_TEST_FAILOVERS=20 $(BIN)/pytest -q -o log_cli=true -o log_cli_level=INFO tests/replicas/test_failover.py

night: $(STAMP) ## Restart, upgrade, overload, fill, break and freeze servers, and print the figures, in half an hour
	ROSTER_TEST_NIGHT=1 $(BIN)/pytest -q -o log_cli=true -o log_cli_level=INFO tests/e2e/night

bench: $(STAMP) $(PEERS) ## Compare Roster with other servers, in 25 minutes; shorter with ARGS="--rounds 1 --seconds 1"
	$(BIN)/python -m bench $(ARGS)

$(PEERS): bench/requirements.lock
	test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/requirements.lock
	touch $@

dist: $(STAMP) ## Build the wheel, install it into an empty environment, and serve from there
	rm -rf dist && $(BIN)/python -m hatchling build -t wheel
	sed -E '/--hash=/d; s/ \\$$//' requirements.lock > dist/requirements.lock
	bash tests/e2e/wheel.sh dist/roster-*.whl

BUILDER = $(or $(shell command -v podman || command -v docker),buildah)

# Of the two image formats only docker's has a HEALTHCHECK. docker itself has no other format, and no such flag.
image: ## Build the container image (podman, docker or buildah)
	$(BUILDER) build $(if $(filter %docker,$(BUILDER)),,--format docker) -t roster -f Containerfile .

lock: $(STAMP) ## Write the lock files, with hashes and without addresses
	$(BIN)/uv pip compile $(LOCK) --upgrade --extra dev --extra console pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile $(LOCK) -c requirements-dev.lock --extra console pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCK) --upgrade bench/requirements.in -o bench/requirements.lock

pictures: $(STAMP) ## Take the pictures of README.md and docs/console.md, with Chromium
	PICTURES=1 $(BIN)/pytest -q tests/browser/test_pictures.py

openapi: $(STAMP) ## Write openapi.json and docs/configuration.md
	$(BIN)/roster openapi > openapi.json
	$(BIN)/roster settings > docs/configuration.md

docs: openapi ## The same as make openapi

clean: ## Remove .venv and files of tools, but no database
	rm -rf .venv .venv-bench build dist bench/results .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
