# `make help` lists the commands. Everything runs in .venv, which the first command makes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# A .venv only works in the folder it was created in. One that was copied or moved with the project is recreated.
ifneq "$(shell cat $(INSTALLED) 2>/dev/null)" "$(CURDIR)"
$(shell rm -f $(INSTALLED))
endif

# Stops what is running without a .venv: the standard library is enough. The .venv's Python is used if it works.
RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
ANY = $(shell $(BIN)/python -c '' 2>/dev/null && echo $(BIN)/python || echo $(PYTHON))
STOP = $(ANY) $(RECENT) && PYTHONPATH=. $(ANY) -B -m flows.cli.stop

.DEFAULT_GOAL := help
.PHONY: help install run test test-long lint format plan ui stop screenshots bench clean purge docs

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# The marker is written last. If it is missing, an install was interrupted, and its remains are discarded.
$(INSTALLED): requirements.lock pyproject.toml
	@case "$$(pwd -P)" in *[:\"\$$\`{}\\]*) echo 'Python cannot be installed into a folder with one of : " $$ { } \ ` in its path' >&2; exit 2;; esac
	@$(PYTHON) $(RECENT)
	@if [ -f $@ ]; then rm $@; else echo "making $(VENV) (a few minutes the first time)"; $(PYTHON) -m venv --clear $(VENV); fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@pwd -P > $@

install: $(INSTALLED) ## create .venv from requirements.lock

run: $(INSTALLED) ## train the preset `line`, verify its checkpoint, and print where the results are
	@$(BIN)/workflow train line --verify

plan: $(INSTALLED) ## show what `make run` would reuse and what it would run, and why
	@$(BIN)/workflow plan line

ui: $(INSTALLED) ## start everything: the Prefect server, `workflow serve`, and a verified run; open the UI
	@$(BIN)/workflow ui

stop: ## stop `workflow serve` and the local Prefect server
	@$(STOP)

lint: $(INSTALLED) ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED) ## fix style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# One process per core, with all tests of a file in the same one: they share a server and a trained project.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: lint ## check style and types, then run the whole test suite
	@$(BIN)/pytest $(PARALLEL)

test-long: $(INSTALLED) ## run the tests that take minutes each: more faults, more inputs
	@$(BIN)/pytest $(PARALLEL) -m long

screenshots: $(INSTALLED) ## update the screenshots of the Prefect UI in docs/ui, with Chromium
	@WORKFLOW_SCREENSHOTS=docs/ui $(BIN)/pytest -m 'long or not long' tests/flows/test_browser.py

docs: $(INSTALLED) ## update the output of commands in the README
	@WORKFLOW_DOCS=1 $(BIN)/pytest -q tests/flows/test_readme.py

bench: $(INSTALLED) ## measure performance against a plain script
	@$(BIN)/python tests/bench/run.py

clean: ## stop the server; remove .venv and the caches of the tools
	@$(STOP)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

purge: clean ## clean, and remove every dataset, artifact and run, and Prefect's database
	@rm -rf .prefect
	@find data artifacts -mindepth 1 -not -name README.md -not -path 'artifacts/example*' -delete
