# Everything starts here, from a fresh clone on Linux with Python 3.11 to 3.13, make and git: each target first makes the
# environment it needs (demo/install.py), and that is quick when nothing changed. `make` alone lists the targets.

# The first Python that runs; a name on PATH may be a shim without a Python behind it.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do $$python -c '' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
CLOUDS ?= eks,gke,aks
# Simulated seconds in a real one, and what draws the order of the trials and the simulator's noise.
SPEED ?= 40
SEED ?= 1
PORT ?= 8080
# Further arms of the demo: `all`, names of treatments, `name@cloud`; empty: none. The origin named this one and did not measure it.
TREATMENTS ?= capacity_buffer@eks
PREPARE ?= 1
# Test processes side by side.
WORKERS ?= 2
# Pairs of faults that `make crash-points` draws.
PAIRS ?= 5000

BIN := $(VENV)/bin
INSTALL = $(or $(PYTHON),$(error No python3 was found on PATH: install Python 3.11)) demo/install.py --venv $(VENV)

.PHONY: help demo ui test docs stack stack-down stack-chaos chaos crash-points bench compat scale measurement decisions treatments store-bench constraints clean

help:
	@echo "make demo         the whole experiment in a real Airflow on simulated clouds, then its tables  (CLOUDS=$(CLOUDS) SPEED=$(SPEED) SEED=$(SEED) TREATMENTS=$(TREATMENTS))"
	@echo "make ui           Airflow's pages on 127.0.0.1:$(PORT), the same DAGs, simulated clouds         (PORT= PREPARE=0|1 CLOUDS= SPEED= SEED=)"
	@echo "make stack        Airflow with Postgres, Redis, two schedulers, triggerers and Celery workers     (CLOUDS= SPEED= SEED= PORT=)"
	@echo "make stack-down   stop it"
	@echo "make test         every check: format, lint, types, floors, tests                              (WORKERS=$(WORKERS))"
	@echo "make docs         the documentation site, in build/site; fails on a broken link or anchor"
	@echo "make chaos        kill and cancel what there is to kill in a real Airflow; some eight minutes, logs in build/chaos"
	@echo "make crash-points every call to the outside fails in every way, in virtual time; PAIRS of faults   (SEED= PAIRS=5000)"
	@echo "make stack-chaos  kill each process of the distributed set-up during a trial, logs in build/stack-chaos"
	@echo "make bench        import and parse times, the simulated Kubernetes API's speed"
	@echo "make compat       the built wheel in fresh environments: every Airflow and Python that it claims; half an hour"
	@echo "make scale        what many waits cost a triggerer (docs/scale.md); a quarter of an hour"
	@echo "make measurement  every figure that the measurement is trusted for (docs/measurement.md); some 15 minutes"
	@echo "make decisions    how far intervals hold what they claim, and a store of a million trials (docs/decisions.md); 9 GB of disk"
	@echo "make treatments   no-ops, false alarms, what-if, the fastest cold start per cloud, calibration (docs/treatments.md); half an hour"
	@echo "make store-bench  size, ingestion, time and memory of stores of 10^3 to 10^6 trials, SQLite and PostgreSQL; 20 GB of disk"
	@echo "make constraints  resolve constraints.txt anew"
	@echo "make clean        remove build/ and the caches; the environment $(VENV) stays"

demo:
	@$(INSTALL) --clouds "$(CLOUDS)"
	@$(BIN)/python demo/run.py --clouds "$(CLOUDS)" --speed $(SPEED) --seed $(SEED) --treatments "$(TREATMENTS)"

ui:
	@$(INSTALL) --clouds "$(CLOUDS)"
	@$(BIN)/python demo/ui.py --clouds "$(CLOUDS)" --speed $(SPEED) --seed $(SEED) --port $(PORT) --prepare $(PREPARE)

# The set-up of docker-compose.yaml as processes. It runs in the background, for four hours at most.
stack:
	@$(INSTALL) --stack "$(CLOUDS)"
	@$(BIN)/python demo/distributed.py up --clouds "$(CLOUDS)" --speed $(SPEED) --seed $(SEED) --port $(PORT)

stack-down:
	@$(BIN)/python demo/distributed.py down

# Every check runs even when one before it failed; pytest comes last, so that its closing line is the last word.
test:
	@$(INSTALL) --dev
	@failed=; \
	for check in "ruff format --check" "ruff check" "mypy" "lint-imports"; do \
	    echo "--- $$check"; $(BIN)/$$check || failed="$$failed, $$check"; \
	done; \
	echo "--- pytest"; \
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15 --durations-min 1 || failed="$$failed, pytest"; \
	[ -z "$$failed" ] || { echo "Failed: $${failed#, }" >&2; exit 1; }

# A broken internal link, anchor or picture fails the build. External links are not fetched.
docs:
	@$(INSTALL) --docs
	@$(BIN)/zensical build --strict --clean
	@$(BIN)/python .ci/check_site.py build/site

# `make test` runs three of these cases.
chaos:
	@$(INSTALL) --dev
	@LLM_PROVISIONING_CHAOS=all $(BIN)/pytest tests/chaos --capture no
	@$(BIN)/python tests/chaos/random_night.py --seed $(SEED)

# Single faults, pairs, then waits with a budget; one JSON line each. `python benchmarks/crash_points.py --help` has the sample's options.
crash-points:
	@$(INSTALL) --dev
	@mkdir -p build
	@$(BIN)/python benchmarks/crash_points.py --whole --seed $(SEED) --pairs $(PAIRS) --details build/crash-points.json

stack-chaos:
	@$(INSTALL) --dev
	@LLM_PROVISIONING_CHAOS=stack $(BIN)/pytest tests/chaos/test_stack.py --capture no

bench:
	@$(INSTALL) --dev
	@$(BIN)/python benchmarks/imports.py
	@$(BIN)/python benchmarks/kube_api.py

compat:
	@$(INSTALL) --dev
	@$(BIN)/python benchmarks/compat.py

scale:
	@$(INSTALL) --dev
	@$(BIN)/python benchmarks/scale.py
	@$(BIN)/python benchmarks/scale.py --waits 400 --one-dies

measurement:
	@$(INSTALL) --dev
	@$(BIN)/python benchmarks/measurement.py --details build/measurement.json

decisions:
	@$(INSTALL) --dev
	@$(BIN)/python benchmarks/decisions.py

# Parts alone: `python benchmarks/treatments.py --only record --page` writes the table of what pays.
treatments:
	@$(INSTALL) --dev
	@$(BIN)/python benchmarks/treatments.py --seed $(SEED) --details build/treatments.json

store-bench:
	@$(INSTALL) --dev
	@$(BIN)/python benchmarks/store.py

constraints:
	@$(INSTALL) --dev
	@$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11.0 --upgrade --quiet \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header --no-emit-package llm-provisioning-simulator \
	    --no-emit-package airflow-llm-provisioning --output-file constraints.txt

clean:
	rm -rf build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
