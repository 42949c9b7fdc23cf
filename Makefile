# Self-describing: `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
ARGS ?=
PYTEST = $(BIN)/pytest
# Tests mostly wait: for servers, time-outs and each other's processes. Each process has servers of its own.
TEST_PROCESSES ?= 4
CHAOS_PROCESSES ?= 3

.PHONY: help setup run test coverage test-chaos check format bench lock openapi ci

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## a virtual environment in .venv, from the lock file

$(STAMP): requirements-dev.lock pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh $(VENV)
	@touch $(STAMP)

run: $(STAMP) ## everything on embedded servers: migrate, API, workers, sample feed, first sync (ARGS="--port 0")
	@exec $(BIN)/promidata-sync up $(ARGS)

test: $(STAMP) ## the test suite, in under five minutes
	@$(PYTEST) -m "not chaos" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS) \
		|| { echo "what failed beside the others is run once more, alone"; \
		     $(PYTEST) -m "not chaos" --last-failed --last-failed-no-failures none; }

coverage: $(STAMP) ## the test suite with branch coverage of app/ and workers/, which makes it about twice as slow
	@$(BIN)/coverage erase
	@$(MAKE) --no-print-directory test PYTEST="$(BIN)/coverage run -m pytest"
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=90

test-chaos: $(STAMP) ## kills, outages, failpoints, restarts
	@$(PYTEST) -m chaos -n $(CHAOS_PROCESSES) --dist load $(ARGS) \
		|| { echo "what failed beside the others is run once more, alone"; \
		     $(PYTEST) -m chaos --last-failed --last-failed-no-failures none; }

check: $(STAMP) ## format, lint, types, import contracts, OpenAPI
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/openapi.py --check

format: $(STAMP) ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure; the report goes to docs/benchmarks/
	@$(BIN)/python -m bench $(ARGS)

openapi: $(STAMP) ## write openapi.json anew
	@$(BIN)/python scripts/openapi.py

lock: ## resolve the dependencies anew into the lock files
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes -q --no-emit-index-url --no-emit-find-links -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes -q --no-emit-index-url --no-emit-find-links --extra embedded --extra dev -o requirements-dev.lock
