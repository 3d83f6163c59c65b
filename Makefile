# SPDX-License-Identifier: MIT
# The single door: `make` alone lists the targets. CI calls the same ones.
SHELL := /bin/sh
PYTHON ?= /usr/bin/python3
VENV := .venv
FRAMEWORKS := .venv-frameworks
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEBIAN := python3 python3-venv gcc libc6-dev shellcheck munge slurm-wlm slurmdbd mariadb-server galera-4 rsync lsof postgresql pgbouncer util-linux man-db mandoc zsh fish prometheus systemd chromium poppler-utils fonts-dejavu-core libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 nginx-light qpdf openssl

.DEFAULT_GOAL := help
.PHONY: help docs picture demo demo-stop test coverage test-frameworks test-pythons structure test-vm test-site test-slurms test-pyslurm soak siege check lint lint-types lint-ansible lint-docs lint-code zipapp dist debian format clean bench-accuracy bench-overhead bench-latency bench-minutes bench-spool bench-emissions bench-estimate bench-recalculate bench-privacy bench-receive bench-report bench-large bench-tracking bench-track-overhead

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) debian zipapp ## run the main job here: a real Slurm, jobs, carbon-acct, a month's report (KEEP=1 leaves it up)
	@$(BIN)/python tests/slurm/demo.py

demo-stop: ## stop what `make demo KEEP=1` left up
	@$(BIN)/python tests/slurm/demo.py --stop

# One process more than CPUs: tests wait for programs, but what they time must not wait for CPUs.
test: $(STAMP) debian lint zipapp ## install what is needed and pass all tests: rings 1 to 3 (root)
	$(BIN)/pytest -q -n $$(($$(nproc) + 1)) -m "not slurm and not gpu"
	$(BIN)/pytest -q -m slurm

# More processes than CPUs: many tests wait for a program. The plugin that is left out serves the fuzzer alone.
QUICK := HYPOTHESIS_PROFILE=quick $(BIN)/pytest -q -n 4 -p no:schemathesis --ignore tests/fuzz \
  -m "not slurm and not gpu and not servers and not root and not slow"

check: $(STAMP) lint zipapp ## the quick one: rings 1 and 2, without root, network, Slurm, database servers and what is slow
	$(QUICK)

coverage: $(STAMP) zipapp ## the tests of `make check`, and the lines that they cover
	$(QUICK) --cov --cov-report=
	@echo "lines covered (programs that a test starts not counted): $$($(BIN)/coverage report --format=total) %"

test-vm: $(STAMP) zipapp ## ring 5: the newest Slurm under systemd in an emulated machine that crashes (root, minutes)
	@$(MAKE) --no-print-directory debian DEBIAN="qemu-system-x86 qemu-utils debootstrap e2fsprogs"
	$(BIN)/pytest -q -m vm tests/vm

test-site: $(STAMP) debian ## packages in fresh Debian roots, the Ansible role over ssh on a running Slurm (root, 20 minutes)
	@$(MAKE) --no-print-directory debian DEBIAN="debootstrap rpm rpm2cpio cpio iproute2 openssh-server openssh-client sudo"
	$(BIN)/pytest -q -m site tests/packages tests/rollout

test-frameworks: $(STAMP) debian zipapp $(FRAMEWORKS)/.installed ## real PyTorch, Lightning, Keras, transformers, mpi4py, alone and in jobs of a real Slurm (root, 6 GB, minutes)
	PATH="$(CURDIR)/$(FRAMEWORKS)/bin:$$PATH" $(FRAMEWORKS)/bin/pytest -q -rs tests/job/test_callbacks.py tests/job/test_ranks.py
	$(FRAMEWORKS)/bin/pytest -q -s -m frameworks tests/slurm/test_frameworks.py

# A virtual environment of their own, on top of the project's.
$(FRAMEWORKS)/.installed: $(STAMP)
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check pytest torch lightning keras transformers accelerate mpi4py mpich
	@echo "import site; site.addsitedir('$$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages)')" \
	  >"$$(echo $(FRAMEWORKS)/lib/python3*/site-packages)/carbon-acct.pth"
	@touch $@

test-slurms: $(STAMP) ## which prologs the Slurm of Debian 12, 13 and testing runs, each in a root of its own; the table (root, minutes)
	@$(MAKE) --no-print-directory debian DEBIAN="debootstrap util-linux"
	$(BIN)/pytest -q -m site tests/slurms

test-pyslurm: $(STAMP) debian ## a real pyslurm beside sacct, job by job: PYSLURM_PYTHON=/venv/bin/python (root, a minute)
	@[ -x "$(PYSLURM_PYTHON)" ] || { sed -n '2,8p' tests/slurm/compare_pyslurm.py >&2; exit 2; }
	@cd tests && ../$(BIN)/python -m slurm.compare_pyslurm $(PYSLURM_PYTHON)

soak: $(STAMP) debian zipapp ## 2,000 jobs while collectors, aggregators and the database are killed (a real Slurm; root, 10 minutes)
	SOAK_JOBS=2000 $(BIN)/pytest -q -s -m slurm tests/slurm/test_soak.py

siege: $(STAMP) debian ## strangers, users, nodes' roots and slow readers against one aggregator at once; the table (root, 2 minutes)
	PYTHONPATH=tests $(BIN)/python tests/siege/siege.py 30 5000 2

lint: $(STAMP) ## ruff, mypy, import-linter, vermin (Python 3.9 on nodes and login nodes), yamllint, ansible-lint, shellcheck, docs
	@$(MAKE) --no-print-directory -j 2 --output-sync lint-types lint-ansible lint-docs lint-code

