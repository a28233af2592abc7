# Everything a person or a machine runs here. A fresh clone needs Python 3.11 or later, make and a package index.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11 python,$(shell \
	$(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
TRACE ?= sample_traces/dirty_log.dat
DEMO := sample_traces/bug_clear_log_without_flush.dat
# A worker for each CPU; one that is done takes over from the others.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
SELECT ?= all or not all

.DEFAULT_GOAL := help
.PHONY: help venv demo notebooks test test-all lint types format bench fuzz kernels man clean

help: ## say what there is to run
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run ## install lockscope here and judge a real trace of a kernel with a planted bug
	@echo "$$ lockscope analyze $(DEMO)"
	@$(BIN)/lockscope analyze $(DEMO); status=$$?; \
		printf '\nexit status %s: 0 nothing found, 1 findings, 2 no verdict\n' $$status; test $$status -le 1

test: lint types ## all that a change must pass: lint, format, strict types, tests
	$(PYTEST)

test-all: $(VENV)/.dev ## every test; needs trace-cmd, reads the traces in LOCKSCOPE_TRACES (default: sample_traces)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]'
	$(PYTEST) -m "$(SELECT)"

lint: $(VENV)/.dev ## ruff's rules and its format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff format the code and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## loading and judging side by side with trace-cmd, on TRACE inflated to 3 million events
	$(BIN)/python benchmarks/load.py --source $(TRACE) --events 3000000
	$(BIN)/python benchmarks/analyze.py $(TRACE) --events 3000000

notebooks: $(VENV)/.dev ## run the notebooks again and keep what they show
	$(BIN)/python -m tests.builders.notebooks

kernels: $(VENV)/.dev ## what lockscope does not know yet of the newest kernel that Debian has (slow; QEMU, root)
	@mkdir -p build/kernels && $(BIN)/lockscope probes > build/kernels/probes.sh
	tests/lab/newest.sh build/kernels
	$(BIN)/python -m tests.lab.compare build/kernels

fuzz: $(VENV)/.dev ## the fuzz and property tests, and the loops', on a build with gcc's sanitizers (hours)
	$(BIN)/python -m compiling.sanitized $(PYTEST) -m "all or not all" -k "fuzz or properties or core"

man: $(VENV)/.run ## the man page, build/man/lockscope.1, from the texts of the commands
	@mkdir -p build/man && $(BIN)/python -m lockscope.cli._manual > build/man/lockscope.1 && echo build/man/lockscope.1

venv: $(VENV)/.dev ## what the other targets need, in .venv

clean: ## take away what was built, cached and installed
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis lockscope/core/*.so
	find lockscope tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The stamps say what is installed: .run the package, .dev also the tools for working on it. pip takes its index and
# certificates from its own configuration. An editable installation compiles the loops of lockscope/core beside their
# sources; the tests compile them again where those changed (tests/conftest.py).
$(VENV)/.run: pyproject.toml $(wildcard compiling/*.py lockscope/core/*.py lockscope/core/*.pxd)
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later found: name one with make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing lockscope into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/python -m compileall -q lockscope
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing the tools for working on lockscope"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
