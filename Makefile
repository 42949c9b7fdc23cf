# Self-describing: `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# What runs, and what tests and checks add to it in the same environment.
RUN_READY := $(VENV)/.ready-run
READY := $(VENV)/.ready
ARGS ?=
PYTEST = $(BIN)/pytest
# Many tests wait, for servers, time-outs and each other's processes. Each process has servers of its own.
# A failure fails: what a second run alone would pass may be a race, which is what the tests are to find.
TEST_PROCESSES ?= 5
CHAOS_PROCESSES ?= 6
# Tests behind a real PgBouncer (apt-get install pgbouncer) run where it is installed; CI installs it.
PGBOUNCER := $(shell PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v pgbouncer)
# The same for the alerts, which Prometheus itself judges (apt-get install prometheus).
PROMETHEUS := $(shell command -v prometheus)
NO_PROMETHEUS = $(if $(PROMETHEUS),, and not prometheus)
SAY_NO_PROMETHEUS = $(if $(PROMETHEUS),,@echo "prometheus is not installed: the tests of the alerts are left out (apt-get install prometheus)")

.PHONY: help setup run test fuzz coverage test-chaos test-browser test-image check lint format bench lock openapi promises licences audit sbom ci

# What pytest makes of a test's source is kept, also where the shell says that Python keeps nothing: it is half of a start.
setup test test-chaos test-browser test-image fuzz: export PYTHONDONTWRITEBYTECODE =

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## a virtual environment in .venv with all that the lock files name, to run, test and check

$(RUN_READY): requirements-run.lock requirements-build.lock pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh $(VENV) run
	@touch $(RUN_READY)

$(READY): requirements-dev.lock $(RUN_READY)
	@sh scripts/setup.sh $(VENV) dev
	@touch $(READY)

run: $(RUN_READY) ## everything on embedded servers: migrate, API, workers, sample feed, first sync (ARGS="--port 0")
	@exec $(BIN)/promidata-sync up $(ARGS)

test: $(READY) ## the test suite
	$(if $(PGBOUNCER),,@echo "pgbouncer is not installed: the tests behind it are left out (apt-get install pgbouncer)")
	$(SAY_NO_PROMETHEUS)
	@$(PYTEST) -m "not chaos and not browser and not image$(if $(PGBOUNCER),, and not pgbouncer)$(NO_PROMETHEUS)" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: $(READY) ## the test suite with branch coverage of app/ and workers/, which makes it about twice as slow
	@$(BIN)/coverage erase
	@$(MAKE) --no-print-directory test PYTEST="$(BIN)/coverage run -m pytest"
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=90

SLOW ?= chaos
test-chaos: $(READY) ## kills, outages, failpoints, restarts (SLOW="chaos or image": and test-image beside them)
	$(SAY_NO_PROMETHEUS)
	@$(PYTEST) -m "($(SLOW))$(NO_PROMETHEUS)" -n $(CHAOS_PROCESSES) --dist loadgroup --no-loadscope-reorder $(ARGS)

test-browser: $(READY) ## the dashboard, and pages behind a path prefix, in the system's chromium
	@$(PYTEST) -m browser $(ARGS)

test-image: $(READY) ## the Dockerfile's steps and what comes out of them; as root on Linux, without an engine
	@$(PYTEST) -m image $(ARGS)

fuzz: $(READY) ## other made-up examples than the last time: requests, five minutes with each role's key (FUZZ_S=60)
	@FUZZ_S=$(or $(FUZZ_S),300) $(PYTEST) tests/integration/test_fuzzed.py $(ARGS)
	@$(PYTEST) -m hypothesis --hypothesis-profile=default $(ARGS)

check: lint test ## all that a change has to pass before the slow tests: lint and the test suite

lint: $(READY) ## format, lint, types, import contracts, OpenAPI
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/openapi.py --check
	@$(BIN)/python scripts/promises.py --check

format: $(READY) ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) ## measure; the report and its plots go to docs/benchmarks/
	@$(BIN)/python -m bench $(ARGS)

promises: $(READY) ## write docs/promises.md: each promise, its tests, its last figure
	@$(BIN)/python scripts/promises.py

openapi: $(READY) ## write openapi.json anew
	@$(BIN)/python scripts/openapi.py

licences: $(READY) ## the licence of each package that runs; fails on one that is refused or unknown
	@$(BIN)/python scripts/licences.py

audit: $(READY) ## known vulnerabilities of what the lock files name, by PyPI's advisories
	@$(BIN)/python scripts/audit.py

sbom: $(READY) ## what a server consists of, as CycloneDX, into sbom.json
	@$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o sbom.json
	@echo "wrote sbom.json"

# All four agree: the others take their versions from the largest.
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	--annotation-style line --no-emit-index-url --no-emit-find-links
AGREED = -c requirements-dev.lock

lock: | $(BIN)/uv ## resolve the dependencies anew into the lock files (ARGS=--upgrade for newer releases)
	@$(COMPILE) $(ARGS) pyproject.toml --extra embedded --extra traces --extra dev --group build -o requirements-dev.lock
	@$(COMPILE) $(AGREED) pyproject.toml --extra embedded --extra traces -o requirements-run.lock
	@$(COMPILE) $(AGREED) pyproject.toml --extra traces -o requirements.lock
	@$(COMPILE) $(AGREED) --group build -o requirements-build.lock

$(BIN)/uv:
	@$(MAKE) --no-print-directory $(READY)
