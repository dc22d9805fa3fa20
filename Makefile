# make figures: those of a network that comes with the clone; MODEL=checkpoint/... for another.
# make demo: from nothing to figures of a StyleGAN that learned MNIST's digits, on a CPU; with
# LABELS=1 of one that draws the digit that is asked for, in demo/labels.
# make people: the same with drawn people of 64 px; goes on where it was stopped.
# make test: the tests. make test-cuda: those of the CUDA path, without a GPU (tests/emulator).
# make bench: how fast it is here. PYTHON picks the interpreter (3.8 to 3.14);
# another one than before makes the environment anew, without it the one that made it is taken.

VENV ?= .venv
BIN = $(VENV)/bin
PYTHON ?= $(shell command -v "$$(cat $(VENV)/made-by 2>/dev/null)" || echo python3)

# Says where PYTHON really is, or ends if it cannot work (as backend/supported.py, of which there may
# be nothing yet)
WHICH = import os, sys; (3, 8) <= sys.version_info[:2] <= (3, 14) or sys.exit( \
	"PYTHON must be Python 3.8 to 3.14, $(PYTHON) is %d.%d" % sys.version_info[:2]); \
	print(os.path.realpath(sys.executable))

MODEL ?= checkpoint/symbols-64.model

# A small network that learns quickly: rates above the paper's, one channel of grey
# (benchmarks/RECIPES.md)
DEMO = --max_size 32 --phase 15000 --loss r1 --no_flip --grey \
	--channel_max 40 --code_size 64 --n_mlp 2 --batch_default 16 \
	--lr 0.01 --mapping_lr_mult 0.3 --ema 0.998

# People in 64 px: more of z and of the mapping, for they differ in more than digits do
PEOPLE = --max_size 64 --phase 20000 --loss r1 --no_flip \
	--channel_max 40 --code_size 128 --n_mlp 4 --batch_default 8 \
	--lr 0.006 --mapping_lr_mult 0.3

.PHONY: figures demo demo-hour people test test-cuda bench clean

figures: $(VENV)/installed
	$(BIN)/python generate.py $(MODEL)

# Where the demo is, and the option that makes it one of labels
AT = demo$(if $(LABELS),/labels)
BY_LABELS = $(if $(LABELS),--labels)

demo: $(VENV)/installed
	$(BIN)/python prepare_data.py --out $(AT)/mnist --overwrite mnist $(BY_LABELS)
	$(BIN)/python train.py $(AT)/mnist --expname $(AT) --ckpt auto $(DEMO) --max_iters 6000 $(BY_LABELS)
	$(BIN)/python generate.py $(AT)/checkpoint/006000.model --expname $(AT)

# Goes on where the demo stopped, for about an hour
demo-hour: $(VENV)/installed
	$(BIN)/python train.py $(AT)/mnist --expname $(AT) --ckpt latest --max_iters 30000
	$(BIN)/python generate.py $(AT)/checkpoint/030000.model --expname $(AT)

people: $(VENV)/installed-people
	$(BIN)/python prepare_data.py --out demo/people/lmdb --resume --sizes 8,16,32,64 --format png \
		people --people_style open-peeps
	$(BIN)/python train.py demo/people/lmdb --expname demo/people --ckpt auto $(PEOPLE) --max_iters 25000
	$(BIN)/python generate.py demo/people/checkpoint/025000.model --expname demo/people

test: $(VENV)/installed-test
	$(BIN)/python -m pytest tests

# In an environment of its own, with the wheels whose headers the emulator is built against
CUDA = $(VENV)-cuda
STEPS_0_TO_2 = not (step3 or step4 or step5 or -3] or -5] or scores or float64 or another_blur)

test-cuda: $(CUDA)/installed-cuda
	$(MAKE) -s -C tests/emulator PYTHON=$(abspath $(CUDA))/bin/python OUT=$(abspath $(CUDA))/emulator
	tests/emulator/run.sh $(CUDA)/emulator $(CUDA)/bin/python -m pytest -k "$(STEPS_0_TO_2)" \
		tests/emulator/check_*.py tests/operators --ignore tests/operators/test_native.py \
		tests/training/test_optimizer.py tests/formats/test_weights.py tests/test_parity.py

bench: $(VENV)/installed
	PYTHON=$(BIN)/python benchmarks/all.sh

$(VENV)/installed: requirements.txt $(VENV)/made-by
	$(BIN)/python -m pip install -q --no-deps -r requirements.txt
	touch $@

$(VENV)/installed-test: requirements-test.txt requirements-metrics.txt $(VENV)/installed
	$(BIN)/python -m pip install -q --no-deps -r requirements-test.txt -r requirements-metrics.txt
	touch $@

$(VENV)/installed-people: requirements-people.txt $(VENV)/installed
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		"drawn people need Python 3.10 or newer: make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(BIN)/python -m pip install -q --no-deps -r requirements-people.txt
	touch $@

$(CUDA)/installed-cuda: requirements-cuda-test.txt requirements-test.txt requirements.txt
	$(MAKE) VENV=$(CUDA) $(CUDA)/installed-test
	$(CUDA)/bin/python -m pip install -q --no-deps -r requirements-cuda-test.txt
	touch $@

# Written last, so that an environment that was not finished is made anew too
$(VENV)/made-by: FORCE
	@python=$$($(PYTHON) -c '$(WHICH)') || exit 1; \
	if [ "$$python" != "$$(cat $@ 2>/dev/null)" ]; then \
		echo "$(VENV): an environment of $$python"; \
		if [ -e $(VENV)/pyvenv.cfg ]; then rm -r $(VENV); fi; \
		"$$python" -m venv $(VENV) && echo "$$python" > $@; \
	fi

FORCE:

clean:
	rm -rf $(VENV) $(CUDA) demo
