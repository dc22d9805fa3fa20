#!/usr/bin/env bash
# The tables of RESULTS.md that take less than half an hour together, on a machine that has nothing
# else to do. TORCH (a checkout of the PyTorch original) and TORCH_PYTHON (an interpreter that has
# PyTorch) set it beside.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
beside=()
if [ -n "${TORCH:-}" ]; then
	beside=(--torch "$TORCH" --python "${TORCH_PYTHON:-python3}")
fi

table() {
	echo
	echo "## $*"
	"$python" benchmarks/"$@"
}

grep -m 1 "model name" /proc/cpuinfo
grep -o -w -m 1 -E "avx512f|avx2" /proc/cpuinfo | sort -u
table threads.py
table train_step.py --channel_max 40 --sizes 8,16,32 --rounds 2 --repeats 10 "${beside[@]}"
table train_step.py --sizes 8,16,32 --rounds 2 --repeats 2 "${beside[@]}"
table train_step.py --cold
table generate.py "${beside[@]}"
table images.py
table data.py --images 100
