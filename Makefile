# make demo: from nothing to figures of a StyleGAN that learned MNIST's digits, on a CPU.
# make test: the tests. PYTHON picks the interpreter (3.8 to 3.12).

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# A small network that learns quickly: 40 channels, two layers of mapping, rates above the paper's
DEMO = --init_size 16 --max_size 32 --phase 18000 --loss r1 --no_flip \
	--channel_max 40 --code_size 64 --n_mlp 2 --batch_default 16 \
	--lr 0.006 --mapping_lr_mult 0.2 --ema 0.998

.PHONY: demo demo-hour test clean

demo: $(VENV)/installed
	$(BIN)/python prepare_data.py --out demo/mnist --overwrite mnist
	$(BIN)/python train.py demo/mnist --expname demo $(DEMO) --max_iters 3400
	$(BIN)/python generate.py demo/checkpoint/003400.model --expname demo

# Goes on where the demo stopped, for about an hour
demo-hour: $(VENV)/installed
	$(BIN)/python train.py demo/mnist --expname demo --ckpt latest --max_iters 14000
	$(BIN)/python generate.py demo/checkpoint/014000.model --expname demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest tests

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt requirements-metrics.txt
	$(BIN)/python -m pip install -q -r requirements-test.txt
	$(BIN)/python -m pip install -q --no-deps -r requirements-metrics.txt
	touch $@

clean:
	rm -rf $(VENV) demo
