# make demo: export the bundled checkpoint and classify a photograph.
# make test: after every change; lint, types, and the tests that need nothing but Python.
# make test-all: every test there is, which CI runs. README.md says how long both take.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# A worker a core. tests/support/resources.py: which tests stay on one worker, come first, or run alone.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadgroup --no-loadscope-reorder
# What Python compiled is kept: hundreds of processes of the tests start from it.
unexport PYTHONDONTWRITEBYTECODE
DEMO := build/demo/mobilevitv2-0.5-demo20

.PHONY: demo test test-all lint types dist cli.md peers headline toolchains accelerators clean

demo: $(VENV)/export.installed
	$(BIN)/mvit2-export --variant 0.5 --weights demo --output build/demo --overwrite
	$(BIN)/mvit2 predict $(DEMO) mvit2/photos/coffee.jpg --top-k 3

test: lint types
	$(PYTEST) --quick

test-all: lint types
	$(PYTEST)

lint: $(VENV)/test.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy reads folders, not setuptools' mapping: lay the package out by links as it is installed.
types: $(VENV)/test.installed
	rm -rf build/types && mkdir -p build/types/mvit2
	ln -s $(addprefix $(CURDIR)/,$(wildcard mvit2/*)) $(CURDIR)/export $(CURDIR)/quantize $(CURDIR)/runtime build/types/mvit2/
	$(BIN)/mypy

# The sdist and the wheel, for dist/.
dist: $(VENV)/test.installed
	rm -rf dist
	$(BIN)/python -c "from setuptools.build_meta import build_sdist; build_sdist('dist')"
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz

# The reference of the command line, from its options.
cli.md: $(VENV)/export.installed
	$(BIN)/python docs/generate_cli.py > docs/cli.md

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/export.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[export]'
	touch $@

# timm is an oracle of the tests; it asks for torchvision, which nothing here uses, so it comes without what it asks for.
$(VENV)/test.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[test]'
	$(INSTALL) --no-deps timm
	touch $@ $(VENV)/export.installed

# Latency beside what other tools make of the same network. litert-torch is measured where it is installed.
peers: $(VENV)/test.installed
	$(INSTALL) --editable '.[peers]'
	$(BIN)/python -m tests.peers

# MobileViTV2 beside the first MobileViT at three image sizes, and their ratio as a drawing: half an hour on two cores.
headline: $(VENV)/test.installed
	$(INSTALL) --editable '.[peers]'
	$(BIN)/python -m tests.headline --json build/headline.json --plot build/headline.png

# Chromium, and the compilers that the tests of runtime/sources/ use. What this machine cannot install is named.
toolchains:
	bash .ci/toolchains/install

# Where files are proven (tests/accelerators). What cannot be installed here is named, and the tests skip it by that name.
accelerators: $(VENV)/test.installed
	for extra in qnn ethos-u; do $(INSTALL) --editable ".[$$extra]" || echo "NO $$extra: nothing is proven there"; done

clean:
	rm -rf build $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache
