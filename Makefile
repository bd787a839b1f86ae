# The commands of this repository. They need Linux, Python 3.11–3.13 and make; everything else they
# install into .venv from hash-checked pins.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := $(wildcard requirements/*.txt) $(wildcard */pyproject.toml)
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo up down status clean test test-full loadtest lint format pins molecule bench bench-lb overload

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.ready ## The environment of all other commands

$(VENV)/.ready: $(REQUIREMENTS) requirements/make-venv requirements/make-pins
	@requirements/make-venv $(VENV)
	@touch $@

demo: venv ## Everything once, from nothing: train, release, boot a fleet, predict, break a VM
	@$(BIN)/python -m skfleet_local.demo

up: venv ## The local fleet, left running
	@$(BIN)/skfleet-local up

down: venv ## End the local fleet, whatever state it is in
	@$(BIN)/skfleet-local down

status: venv ## What the local fleet looks like
	@$(BIN)/skfleet-local status

# Of a directory of tests alone: AREA=serving; what boots a fleet is an area of its own: AREA=playbooks-fleet.
TEST = PYTHONPATH=testing $(BIN)/python -m skfleet_testing $(if $(AREA),--area $(AREA)) $(if $(PART),--part $(PART)) $(PYTEST_ARGS)
test: venv ## All tests that this machine can run, or AREA=serving; skips print what is missing
	@$(TEST)

test-full: venv ## The long matrices whole
	@SKFLEET_TEST_FULL=1 $(TEST)

PROFILE ?= constant
WORKERS ?= 2
TARGET ?= iap
loadtest: venv ## Does the fleet keep its SLO? PROFILE=constant|steps|spike|soak|day|original RATE= DURATION= WORKERS= TARGET=iap|internal
	@PYTHONPATH=loadtest $(BIN)/python -m skfleet_loadtest run --profile $(PROFILE) --workers $(WORKERS) --target $(TARGET) \
	  $(if $(RATE),--rate $(RATE)) $(if $(DURATION),--duration $(DURATION)) $(if $(VMS),--vms $(VMS)) $(if $(BASELINE),--baseline $(BASELINE)) \
	  $(if $(CANARY),--canary $(CANARY)) $(if $(MODEL),--model $(MODEL)) $(if $(EVENTS),--events $(EVENTS)) $(LOADTEST_ARGS)

bench: venv ## Side by side with other model servers (wrk); ROUNDS= DURATION= ONLY=contender,… CASES=case,…
	@PYTHONPATH=bench $(BIN)/python -m skfleet_bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DURATION),--duration $(DURATION)) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(CASES),--cases $(CASES)) $(BENCH_ARGS)

bench-lb: venv ## The same single row straight to a VM and through the load balancers (wrk); ROUNDS= DURATION=
	@PYTHONPATH=bench $(BIN)/python -m skfleet_bench.load_balancers $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DURATION),--duration $(DURATION)) $(BENCH_ARGS)

overload: venv ## Twice the load that the service takes: what is admitted, what is refused, and its health
	@PYTHONPATH=bench $(BIN)/python -m skfleet_bench.overload $(BENCH_ARGS)

molecule: venv ## Roles and playbooks on real systemd hosts (root, systemd-container, mmdebstrap); SCENARIOS="rollout patch"
	@molecule/run $(SCENARIOS)

lint: venv ## Style, types, Ansible, shell, Terraform and Packer
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=loadtest:bench $(BIN)/lint-imports
	@PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_HOME=$(CURDIR)/.ansible $(BIN)/ansible-lint --offline --strict
	@$(BIN)/shellcheck .ci/run molecule/run packer/folder requirements/make-venv requirements/make-pins $$(find roles loadtest -name "*.sh")
	@if command -v terraform >/dev/null; then terraform fmt -check -recursive terraform; \
	else echo "skipped terraform fmt: terraform is not installed"; fi
	@if command -v packer >/dev/null; then packer fmt -check packer; \
	else echo "skipped packer fmt: packer is not installed"; fi

format: venv ## Write the style that lint asks for
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

pins: venv ## Resolve requirements/*.in again, hashes included
	@requirements/make-pins $(BIN)/uv
	@bench/requirements/make-pins $(BIN)/uv

# What commands wrote for their user. Results of load tests are in loadtest/results.
KEPT := models rollouts
SOURCES := app ops local testing loadtest bench playbooks packer terraform molecule roles inventories

clean: ## End the fleet and remove what make made; models, rollouts and results stay
	@if [ -x $(BIN)/skfleet-local ]; then $(BIN)/skfleet-local down; fi
	@if [ -e $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis .ansible __pycache__
	@find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} + -o -name 'skfleet*.egg-info' -prune -exec rm -rf {} +
	@if [ -d .skfleet ]; then \
	  find .skfleet -mindepth 1 -maxdepth 1 $(foreach name,$(KEPT),! -name $(name)) -exec rm -rf {} +; \
	  rmdir .skfleet 2>/dev/null || echo "kept $$(echo .skfleet/*): yours; remove what you no longer need"; \
	fi
