# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone: `make demo` or `make test`. Each target sets up what it needs; `make check` and `make test-fast`
# make do with a small environment of their own, without torch and ROS.

# The Python the environment is made with.
export PYTHON ?= python3
PYTEST_ARGS ?=
# Measured where it costs little; the floor is that of the unit tests.
COVERAGE := --cov --cov-append --cov-report=term:skip-covered
# Whoever has nothing left to do takes tests over from another worker; tests/once.py shares what is trained.
# Two more workers than there are cores, up to four: tests of nodes wait most of the time.
WORKERS := $(shell n=$$(($$(nproc) + 2)); echo $$((n < 4 ? n : 4)))
PARALLEL := --numprocesses $(WORKERS) --dist worksteal

# Each is written when its step is done, so an interrupted step is done again.
VENV := .venv/.installed
WORKSPACE := ros2_ws/install/.built
TRAINING := .venv/.training-installed

# What colcon reads at build time. Python sources are linked, and folders of installed files listed.
WORKSPACE_SOURCES := $(shell find ros2_ws/src/adet_interfaces -type f) \
  $(wildcard ros2_ws/src/*/setup.py ros2_ws/src/*/setup.cfg ros2_ws/src/*/package.xml) \
  $(wildcard ros2_ws/src/*/launch ros2_ws/src/*/config)

SOURCES := ros2_ws/src/adet_core:ros2_ws/src/adet_evaluation:ros2_ws/src/adet:ros2_ws/src/adet_console:ros2_ws/src/adet_forwarder:ros2_ws/src/adet_fleet:training:training/adet_synth:tools
# What a robot runs without ROS.
FAST := requirements/runtime.in requirements/evaluation.in requirements/console.in requirements/forwarder.in requirements/fleet.in requirements/unit.in
LINKED := ros2_ws/src/adet_core ros2_ws/src/adet_evaluation ros2_ws/src/adet_console ros2_ws/src/adet_forwarder ros2_ws/src/adet_fleet training/adet_synth

IN_ENV := . ./env.sh &&
IN_CHECK := PYTHONPATH=$(SOURCES) PATH="$(CURDIR)/.venv-check/bin:$$PATH"
IN_FAST := unset PYTHONPATH && PATH="$(CURDIR)/.venv-fast/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-openvino check docs lock clean clean-all
.NOTPARALLEL:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

setup: $(TRAINING) $(WORKSPACE) ## make .venv and build the ROS 2 workspace; a second run has nothing to do
	@echo "ready: . ./env.sh puts adet on the path of this shell"

demo: setup ## draw images, learn, inspect and evaluate them
	$(IN_ENV) tools/demo.sh

test: check setup ## check, then run every test (PYTEST_ARGS='-k bundle' for some)
	@# What is trained counts for coverage: it is made anew.
	$(if $(PYTEST_ARGS),,rm -rf .pytest_cache/d/once)
	$(IN_ENV) $(if $(PYTEST_ARGS),pytest $(PARALLEL) $(PYTEST_ARGS) tests,pytest $(PARALLEL) --cov --cov-report= --cov-fail-under=0 tests/unit)
	$(IN_ENV) $(if $(PYTEST_ARGS),true,pytest $(PARALLEL) $(COVERAGE) tests/training tests/ros tests/end_to_end)
	$(if $(PYTEST_ARGS),true,$(MAKE) test-openvino)

test-openvino: setup .openvino/.installed ## the tests of a backend that no other test may find installed
	$(IN_ENV) PYTHONPATH="$(CURDIR)/.openvino:$$PYTHONPATH" pytest tests/unit/test_openvino.py tests/unit/test_backends.py

.openvino/.installed: tests/openvino.txt
	$(IN_ENV) python tools/install.py --target .openvino --requirement tests/openvino.txt
	touch $@

test-fast: .venv-fast/.linked ## the tests of the runtime, without torch and ROS
	$(IN_FAST) pytest $(PARALLEL) $(PYTEST_ARGS) tests/unit

check: .venv-check/.installed ## style, types and import rules
	$(IN_CHECK) ruff check .
	$(IN_CHECK) ruff format --check .
	$(IN_CHECK) mypy
	$(IN_CHECK) lint-imports

docs: .venv-docs/.installed ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	@echo "site/index.html"

lock: ## write constraints.txt from requirements/ (LOCK_ARGS=--upgrade for new versions)
	tools/lock.sh

clean: ## remove builds, caches and the demo's output
	rm -rf ros2_ws/build ros2_ws/install ros2_ws/log demo site
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage*
	find . -name '.venv*' -prune -o -name __pycache__ -print0 | xargs -0 rm -rf

clean-all: clean ## the same, and the environments
	rm -rf .venv .venv-check .venv-fast .venv-docs .openvino

# An environment holds absolute paths: one that was moved or copied here is made anew.
ifneq ($(shell cat $(VENV) 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)
endif
ifneq ($(shell cat .venv-check/.installed 2>/dev/null),$(CURDIR))
.PHONY: .venv-check/.installed
endif
ifneq ($(shell cat .venv-fast/.installed 2>/dev/null),$(CURDIR))
.PHONY: .venv-fast/.installed
endif
ifneq ($(shell cat .venv-docs/.installed 2>/dev/null),$(CURDIR))
.PHONY: .venv-docs/.installed
endif

.venv-docs/.installed: docs/requirements.txt
	tools/small_venv.sh .venv-docs docs/requirements.txt

.venv-check/.installed: constraints.txt requirements/check.in
	tools/small_venv.sh .venv-check requirements/check.in

.venv-fast/.installed: constraints.txt $(FAST)
	tools/small_venv.sh .venv-fast $(FAST)

.venv-fast/.linked: .venv-fast/.installed $(addsuffix /setup.py,$(filter ros2_ws/%,$(LINKED)))
	.venv-fast/bin/python -m pip install --quiet --no-deps --no-build-isolation $(addprefix --editable ,$(LINKED))
	touch $@

$(VENV): constraints.txt $(wildcard requirements/*.in)
	tools/make_venv.sh

$(TRAINING): $(VENV) training/pyproject.toml training/adet_synth/pyproject.toml
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable training --editable training/adet_synth
	touch $@

$(WORKSPACE): $(VENV) $(WORKSPACE_SOURCES)
	tools/build_workspace.sh
