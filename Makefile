# make demo: $(VENV)/installed
	$(BIN)/python prepare_data.py --out demo/mnist --overwrite mnist
	$(BIN)/python train.py demo/mnist --expname demo $(DEMO) --max_iters 3500
	$(BIN)/python generate.py demo/checkpoint/003500.model --expname demo

# One hour in all, going on where the demo stopped
demo-hour:
	$(BIN)/python train.py demo/mnist --expname demo --ckpt latest --max_iters 14000
	$(BIN)/python generate.py demo/checkpoint/014000.model --expname demo

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
