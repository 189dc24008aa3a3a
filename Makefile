# Every target makes .venv itself; PYTHON names the interpreter it is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
QUICK := not chaos and not system
# each worker would compile each test anew
unexport PYTHONDONTWRITEBYTECODE
PARALLEL := -n 3 --dist worksteal
LOWEST := $(VENV)-lowest
FRESH := $(VENV)-fresh

.PHONY: docs demo test coverage test-system check lint fmt bench chaos fuzz mutate clean constraints sbom test-lowest

demo: $(INSTALLED)
	$(BIN)/ollama-admin demo

test: $(READY)
	$(BIN)/pytest $(PARALLEL) -m "$(QUICK)"
	@echo "left out: make test-system (needs nginx, PgBouncer, Node, npm, chromium and promtool) and make chaos (takes long, needs PgBouncer)"

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/pytest $(PARALLEL) --timeout 120 -m "$(QUICK)" --cov --cov-report=term

test-system: $(READY)
	$(BIN)/pytest -m "system and not chaos"

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

check: lint test

# the site, in build/docs/site; a warning is an error
docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	$(BIN)/python docs/build.py build/docs

fmt: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

chaos: $(READY)
	$(BIN)/pytest -m chaos --timeout 600 --hypothesis-profile=random

fuzz: $(READY)
	$(BIN)/pytest -n 2 --timeout 3600 --hypothesis-profile=fuzz tests/api/test_schema.py

mutate: $(READY)
	$(BIN)/python -m tests.mutation

# writes constraints.txt anew: the newest versions that pyproject.toml allows
constraints:
	rm -rf $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/python -m pip install --quiet '.[dev]'
	sed '/^[^#]/d' constraints.txt > $(FRESH)/constraints.txt
	$(FRESH)/bin/python -m pip freeze --exclude ollama-admin >> $(FRESH)/constraints.txt
	cp $(FRESH)/constraints.txt constraints.txt
	rm -rf $(FRESH)

# which packages, in which versions, an installation from the wheel has: dist/sbom.json (CycloneDX)
sbom:
	rm -rf $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/python -m pip install --quiet --constraint constraints.txt '.[server]'
	$(PYTHON) -m venv $(FRESH)/sbom
	$(FRESH)/sbom/bin/python -m pip install --quiet cyclonedx-bom
	mkdir -p dist
	$(FRESH)/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/sbom.json $(FRESH)/bin/python
	rm -rf $(FRESH)

# the oldest versions that pyproject.toml allows
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	$(LOWEST)/bin/pytest $(PARALLEL) --timeout 120 -m "$(QUICK)"

clean:
	rm -rf $(VENV) $(LOWEST) $(FRESH) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing ollama-admin into $(VENV), about 170 MB"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[server]"
	@touch $@

$(READY): $(INSTALLED)
	@echo "installing what the tests need into $(VENV), about 400 MB more"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
