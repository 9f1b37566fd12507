# Two commands for a fresh machine: `make demo` and `make test`. Everything lands in .venv, data/ and results/.
# Tests on real footage run where FASTAED_TEST_DATA names a folder with it (UCSDped2/, avenue/, labels/), and those
# on real detector weights where FASTAED_TEST_WEIGHTS names an .onnx or .pt file.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
CORES ?= $(shell nproc)
export PATH := $(BIN):$(PATH)

.PHONY: demo test test-slow check clean

demo: $(VENV)/installed
	snakemake --cores $(CORES) results/demo/auc.csv results/demo/report
	@fastaed show results/demo

test: $(VENV)/installed
	python -m pytest

test-slow: $(VENV)/installed
	python -m pytest -m slow

check: $(VENV)/installed
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	snakemake --lint

# opencv-python needs the system's libGL; a machine without it gets the headless build of the same release.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --upgrade pip
	pip install --quiet --editable '.[dev,report]'
	python -c "import cv2" 2>/dev/null || pip install --quiet --no-deps --force-reinstall \
		"opencv-python-headless==$$(pip show opencv-python | sed -n 's/^Version: //p')"
	touch $@

clean:
	rm -rf results/demo data/demo logs/demo benchmarks/demo
