# The console's commands. A machine needs python3 (3.11 or newer), make and git; everything else is installed into .venv.
# The locked requirements are installed by uv, which pip fetches first, with hashes: 15 s where pip alone takes 130 s.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The recorder keeps what the fault matrix's tests found in the file that FAULTS_RECORD names; without it, it does nothing.
PYTEST := $(BIN)/python -m pytest -p tests.faults.recorder
# Two cores are taken for granted. What waits now and then gets a worker more, what waits for PostgreSQL two.
PYTEST_WORKERS ?= 2
SQLITE_MARKS ?= not browser
POSTGRES_MARKS ?= not browser
# The rooms whose tests "make test" repeats on PostgreSQL. Those of the pages are repeated by "make check".
ROOMS ?= tests
CORE_ROOMS := tests/audit tests/bots tests/faults tests/safety tests/workers
# Where tests are that are slow, or start workers: looking for them in all modules takes longer than many of them do.
SLOW = $(shell grep -rl 'mark\.slow' --include='test_*.py' tests)
SLOW_OR_WORKERS = $(shell grep -rlE 'mark\.(slow|workers)' --include='test_*.py' $(CORE_ROOMS))
# One at a time goes to whoever is free: what takes minutes must not be handed out in one pile.
ONE_BY_ONE := --maxschedchunk=1
# Which suites "make check" runs. CI leaves out sqlite when "make test" has just run it on the same tree.
SUITES ?= sqlite browser postgres
# CI checks format and types beside its tests.
STATIC ?= static

# uv finds packages where pip was told to.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

# Our own modules, too, are to be compiled once and not at every start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check bench rehearse faults lock format static test-sqlite test-slow test-postgres test-postgres-slow test-postgres-pages test-browser

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

run: $(VENV)/.runtime .env ## Start the console and its workers, and print the address (HOST=, PORT= and others in front)
	@$(BIN)/python manage.py prepare && exec $(BIN)/python -m tradingops.processes

test: $(VENV)/.dev ## Run the tests on SQLite and on the PostgreSQL of the test requirements
	@$(MAKE) --no-print-directory test-sqlite SQLITE_MARKS="not browser and not slow" PYTEST_WORKERS=3
	@$(MAKE) --no-print-directory test-postgres TEST_POSTGRES_URL= ROOMS="$(CORE_ROOMS)" \
	  POSTGRES_MARKS="not workers and not slow" PYTEST_WORKERS=4
	@echo "Not run here: browser tests (they need Chromium), the slow proofs with many real processes, and on PostgreSQL real workers"
	@echo "and the pages. make check runs all of them."

check: $(VENV)/.dev ## Run everything that CI runs: format, lint, types, imports, and all tests
	@$(MAKE) --no-print-directory $(STATIC) $(addprefix test-,$(SUITES))

bench: $(VENV)/.dev ## Run the benchmarks; prints a table and writes docs/benchmarks.md
	@$(BIN)/python -m bench

rehearse: $(VENV)/.runtime ## Start venues that are on this machine only, and a console against them (PORT=; FRESH=1 begins anew)
	@exec $(BIN)/python -m tests.loopback.rehearsal $(if $(FRESH),--fresh)

faults: $(VENV)/.dev ## Write docs/faults.md from what the last .ci/run found
	@$(BIN)/python -m tests.faults.report

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix-only --quiet .

lock: $(VENV)/.uv ## Compile the locked requirements again (UPGRADE=--upgrade takes newer versions)
	@$(COMPILE) pyproject.toml -o requirements.txt
	@$(COMPILE) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) requirements-bootstrap.in -o requirements-bootstrap.txt

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(UPGRADE)

# Parts of "make check".

static: $(VENV)/.dev
	@echo "== format, lint, types, import directions"
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted: run make format." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@found=$$($(BIN)/lint-imports --no-cache) || { echo "$$found" >&2; exit 1; }

