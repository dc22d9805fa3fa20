# make demo: from nothing to figures of a StyleGAN that learned MNIST's digits, on a CPU.
# make test: the tests. PYTHON picks the interpreter (3.8 to 3.12).

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test clean

demo: $(VENV)/installed
	$(BIN)/python prepare_data.py --out demo/mnist --overwrite mnist
	$(BIN)/python train.py demo/mnist --expname demo DEMO_OPTIONS
	$(BIN)/python generate.py demo/checkpoint/DEMO.model --expname demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest tests

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(BIN)/python -m pip install -q -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) demo
