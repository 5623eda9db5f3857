# Everything a contributor or CI runs; `make help` lists it.  Needs python3 (3.10 or newer) with
# pip, make and git; the tests use npm, too, where there is one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Extra arguments for pytest: make test PYTEST_ARGS="-x -k journal"
PYTEST_ARGS ?=
# make test COVERAGE=1 measures, and fails below the floor of pyproject.toml.
COVERAGE ?=
# Where `make ae5-archive` and `make wheel` put their files.
DIST ?= dist

# Everything the archive for Anaconda Enterprise 5 holds; of docs only what people read.  README.ae5.md is
# its README.md: that of the repository speaks of files and commands that are not in it.
ARCHIVE_FILES := anaconda-project.yml pyproject.toml README.ae5.md LICENSE CHANGELOG.md \
	docs ':!docs/_*' ':!docs/conf.py' mlflow_gc schemas
# GNU tar; on a Mac: make TAR=gtar
TAR ?= tar

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Some containers set it.  Tests start hundreds of processes: each would compile MLflow again, which
# takes longer than importing it.
unexport PYTHONDONTWRITEBYTECODE

# ---------------------------------------------------------------------------- environment
# The name of the stamp holds a checksum of what the environment is made from, so that a changed
# lock file, also one that came with a checkout of an older commit, is always noticed.
# The settings of ruff and what follows them in pyproject.toml do not change the environment.
LOCK_KEY := $(shell { cat requirements-dev.txt; sed '/^\[tool\.ruff\]/,$$d' pyproject.toml; } \
	| cksum | cut -d' ' -f1)
STAMP := $(VENV)/.stamp-$(LOCK_KEY)

# uv reads neither pip's settings nor (always) the system's certificates: hand over both.  When it
# cannot be installed or fails, pip does the same from the same hashes, only slower.
UV_ENV = env UV_NO_CONFIG=1 UV_NO_PROGRESS=1 \
	$${PIP_CERT:+SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"} \
	$${PIP_INDEX_URL:+UV_DEFAULT_INDEX="$$PIP_INDEX_URL"}
UV = $(UV_ENV) $(BIN)/uv

.PHONY: venv
venv: $(STAMP)  ## build or refresh the environment in .venv

$(STAMP): | requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed; try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Building $(VENV) from requirements-dev.txt ..."
	@# Without ensurepip (Debian's bare python3) the pip outside installs into the environment.
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null \
		|| $(PYTHON) -m venv --clear --without-pip $(VENV)
	@rm -f $(VENV)/.stamp-*
	@awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements-dev.txt > $(VENV)/uv.txt
	@set -e; \
	if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
	else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
	pip="$$pip --disable-pip-version-check"; \
	fast() { \
		$$pip install --quiet --require-hashes --only-binary :all: -r $(VENV)/uv.txt \
		&& $(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
			--require-hashes -r requirements-dev.txt; \
	}; \
	fast || { echo "uv could not do it; pip installs instead (slower) ..."; \
		$$pip install --quiet --require-hashes -r requirements-dev.txt; }; \
	$$pip install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

.PHONY: venv-lowest
venv-lowest: $(STAMP)  ## put the lowest allowed versions of the dependencies into .venv (back: make clean)
	$(UV) pip compile --quiet --python $(BIN)/python --resolution lowest-direct pyproject.toml \
		-o $(VENV)/lowest.txt >/dev/null
	$(UV) pip install --quiet --python $(BIN)/python -r $(VENV)/lowest.txt

# An independent schema validator, and Azure's storage; the tests say why they skip where they are
# missing.
NPM := tests/ajv/node_modules/.stamp tests/azurite/node_modules/.stamp

%/node_modules/.stamp: %/package-lock.json
	@if ! command -v npm >/dev/null; then \
		echo "npm is not installed: the tests that need $* will be skipped" >&2; \
	elif npm ci --prefix $* --ignore-scripts --no-audit --no-fund --loglevel=error; then \
		touch $@; \
	else \
		echo "npm ci failed: the tests that need $* will be skipped" >&2; \
		test -z "$${CI:-}"; \
	fi

.PHONY: lock
lock: $(STAMP)  ## resolve the dependencies again (LOCK_FLAGS=--upgrade for newer ones)
	@$(COMPILE) pyproject.toml -o requirements.txt
	@$(COMPILE) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) pyproject.toml --all-extras --group image -c requirements.txt -c requirements-dev.txt \
		$$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package=\1/p' requirements.txt) -o requirements-image.txt

# One lock for every supported Python; it names no index, so it works with any mirror.  That of the
# image holds only what it has on top of requirements.txt.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.10 \
	--generate-hashes --no-annotate --custom-compile-command "make lock" $(LOCK_FLAGS)

# ---------------------------------------------------------------------------- everyday targets
.PHONY: demo
demo: $(STAMP)  ## try the tool on a throw-away local MLflow server
	@$(BIN)/mlflow-gc demo $(DEMO_ARGS)

# A pytest that finds the program and the tools of the environment; on two processors or more.
PYTEST = PATH="$(CURDIR)/$(BIN):$$PATH" $(if $(COVERAGE),$(BIN)/coverage run -m,$(BIN)/python -m) \
	pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal
WORKERS ?= auto

.PHONY: test
# Its tests wait for servers half of the time: one worker more than there are cores.
test: WORKERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test: $(STAMP) $(NPM)  ## what a change must pass: all tiers, few cases (PYTEST_ARGS="-k journal" for some)
	@$(if $(COVERAGE),$(BIN)/coverage erase)
	$(PYTEST) --depth quick $(PYTEST_ARGS)
	@$(if $(COVERAGE),$(BIN)/coverage combine --quiet && $(BIN)/coverage report)

.PHONY: test-unit
test-unit: $(STAMP)  ## the unit tests alone, in less than a minute: the loop while editing
	$(PYTEST) --depth quick $(or $(PYTEST_ARGS),tests/unit)

.PHONY: test-all
test-all: $(STAMP) $(NPM)  ## everything, with many cases: nightly and before a release (an hour)
	$(PYTEST) --depth deep $(PYTEST_ARGS)

# One process for each version: its servers are started once, and serve one test after the other.
.PHONY: compat
compat: $(STAMP)  ## servers of other versions of MLflow, into docs/compatibility.md (some: VERSIONS="2.14.3 newest")
	@versions="$$($(UV_ENV) $(BIN)/python tests/compat/environments.py $(VERSIONS))" || exit 1; \
	mkdir -p $(COMPAT_LOGS); \
	printf '%s\n' $$versions | xargs -P $(COMPAT_WORKERS) -I VERSION sh -c '\
		$(BIN)/python -m pytest --timeout 1800 --mlflow VERSION $(or $(PYTEST_ARGS),tests/compat) \
			> $(COMPAT_LOGS)/VERSION.log 2>&1; result=$$?; \
		grep -a "^FAILED\|^ERROR" $(COMPAT_LOGS)/VERSION.log; \
		echo "MLflow VERSION: $$(tail -n 1 $(COMPAT_LOGS)/VERSION.log | tr -d =)"; exit $$result'; \
	result=$$?; $(BIN)/python tests/compat/table.py && exit $$result
COMPAT_WORKERS ?= 2
COMPAT_LOGS := build/compat

.PHONY: lint
lint: $(STAMP)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(STAMP)  ## let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: types
types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

.PHONY: docs
docs: $(STAMP)  ## the documentation site, in build/docs; a warning is an error
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 11))'; then \
		echo "Sphinx needs Python 3.11 or newer: the documentation site is not built" >&2; \
	else \
		$(BIN)/sphinx-build -W --keep-going -n -E -q -d build/doctrees docs build/docs \
		&& echo build/docs/index.html; \
	fi

