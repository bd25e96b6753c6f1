# Chores. `make demo` and `make test` need Python 3.11+ and a package index, and make their own environment.

PYTHON ?= python3
VENV ?= .venv
OLDEST ?= .venv-oldest
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-long test-oldest test-faults check bench docs fuzz

demo: $(READY) ## the whole road on a made-up language: text, encoder, tasks, report
	$(BIN)/bertwright demo build/demo

test: $(READY) ## all tests but the long ones
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not long and not faults"

test-long: $(READY) ## the long tests: twenty kills, shipped recipes
	$(BIN)/python -m pytest -m long --timeout=3600

# torch stays at the version of constraints.txt: older CPU builds are not everywhere. Old packages warn of their age.
QUICK := tests/frame tests/text tests/pack tests/encoder tests/tasks tests/exits tests/reports
test-oldest: $(OLDEST)/.ready ## the quick tests, on the oldest packages that pyproject.toml allows
	$(OLDEST)/bin/python -m pytest -m "not long and not faults" -o filterwarnings=default $(QUICK)

test-faults: $(READY) ## a fault at every operation on the disk, and a hundred kills: more than two hours
	$(BIN)/python -m pytest -m faults

check: $(READY) ## formatting, lint, types
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

# Those that want a finished run, a downloaded file or a GPU are started by hand: their first lines say how.
BY_HAND := peers gpu int8_quality main_job plain_tuned three_layers
BENCHMARKS := $(filter-out $(BY_HAND:%=benchmarks/%.py),$(wildcard benchmarks/*.py))
bench: $(READY) ## the benchmarks, hours; each prints lines for people and one JSON object last
	for script in $(BENCHMARKS); do $(BIN)/python $$script || exit 1; done

fuzz: $(READY) ## readers of foreign bytes, fed with wrong ones; FUZZ_SECONDS=60 each, led by coverage where atheris is installed
	nice -n 5 $(BIN)/python fuzz/fuzz.py --seconds $(or $(FUZZ_SECONDS),60)

docs: $(READY) ## the references of commands, recipes and errors
	$(BIN)/python docs/make_reference.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,export,serve,dev]"
	touch $(READY)

$(OLDEST)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet uv
	$(OLDEST)/bin/uv pip compile --quiet --python $(OLDEST)/bin/python --resolution lowest-direct -c constraints.txt --no-emit-package torch \
		--extra train --extra export --extra serve --extra near-dedup pyproject.toml -o $(OLDEST)/oldest.txt
	$(OLDEST)/bin/pip install --quiet -c constraints.txt -c $(OLDEST)/oldest.txt \
		-e ".[train,export,serve,near-dedup]" pytest pytest-timeout hypothesis scikit-learn captum jsonschema
	touch $(OLDEST)/.ready
