# `make` alone lists what there is. Everything below sets up what it needs by itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test lint format test-slow test-gpu test-newest schemas docs bench clean

VENV ?= .venv
export CRYODL_VENV := $(VENV)
BIN := $(VENV)/bin
# Tests run in this many processes of one thread each.
WORKERS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

help: ## Show this list
	@echo "cryodl: deep learning for cryo-EM and cryo-ET"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## Make the environment in .venv (again: takes no time when nothing changed)
	@scripts/setup.sh run

setup-test: ## The same, with RELION and the screen tools that the tests use
	@scripts/setup.sh test

demo: setup ## Simulated half maps to an isotropic map through Scipion, with a report
	@$(BIN)/python scripts/run_demo.py

test: setup-test lint ## Check the code and run all quick tests of engine and plugin
	$(PYTEST) engine/tests cryodl_plugin/tests

lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy engine/src

format: setup ## Mend what the style checker can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-slow: setup-test ## Run the tests that take minutes
	$(PYTEST) -m slow --timeout 3600 engine/tests cryodl_plugin/tests

test-gpu: setup-test ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu engine/tests

test-newest: ## Test the engine alone with the newest libraries, in an environment of its own
	@scripts/test_newest.sh

schemas: setup ## Write the Scipion form schemas and the option tables from the engine
	$(BIN)/python scripts/generate_schemas.py

docs: schemas ## Renew the generated tables in docs/ and check all links
	$(BIN)/python scripts/check_links.py

bench: setup ## Time the core operations on this machine
	$(BIN)/cryodl bench

clean: ## Remove caches and build products, keep the environment
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