.PHONY: links
links: $(STAMP)  ## request every external link of the documentation (needs the internet, Python 3.11)
	@$(BIN)/sphinx-build -b linkcheck -q -d build/doctrees docs build/links; failed=$$?; \
	$(BIN)/sphinx-build -b linkcheck -q -C -d build/doctrees-links -D extensions=myst_parser \
		-D suppress_warnings=myst.xref_missing,toc.not_included -D root_doc=README \
		-D include_patterns=README.md,CONTRIBUTING.md,CHANGELOG.md . build/links && exit $$failed

.PHONY: reference
reference: $(STAMP)  ## write the tables of docs/reference from the code
	@$(BIN)/python docs/_record/reference.py

# These run the program on a throw-away demo server and write into docs/; look at the difference.
.PHONY: tutorial
tutorial: $(STAMP)  ## paste the output of today's program into docs/tutorial.md
	@$(BIN)/python docs/_record/tutorial.py

.PHONY: recording
recording: $(STAMP)  ## record the moving picture of a terminal in docs/images again
	@$(BIN)/python docs/_record/recording.py

.PHONY: screenshots
screenshots: $(STAMP)  ## take the pictures in docs/images again (needs Chromium)
	@$(BIN)/python docs/_record/screenshots.py

.PHONY: architecture
architecture: $(STAMP)  ## draw the picture of the packages in docs/images again, from the imports
	@$(BIN)/python docs/_record/architecture.py

.PHONY: bench
bench: $(STAMP)  ## all benchmarks, into build/benchmarks (needs PostgreSQL; some: BENCH="read delete")
	@$(BIN)/python benchmarks/all.py $(BENCH)

.PHONY: check
check: lint types docs  ## everything CI checks
	@$(MAKE) --no-print-directory test COVERAGE=1

# ---------------------------------------------------------------------------- release files
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' mlflow_gc/version.py)
ARCHIVE := $(DIST)/mlflow-gc-$(VERSION)
# Same content, same bytes: every file carries the time of the last commit.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)
export SOURCE_DATE_EPOCH

.PHONY: ae5-archive
ae5-archive:  ## the project archive for Anaconda Enterprise 5, in DIST
	@mkdir -p "$(DIST)"
	@git ls-files -z --cached --others --exclude-standard -- $(ARCHIVE_FILES) > "$(ARCHIVE).files"
	@LC_ALL=C sort -z "$(ARCHIVE).files" \
		| $(TAR) --create --null --no-recursion --files-from=- --format=ustar \
			--transform='s,^README.ae5.md$$,README.md,;s,^,mlflow-gc-$(VERSION)/,' --mtime=@$(SOURCE_DATE_EPOCH) \
			--owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --file="$(ARCHIVE).tar"
	@gzip -9n < "$(ARCHIVE).tar" > "$(ARCHIVE).tar.gz"
	@rm "$(ARCHIVE).files" "$(ARCHIVE).tar"
	@echo "$(ARCHIVE).tar.gz"

.PHONY: wheel
wheel: $(STAMP)  ## the Python wheel, in DIST
	@$(BIN)/python -m hatchling build --target wheel --directory "$(DIST)"

# ---------------------------------------------------------------------------- house-keeping
.PHONY: clean
clean:  ## remove everything make and the tools built
	rm -rf .venv .compat tests/*/node_modules build dist htmlcov .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
