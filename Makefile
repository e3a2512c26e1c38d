# Needs Python 3.11 or later, make and a package index; everything is installed into .venv.

PYTHON ?= python3
# The torch to install, where the pinned one does not fit the machine, for example
#   make demo TORCH=torch==2.13.0+cu130 PIP_ARGS="--extra-index-url URL"
TORCH ?= $(shell grep '^torch==' constraints.txt)
PIP_ARGS ?=
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/turngym/_version.py)
# A demo that was interrupted goes on where it stopped; one that is done shows its result again. A new version has its own.
RUN := demo-$(VERSION)
DEMO ?= train $(if $(wildcard runs/$(RUN)),--resume runs/$(RUN),FrozenLake --run.name $(RUN) --warm_start.course_steps 90 --learning.steps 60 --learning.learning_rate 2e-3 --learning.final_learning_rate 5e-4)
WORKERS ?= 2

BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(PIP_ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench openenv verifiers verl docs dist clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16
	@echo
	@echo "  PYTHON=python3.12            another interpreter, 3.11 or later"
	@echo "  TORCH=torch==2.13.0+cu130    another build of torch, such as one for a GPU; 'make clean' first"
	@echo "  PIP_ARGS='--index-url URL'   further options of pip install"

setup: $(READY) ## install everything into .venv

# torch goes first: what depends on it then finds it there and asks the index for no other.
$(READY): setup.cfg pyproject.toml constraints.txt src/turngym/_version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "turngym needs Python 3.11 or later; name one: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || echo "Creating .venv."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@sed 's|^torch==.*|$(TORCH)|' constraints.txt > .venv/constraints.txt
	@echo "Installing $(TORCH)."
	@$(PIP) --constraint .venv/constraints.txt '$(TORCH)'
	@echo "Installing turngym and what it depends on."
	@$(PIP) --constraint .venv/constraints.txt --editable '.[train,lora,webshop,plot,parquet,tensorboard,wandb,dev]'
	@touch $@

demo: $(READY) ## train a small language model on FrozenLake and print its score
	$(BIN)/turngym $(DEMO)
	@echo "The commands are in $(BIN): '. $(BIN)/activate' puts turngym on the path."

lint: $(READY) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## style, types and tests
	$(BIN)/pytest -n $(WORKERS)

bench: $(READY) ## the tests that take long
	$(BIN)/pytest --slow -m slow

openenv: .venv-openenv/.ready ## an environment with OpenEnv, in which its server is tested

verifiers: .venv-verifiers/.ready ## an environment with verifiers, in which its evaluation is tested

verl: .venv-verl/.ready ## an environment with verl, in which its agent loop is tested; large

# Packages that bring others in versions of their own stand in environments of their own, beside turngym without torch.
OTHERS_openenv := openenv==0.10.0
OTHERS_verifiers := verifiers==0.4.0 --editable integrations/verifiers
OTHERS_verl = $(TORCH) verl==0.9.1 cachetools fastapi uvicorn

.venv-%/.ready: setup.cfg src/turngym/_version.py $(wildcard integrations/*/pyproject.toml)
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet $(PIP_ARGS) --editable . $(OTHERS_$*)
	@touch $@

docs: $(READY) ## the documentation as a site, in site/
	@$(PIP) --constraint .venv/constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

dist: $(READY) ## a wheel and a source archive, checked, in dist/
	@$(PIP) --constraint .venv/constraints.txt build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean: ## remove .venv, caches and build files; runs stay
	rm -rf .venv .venv-openenv .venv-verifiers .venv-verl build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
