# demo and test are what a newcomer runs; check is what CI runs. Each makes .venv if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format docs weights clean

demo: $(VENV)/run.stamp
	$(BIN)/colondepth demo --out demo

test: $(VENV)/dev.stamp
	$(BIN)/pytest -q -n auto

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --quiet
	@echo "Open build/site/index.html"

# The weights that come in the package, from nothing; goes on where it was stopped. Takes hours.
RUNS ?= runs
BANK := 1,2:128x160:8:160 3,4:128x160:8:320 \
	5:128x160:8:1200 6:128x160:8:1408 randomised:128x160:8:2208 \
	5:192x240:4:400 6:192x240:4:512 randomised:192x240:4:800 \
	1,2:192x240:4:32 3,4:192x240:4:64 1,2:256x320:4:32 3,4:256x320:4:64 \
	5:256x320:4:400 6:256x320:4:512 randomised:256x320:4:800
weights: $(VENV)/run.stamp
	@set -e; for each in $(BANK); do IFS=:; set -- $$each; unset IFS; \
	$(BIN)/colondepth cache --out $(RUNS)/cache --level $$1 --size $$2 --batch $$3 --batches $$4; done
	@set -e; for name in sfsnet sfsnet_lite; do \
	if test -e $(RUNS)/$$name/run.json; then \
	$(BIN)/colondepth train $$name --out $(RUNS)/$$name --resume; \
	else $(BIN)/colondepth train $$name --out $(RUNS)/$$name --cache $(RUNS)/cache --seed 1; fi; \
	$(BIN)/colondepth ship $(RUNS)/$$name; done

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch comes first and alone: its CPU build then satisfies what the others ask for.
$(VENV)/run.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	"colondepth needs Python 3.11 to 3.13, found %d.%d; say make PYTHON=python3.12" % v)'
	@echo "Installing into $(VENV); the first time takes a few minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/run.stamp
	$(PIP) -e '.[docs]'
	@touch $@