lint-types: $(STAMP)
	$(BIN)/mypy

lint-ansible: $(STAMP)
	cd ansible && ../$(BIN)/yamllint --strict . && PATH="$(CURDIR)/$(BIN):$$PATH" ansible-lint --offline -q

lint-docs: $(STAMP)
	@if command -v mandoc >/dev/null; then $(BIN)/python docs/build.py; else echo "mandoc is not installed: documentation not built"; fi

lint-code: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --violations --target=3.9- collector/carbon_collector job/carbon_job accounting/carbon_acct/client \
	  accounting/carbon_acct/cli/__init__.py accounting/carbon_acct/cli/acct accounting/carbon_acct/cli/estimate ansible packaging/build_zipapp.py
	@if command -v shellcheck >/dev/null; then shellcheck prolog/*.sh packaging/*/*.sh ansible/roles/*/files/*.sh; else echo "shellcheck is not installed: scripts not checked"; fi

docs: $(STAMP) ## build the documentation as a site into build/docs/html; warnings and dead links are errors
	@$(MAKE) --no-print-directory debian DEBIAN=mandoc
	@$(BIN)/python docs/build.py

picture: $(STAMP) ## draw the pictures of the documentation from their texts (Debian's graphviz)
	@$(MAKE) --no-print-directory debian DEBIAN=graphviz
	@$(BIN)/python docs/pictures/draw.py

structure: $(STAMP) ## imports that run back up from a lower room, and circles of files: both are to be none
	@$(BIN)/python tests/structure.py

test-pythons: $(STAMP) zipapp ## the client and the collector under each Python that is here (pyenv's too; root)
	$(BIN)/pytest -q -rs tests/collector/test_interpreters.py tests/accounting/client/test_pythons.py tests/accounting/cli/test_start.py

format: $(STAMP) ## let ruff put the code in order
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

zipapp: dist/carbon-collector ## build the collector as one file for the nodes

# It needs Python and pynvml.py (nvidia-ml-py, BSD), not the development environment.
dist/carbon-collector: packaging/build_zipapp.py $(shell find collector/carbon_collector -name '*.py' -o -name '*.csv')
	$(PYTHON) packaging/build_zipapp.py $@

dist: $(STAMP) ## build a release into dist/: wheel, sdist, zipapp, deb and rpm of node, server and client, checksums
	$(BIN)/python packaging/build_packages.py

# A virtual environment needs Debian's python3-venv; everything else comes from PyPI.
$(STAMP): pyproject.toml
	@$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || $(MAKE) debian
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Debian's packages for the rings that need them; nothing is started, whatever the packages would like.
debian:
	@missing=; for p in $(DEBIAN); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || tests/install-debian.sh $$missing

bench-accuracy: $(STAMP) ## each job's energy against the truth, beside the rules of others (virtual time)
	@$(BIN)/python benchmarks/accuracy.py

bench-overhead: $(STAMP) zipapp ## memory and CPU time of the collector, beside other tools (2 minutes; root)
	@$(BIN)/python benchmarks/overhead.py

bench-minutes: $(STAMP) zipapp ## what power by minute costs: collector, segments, database (minutes; root)
	@$(BIN)/python benchmarks/minutes.py

bench-latency: $(STAMP) zipapp ## prolog and epilog beside an empty script (1 minute; root)
	@$(BIN)/python benchmarks/latency.py

bench-spool: $(STAMP) ## how many days without an aggregator a node's spool holds (virtual time, minutes)
	@$(BIN)/python benchmarks/spool.py

bench-emissions: $(STAMP) ## grams of a month of jobs against brute force, beside simpler rules (synthetic grid, seconds)
	@$(BIN)/python benchmarks/emissions.py

bench-estimate: $(STAMP) ## errors of carbon-estimate: power by basis, carbon of the hours to come (made-up jobs and grid, seconds)
	@$(BIN)/python benchmarks/estimate.py

bench-recalculate: $(STAMP) ## a month of a million jobs recalculated: time, rows a second (minutes; 3 GB of disk)
	@$(BIN)/python benchmarks/recalculate.py

bench-privacy: $(STAMP) debian zipapp ## who sees whose jobs under each PrivateData, beside sacct (a real Slurm; root, a minute)
	@$(BIN)/python benchmarks/privacy.py

bench-receive: $(STAMP) debian ## records a second into SQLite, MariaDB and PostgreSQL, and over HTTP (root, minutes)
	@$(BIN)/python benchmarks/receive.py

bench-report: $(STAMP) ## a month's report of a site with a million jobs in it: JOBS="1000000" (minutes; 3 GB of disk)
	@$(BIN)/python benchmarks/report.py $(if $(JOBS),--jobs $(JOBS))

bench-large: $(STAMP) debian zipapp ## what people wait for among very many jobs, beside sacct: JOBS="10000 1000000" (root, minutes; 1.2 GB a million)
	@$(BIN)/python benchmarks/large.py $(if $(JOBS),--jobs $(JOBS))

bench-tracking: $(STAMP) ## predictions of simulated trainings beside other tools' rules, and what the intervals hold (minutes)
	@$(BIN)/python benchmarks/tracking.py

bench-track-overhead: $(STAMP) ## what tracking costs a program with epochs of 1 s, beside Carbontracker (2 minutes)
	@$(BIN)/python benchmarks/track_overhead.py

clean: ## remove what was built
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