# What failed is kept here. What runs beside something else needs a place of its own.
CACHE ?= .pytest_cache
# In CI what failed is tried once more, by itself and said aloud, since a shared machine may stand still for seconds. A fault is no
# matter of luck: when a test of tests/faults failed, nothing is tried again.
FAILED = $(CACHE)/v/cache/lastfailed
define tested
@run() { $(1) -o cache_dir=$(CACHE) "$$@"; }; run || { test -n "$$CI" -a -e $(FAILED) && ! grep -q '"tests/faults/' $(FAILED) \
  && echo "== FAILED ABOVE. Once more, by itself:" && run --last-failed --last-failed-no-failures none; }
endef

test-sqlite: $(VENV)/.dev
	@echo "== tests on SQLite"
	$(call tested,TEST_DATABASE=sqlite $(PYTEST) -n $(PYTEST_WORKERS) $(HANDED_OUT) -m "$(SQLITE_MARKS)" $(SQLITE_ROOMS))

# What "make test" leaves out on SQLite, for CI, which has just run it on the same tree. It waits more than it works.
test-slow:
	@$(MAKE) --no-print-directory test-sqlite SQLITE_MARKS="slow and not browser" SQLITE_ROOMS="$(SLOW)" \
	  PYTEST_WORKERS=3 HANDED_OUT=$(ONE_BY_ONE) CACHE=.pytest_cache/slow

# Only what touches the database: the rest does not depend on it. TEST_POSTGRES_URL names a server; else one is brought along.
test-postgres: $(VENV)/.dev
	@echo "== database tests on PostgreSQL"
	$(call tested,TEST_DATABASE=postgres TEST_POSTGRES_URL="$(TEST_POSTGRES_URL)" \
	  $(PYTEST) -n $(PYTEST_WORKERS) $(HANDED_OUT) -m "$(POSTGRES_MARKS)" --database-only $(ROOMS))

# What "make test" leaves out on PostgreSQL, for CI, which has just run it on the same tree: real workers and slow proofs, which wait
# more than they work, and the pages, which don't.
test-postgres-slow:
	@$(MAKE) --no-print-directory test-postgres ROOMS="$(SLOW_OR_WORKERS)" POSTGRES_MARKS="workers or slow" \
	  PYTEST_WORKERS=3 HANDED_OUT=$(ONE_BY_ONE) CACHE=.pytest_cache/postgres-slow

OTHER_ROOMS = $(filter-out $(CORE_ROOMS) tests/__pycache__ tests/browser,$(patsubst %/,%,$(wildcard tests/*/)))
test-postgres-pages:
	@$(MAKE) --no-print-directory test-postgres ROOMS="$(OTHER_ROOMS)" HANDED_OUT=$(ONE_BY_ONE) CACHE=.pytest_cache/postgres-pages

# Each worker has a Chromium of its own.
test-browser: CACHE = .pytest_cache/browser
test-browser: $(VENV)/.dev
	@echo "== browser tests"
	$(call tested,TEST_DATABASE=sqlite $(PYTEST) -n $(PYTEST_WORKERS) $(ONE_BY_ONE) -m browser tests/browser)

# Installation. Each stamp is as new as what it was installed from.

.env:
	@umask 077 && key=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))') && \
	  sed "s|^SECRET_KEY=$$|SECRET_KEY=$$key|" .env.example > .env.new && mv .env.new .env
	@echo "Wrote .env with a fresh SECRET_KEY."

$(VENV)/.uv: requirements-bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Install it and name it: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) lacks the venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
# Asked of pip, since a venv that was cut off while it was made has a python already.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing uv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.txt
	@touch $@

# With the test tools installed, what runs is a part of what is installed: they are synced, and stay.
$(VENV)/.runtime: requirements.txt $(VENV)/.uv
	@echo "Installing the requirements ..."
	@if test -e $(VENV)/.dev; then $(SYNC) requirements-dev.txt; else $(SYNC) requirements.txt; fi
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt $(VENV)/.uv
	@echo "Installing the test requirements ..."
	@$(SYNC) requirements-dev.txt
	@touch $(VENV)/.runtime $@

# Compiled once here, or every start compiles a thousand modules anew where bytecode can't be or isn't written.
SYNC = VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode
