# make help lists the targets. Each works as the only command typed in a fresh clone: it runs setup first.
# That of .venv while it is there; at first the machine's.
PYTHON ?= $(or $(wildcard $(shell sed -n 's/^executable = //p' .venv/pyvenv.cfg 2> /dev/null)),python3)
VENV := .venv/bin/python
NETS := $(sort $(subst _,-,$(patsubst nets/%/solve.py,%,$(wildcard nets/*/solve.py))))

# Debian packages, installed when they are missing and root asks.
debian = @dpkg-query -W $(1) > /dev/null 2>&1 || \
    { [ "$$(id -u)" = 0 ] && apt-get install -y -qq $(1) > /dev/null; } || \
    { echo 'error: missing packages; run: sudo apt-get install $(1)' >&2; exit 2; }

.DEFAULT_GOAL := help
.PHONY: help setup build-gpu demo study photographs test test-all test-gpu fuzz lint bench nets mpi browser brain arm wheel bundle gpu-kit clean $(NETS)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile
	@echo 'make NET           train it, and first what it starts from; NET is one of'
	@echo '$(NETS)' | fold -s -w 96 | sed 's/^/                   /'
	@echo
	@echo 'ARGS="..." is passed on: make voc-fcn8s ARGS="0 --iterations 4000".'
	@echo 'PYTHON=... chooses the interpreter, kept until changed.'
	@echo 'GPU=1 chooses the GPU build of Caffe (CUDA_ARCH=90 where no card is), GPU=0 the CPU build; kept until changed.'
	@echo 'WHEEL=FILE takes Caffe from a wheel instead of building it; kept until GPU=0 or GPU=1.'
	@echo 'FCN_DATA, FCN_WEIGHTS and FCN_RUNS move data/, weights/ and runs/; CAFFE_SRC=DIR is a checkout of Caffe.'

setup:  ## .venv, requirements.txt and Caffe, built once and kept in a cache; a second run takes no time
	@$(PYTHON) -m third_party.caffe
	@$(VENV) -m accel

build-gpu:  ## the GPU build of Caffe, on machines with only a CUDA toolkit too; what .venv imports stays
	@$(PYTHON) -m third_party.caffe build-gpu

demo: setup  ## the whole story on three real photographs, in minutes on a CPU
	$(VENV) -m experiments.demo $(ARGS)

study: setup brain  ## the papers' design choices on slices of a brain; hours, or with QUICK=1 twenty minutes
	$(VENV) -m experiments.study $(if $(QUICK),--quick) $(ARGS)

photographs: setup  ## the nets on real photographs of VOC 2012 and SBD: a day; ARGS=--quick in minutes, ARGS='--root DIR'
	$(VENV) -m experiments.photographs $(ARGS)

test: setup  ## the tests that everything rests on, in at most five minutes on two cores
	$(VENV) -m pytest -n auto --dist loadfile -m 'not slow' $(ARGS)

test-all: setup  ## every test, as CI runs them; those for a GPU on an emulated card
	$(VENV) -m pytest -n auto --dist loadfile $(ARGS)
	$(if $(ARGS),,@$(MAKE) --no-print-directory test-gpu EMULATED=1)

test-gpu:  ## the GPU build of Caffe on GPU 0: the tests against the CPU, timings beside PyTorch; EMULATED=1 needs no card
ifeq ($(EMULATED),1)
	@$(MAKE) --no-print-directory setup
	@CUDA_HOME=$$($(VENV) -m third_party.caffe.emulated) CUDA_ARCH=90 $(PYTHON) -m third_party.caffe build-gpu .venv/emulated
	@FCN_CUDNN=0 .venv/emulated/bin/python -m accel
	FCN_CUDNN=0 PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/emulated/bin/python -m pytest -n auto --dist loadfile -m gpu $(ARGS)
else
	@$(MAKE) --no-print-directory setup GPU=1
	$(VENV) -m pytest -m gpu $(ARGS)
	$(VENV) -m bench.gpu
endif

fuzz: setup  ## 20,000 damaged and hostile inputs for every command: no crash, no hang, nothing lost; docs/robustness.md
	$(VENV) -m tests.fuzz $(ARGS)

lint: setup  ## style, types, and the nets against their golden summaries
	$(VENV) -m ruff check .
	$(VENV) -m mypy .
	$(VENV) -m pytest tests/test_nets.py -k golden

bench: setup  ## timings beside stock Caffe and other engines
	$(VENV) -m bench $(ARGS)

nets: setup  ## every net as prototxt, in runs/nets
	$(VENV) -m nets emit --out runs/nets $(ARGS)

$(NETS): setup
	$(VENV) -m nets train $@ $(ARGS)

mpi: setup  ## mpi4py and Open MPI into .venv, for mpirun -n 4 python solve.py
	$(VENV) -m pip install --quiet --requirement requirements-mpi.txt

browser: setup  ## Debian's Chromium, with which the tests look at the report
	$(call debian,chromium chromium-driver)

brain: setup  ## Debian's brain volume, for the study
	$(call debian,mricron-data)

arm: setup  ## Debian's cross compiler and emulator, with which the tests run the kernels for 64-bit ARM
	$(call debian,g++-aarch64-linux-gnu qemu-user-static)

wheel: setup  ## Caffe and accel with all their libraries as one file, dist/caffe-*.whl
	@$(VENV) -m pip install --quiet --requirement requirements-wheel.txt
	@$(VENV) -m accel libraries | xargs -d '\n' $(VENV) -m third_party.caffe.wheel

bundle: wheel  ## that wheel, those of requirements.txt and this checkout as one archive, which sets up without network
	@$(VENV) -m third_party.caffe.bundle

gpu-kit:  ## one archive that runs test-gpu on a machine with a card and PyTorch, without network or installation
	@$(MAKE) --no-print-directory wheel GPU=1
	@$(VENV) -m third_party.caffe.kit

clean:  ## remove what tools leave in the checkout; .venv, data, weights and runs stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache
	find . \( -path ./.venv -o -path ./.git -o -path ./data -o -path ./weights -o -path ./runs \) -prune \
	    -o -name __pycache__ -type d -prune -exec rm -rf {} +
