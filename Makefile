# Two commands for a fresh machine: `make demo` and `make test`. Everything lands in .venv, data/ and results/.
# Tests on real footage run where FASTAED_TEST_DATA names a folder with it (UCSDped2/, avenue/, labels/), and those
# on real detector weights where FASTAED_TEST_WEIGHTS names an .onnx or .pt file.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
CORES ?= $(shell nproc)
# Without a GPU to share, small networks side by side on one core each are faster than one after another on all.
NO_GPU := --resources gpu=$(CORES) --set-threads detector=1 pretrain=1 detect=1 teach=1 label=1 score_student=1
export PATH := $(BIN):$(PATH)

.PHONY: demo test check clean

demo: $(VENV)/installed
	snakemake $(NO_GPU) --cores $(CORES) results/demo/auc.csv results/demo/report
	@fastaed show results/demo

test: $(VENV)/installed
	python -m pytest

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
