# `make` alone lists the verbs. Everything lives in .venv, which is made when it is first needed.

# The first of these that is new enough: PYTHON=… to choose one yourself.
PYTHONS = $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python

PORT ?= 8000
# Only as `make run HOST=…`: shells have a variable of this name, which must not open PAI to the network.
HOST = 127.0.0.1
PAI_HOME ?= .pai
export PAI_HOME

STAGE ?= dev
IN_VENV = export PATH="$(CURDIR)/.venv/bin:$$PATH";

.DEFAULT_GOAL := help
.PHONY: help run test check bench package clean

help: ## list these verbs
	@awk -F ' *## *' '/^[a-z]+:.*## / { sub(/:.*/, "", $$1); printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  make run [PORT=8000] [HOST=127.0.0.1] [PAI_HOME=.pai] [MODEL=smollm2 | /path/to.gguf]"

run: .venv/run.stamp ## serve PAI on this machine, with a real model: from nothing to an answer
	@exec .venv/bin/pai run --port "$(PORT)" --host "$(HOST)" --model "$(MODEL)"

test: .venv/dev.stamp ## run every test, two at a time, with small real models (200 MB, fetched once)
	.venv/bin/pai models fetch smollm2
	.venv/bin/pai models fetch minilm
	$(IN_VENV) pytest tests/ -n 2 --dist loadfile --cov=chalicelib --cov=pai --cov-report=html

check: .venv/dev.stamp ## format, lint, types, dead code, docs, unit tests, and a package for AWS that starts
	$(IN_VENV) ruff format --check .
	$(IN_VENV) ruff check .
	$(IN_VENV) flake8 app.py chalicelib pai --max-line-length=127
	$(IN_VENV) mypy
	$(IN_VENV) vulture
	$(IN_VENV) cfn-lint infrastructure/resources.yaml
	$(IN_VENV) python docs/generate.py --check
	$(IN_VENV) shellcheck scripts/*.sh
	$(IN_VENV) pip install --quiet -r requirements-dev.txt && pytest tests/unit -v
	$(IN_VENV) python -m pai.operate.package dev prod

bench: .venv/dev.stamp ## measure, and write benchmarks/results.json and docs/benchmarks.md: make bench [DATA=DIR] [DOCS=DIR]
	$(IN_VENV) python -m benchmarks.report $(if $(DATA),--data "$(DATA)") $(if $(DOCS),--docs "$(DOCS)")

package: .venv/dev.stamp ## package for AWS into out/STAGE, and prove that it starts: make package STAGE=prod
	$(IN_VENV) python -m pai.operate.package "$(STAGE)"

clean: ## remove what these verbs made, but for your data in PAI_HOME
	rm -rf .venv .venv-package out build htmlcov .coverage *.egg-info .mypy_cache .ruff_cache .pytest_cache

# The environment

.venv/bin/python:
	@found=; for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "PAI needs Python 3.11 or newer, and none is on the PATH. Install it, or say where: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	fi; \
	echo "Making .venv with $$found ($$("$$found" --version))"; \
	if ! "$$found" -m venv --clear .venv; then \
	  rm -rf .venv; \
	  echo "$$found can't make an environment. On Debian and Ubuntu: sudo apt install python3-venv" >&2; \
	  exit 1; \
	fi

.venv/run.stamp: requirements.txt requirements-local.txt pyproject.toml | .venv/bin/python
	.venv/bin/python -m pip install --disable-pip-version-check --no-warn-script-location -r requirements-local.txt
	.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	.venv/bin/python -m pip install --disable-pip-version-check --no-warn-script-location -r requirements-dev.txt
	@touch $@
