# `make demo` and `make test` each prepare the environment they need: nothing to install beforehand but
# Python 3.10 to 3.13 with its venv module. `make help` lists the targets.

SHELL = /bin/sh
.DEFAULT_GOAL := help
.PHONY: help env demo test check docs lint format clean

# The interpreter that makes the environment; empty: the first one that is found and really works.
PYTHON ?=
# The environment. Any folder will do, but without spaces in its name.
VENV ?= .venv
# Demo: SAM ViT-B and VGG-16 checkpoints (optional), output folder, QUICK=1 for a few steps of everything.
SAM ?=
VGG ?=
WORK_DIR ?= work_dirs/demo
QUICK ?=
# Processes that share the tests, and further arguments of pytest, for example ARGS='-k region'.
JOBS ?= auto
ARGS ?=

PY = "$(VENV)/bin/python"
# The tests of a module share its fixtures, so they stay in one process.
PYTEST = $(PY) -m pytest -n $(JOBS) --maxprocesses 8 --dist loadscope --no-loadscope-reorder
CHECKED = mmsamdistill mmsamdistill_command.py tools demo configs benchmarks docs tests requirements setup.py
# Compiled and rewritten tests are kept, whatever a container's environment says: seconds a process.
unexport PYTHONDONTWRITEBYTECODE
# The shell expands ~ only at the start of a word, never after `SAM=`.
home = $(patsubst ~/%,$(HOME)/%,$(1))

help: ## show this list
	@echo 'Targets:'
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile
	@echo 'Variables: PYTHON VENV; demo: SAM VGG WORK_DIR QUICK; test, check: JOBS ARGS'

env: ## prepare the environment, if it is not ready
	@python='$(PYTHON)'; option=--this-python; \
	if [ -z "$$python" ]; then \
	  option=; \
	  for candidate in python3.12 python3.13 python3.11 python3.10 python3; do \
	    if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' \
	      >/dev/null 2>&1; then python=$$candidate; break; fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo 'No Python >= 3.10 with venv was found. Install one (Debian, Ubuntu: apt install' \
	    'python3-venv) or name it: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; \
	fi; \
	"$$python" requirements/make_env.py "$(VENV)" $$option

demo: env ## train plain and distilled on real photographs, test, export, compare
	$(PY) demo/run_demo.py --work-dir "$(call home,$(WORK_DIR))" \
	  $(if $(SAM),--sam-checkpoint "$(call home,$(SAM))") \
	  $(if $(VGG),--vgg-checkpoint "$(call home,$(VGG))") $(if $(QUICK),--quick)

test: lint ## linters, types, docstring coverage, then all tests
	$(PYTEST) $(ARGS)

# At once, since the types keep one core alone busy; what the linters say is printed last.
check: env ## the same without the tests marked slow: before every commit
	@said=$$(mktemp); $(MAKE) lint >"$$said" 2>&1 & lint=$$!; \
	$(PYTEST) -m 'not slow' $(ARGS); tests=$$?; \
	wait $$lint; lint=$$?; cat "$$said"; rm "$$said"; exit $$((tests | lint))

docs: env ## build the documentation's site in build/docs; a warning is an error
	$(PY) -m sphinx -q -E -W --keep-going -c docs -b html . build/docs
	@echo 'built: build/docs/index.html'

# ruff's D rules are the docstring coverage: a public name without a docstring is an error.
lint: env ## ruff (style, annotations, docstrings, format) and mypy
	$(PY) -m ruff check $(CHECKED)
	$(PY) -m ruff format --check $(CHECKED)
	$(PY) -m mypy

format: env ## let ruff rewrite what it can
	$(PY) -m ruff check --fix $(CHECKED)
	$(PY) -m ruff format $(CHECKED)

clean: ## remove the environment, builds and caches; work_dirs stays
	rm -rf "$(VENV)" build dist mmsamdistill.egg-info mmsamdistill/.mim \
	  .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find mmsamdistill tools demo configs tests requirements -name __pycache__ -type d -prune \
	  -exec rm -rf {} +
