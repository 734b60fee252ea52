# Each target does its own set-up in .venv; a second call finds the stamp and installs nothing.
# ARGS passes options on: make run ARGS='--phrase "hello house"'

# The first of these that there is; a name alone may be a shim behind which there is none. It has to be a name: a line
# that began with the option after it would have its failures ignored by make.
PYTHON ?= $(or $(shell for minor in 11 12 13; do python3.$$minor -c '' 2>/dev/null && echo python3.$$minor && break; done),python3.11)
VENV := .venv
BIN := $(VENV)/bin/python
# The stamp's name changes with what is to be installed and with the folder, since a moved venv has to be linked again.
WANTED := $(shell { cat pyproject.toml constraints.txt; echo '$(CURDIR)'; } | cksum | cut -d ' ' -f 1)
SPEECH := $(VENV)/.installed-speech-$(WANTED)
DEV := $(VENV)/.installed-all-$(WANTED)
COMPILED := $(VENV)/.compiled-$(WANTED)
# A set-up that was cut off may have left a Python without pip.
PIP := { $(BIN) -m pip --version >/dev/null 2>&1 || $(BIN) -m ensurepip >/dev/null; } && \
	$(BIN) -m pip install -qq --disable-pip-version-check -c constraints.txt

# ESPHome wants other versions of many packages, all of which it pins, so that it has an environment of its own.
ESPHOME := .venv-esphome
ESPHOME_VERSION := 2026.6.5

.PHONY: run ui test test-long coverage lint style types tests format docs esphome dist clean

run: $(SPEECH)
	@$(BIN) -P -m wakeword_pipeline.cli demo $(ARGS)

ui: $(SPEECH)
	@$(BIN) -P -m wakeword_pipeline.cli ui $(ARGS)

# Bytecode is kept, whatever the shell says: tests start a hundred processes, and pytest rewrites each file of tests.
# Temporary folders are in memory where there is room: a build writes to its databases a thousand times, each to the disk.
MEMORY := $(shell df --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 4000000 { print "/dev/shm" }')
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= PYTEST_DEBUG_TEMPROOT=$(MEMORY) \
	$(BIN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 15

# mypy keeps one core busy, and so do the longest tests: side by side they take less.
test: style
	@$(MAKE) --no-print-directory -j 2 types tests

tests: $(COMPILED)
	@$(PYTEST) $(ARGS)

# Whole builds of what shorter tests look at part by part.
test-long: $(COMPILED)
	@$(PYTEST) -m long $(ARGS)

# Tracing takes a quarter more processor time, so this is for now and then.
coverage: $(COMPILED)
	@rm -f .coverage .coverage.*
	@$(PYTEST) --cov --cov-report=term --cov-fail-under=85 $(ARGS)

lint: style types

style: $(DEV)
	@$(BIN) .ci/check_files.py
	@$(BIN) -m ruff check .
	@$(BIN) -m ruff format --check .

types: $(DEV)
	@$(BIN) -m mypy

format: $(DEV)
	@$(BIN) -m ruff check --fix-only .
	@$(BIN) -m ruff format .

# The documents as a site in site/, with every link checked; nothing in it is loaded from elsewhere.
docs: $(DEV)
	@NO_MKDOCS_2_WARNING=1 $(BIN) -m mkdocs build --quiet
	@echo "The site is in site/; to read it: $(BIN) -m http.server --bind 127.0.0.1 --directory site"

# Only one test needs it, in which ESPHome itself reads a manifest; without it that one is skipped.
esphome: $(ESPHOME)/.installed-$(ESPHOME_VERSION)

# What a release uploads, each installed in an environment of its own: the wheel runs the small demonstration, the source
# archive tells its version.
dist: $(DEV)
	@rm -rf dist
	@$(BIN) -m build --outdir dist . >/dev/null
	@for file in dist/*.whl dist/*.tar.gz; do \
		$(BIN) -m venv --clear dist/try && dist/try/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
			"wakeword[$$(case $$file in *.whl) echo speech,train;; *) echo;; esac)] @ file://$(CURDIR)/$$file" || exit 1; \
		(cd dist/try && bin/wakeword --version) || exit 1; \
		case $$file in *.whl) (cd dist/try && bin/wakeword demo --fast --home home) || exit 1;; esac; \
	done
	@rm -rf dist/try
	@ls -l dist

clean:
	rm -rf $(VENV) $(ESPHOME) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -not -path './.wakeword/*' -prune -exec rm -rf {} +

$(BIN):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is none: install one, or say PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: on Debian, install $(notdir $(PYTHON))-venv"; exit 1; }

# DEV includes speech, so after `make test` there is nothing left for `make run` to install.
$(SPEECH): | $(BIN)
	@if [ ! -e $(DEV) ]; then \
		echo "Installing in $(VENV) (5 GB; a few minutes, once)"; \
		rm -f $(VENV)/.installed-*; \
		$(PIP) -e '.[judge,media,serve,speech,train,wyoming]'; \
	fi
	@$(BIN) -P -m wakeword_core.speech.engines.kokoro "$${WAKEWORD_HOME:-.wakeword}/cache" >/dev/null || \
		echo "So the voices of kokoro are not here yet; other voices do without them, and their first use tries again"
	@touch $@

# pip would take a minute to compile 20,000 files, of which a third is ever imported.
$(DEV): | $(BIN)
	@echo "Installing in $(VENV) (5 GB; a few minutes, once)"
	@rm -f $(VENV)/.installed-*
	@$(PIP) --no-compile -e '.[bench,dev,judge,postgres,speech]'
	@touch $@ $(SPEECH)

# The workers of the tests begin at once: each would compile the same files, those of the tests among them.
$(COMPILED): $(DEV)
	@PYTHONDONTWRITEBYTECODE= $(BIN) -m pytest --collect-only -qq >/dev/null 2>&1 || true
	@touch $@

$(ESPHOME)/.installed-$(ESPHOME_VERSION): | $(BIN)
	@echo "Installing ESPHome in $(ESPHOME) (250 MB; two minutes, once)"
	@$(BIN) -m venv --clear $(ESPHOME)
	@$(ESPHOME)/bin/python -m pip install -qq --disable-pip-version-check esphome==$(ESPHOME_VERSION)
	@touch $@
