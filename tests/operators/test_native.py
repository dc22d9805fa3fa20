"""Our kernels' library: shares of loops, threads, and what it does not change in place."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend import machine
from operators import native, products
from operators.convolution import jt
from operators.native import SOURCES

ROOT = Path(__file__).parent.parent.parent
RNG = np.random.RandomState(0)

# All the operators, narrow and wide, of odd and even numbers of channels, into one number
EVERYTHING = """
import hashlib, sys
import numpy as np
from backend import device, machine
jt = device.load("cpu", threads=int(sys.argv[1]))
from operators import activations, convolution, products
from training.optimizer import Adam
rng, digest = np.random.RandomState(0), hashlib.sha256()
def draw(*shape):
    return jt.array(rng.standard_normal(shape).astype("float32"))
for c, o, size in ((5, 7, 8), (40, 40, 16), (90, 33, 32), (160, 150, 8), (520, 300, 4)):
    x, w, one, bias = draw(6, c, size, size), draw(o, c, 3, 3), draw(3, o, 1, 1), draw(o)
    y = activations.biased(convolution.conv2d(x, w, 1), bias, slope=0.2)
    noise = draw(6, 1, size, size)
    z = activations.styled_activation(y, bias, draw(o), noise, draw(6, 2 * o), bias_is="blurred")
    z = convolution.conv2d(z, one)
    z = z.mean() + (convolution.upsample_conv2d_blur(x, w) ** 2).mean()
    z += products.linear(bias[None], draw(9, o)).sum()
    loss = z + (convolution.blur_conv2d_avg_pool(x, w) ** 2).sum()
    gradients = jt.grad(loss, [x, w, one, bias])
    for result in (y, loss, *gradients):
        digest.update(result.numpy().tobytes())
parameters = {"a": draw(3, 50000), "b": draw(7)}
Adam(parameters).step([[sum((p**4).sum() for p in parameters.values())]], parameters, 0.1)
for p in parameters.values():
    digest.update(p.numpy().tobytes())
assert machine.threads() == int(sys.argv[1])
print(digest.hexdigest())
"""


def test_number_of_threads_changes_no_bit():
    found = {}
    for threads in (1, 2, 4):
        command = [sys.executable, "-c", EVERYTHING, str(threads)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found[threads] = done.stdout.split()[-1]
    assert len(set(found.values())) == 1, found


HARNESS = """
#include "pool.h"
#include <cstdio>
#include <vector>
using namespace kernels;
int main() {
  Pool& pool = Pool::get();
  for (int threads : {1, 2, 3, 8, 2, 16}) {
    pool.resize(threads);
    for (I round = 0; round < 3000; round++) {
      const I count = round % 37;
      std::vector<std::atomic<int>> done(count + 1);
      for (auto& d : done) d = 0;
      pool.share(count, [&](I i) { done[i]++; });
      for (I i = 0; i < count; i++)
        if (done[i] != 1) return printf("share %ld of %ld: %d times\\n", i, count, int(done[i])), 1;
      if (done[count]) return printf("one too many\\n"), 1;
    }
  }
  I sum = 0;
  share(10, 3, [&](I begin, I end) { static std::mutex m; std::lock_guard<std::mutex> l(m);
      sum += 100 * (end - begin) + begin; });
  if (sum != 1000 + 0 + 3 + 6 + 9) return printf("parts %ld\\n", sum), 1;
}
"""


@pytest.mark.parametrize("sanitizer", ["", "-fsanitize=thread"])
def test_every_share_is_done_once(tmp_path, sanitizer):
    (tmp_path / "harness.cc").write_text(HARNESS)
    command = [jt.flags.cc_path, "-std=c++14", "-O2", "-fopenmp", "-pthread", f"-I{SOURCES}"]
    command += [tmp_path / "harness.cc", "-o", tmp_path / "harness", *sanitizer.split()]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "harness"], capture_output=True, text=True, timeout=300)
    if sanitizer and "unexpected memory mapping" in done.stderr:
        pytest.skip("this kernel's random addresses are too much for this g++'s thread sanitizer")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compiler_that_fails_is_told_with_what_it_says(tmp_path, monkeypatch):
    broken = tmp_path / "kernels"
    broken.mkdir()
    (broken / "native.cc").write_text("#error no library today\n")
    monkeypatch.setattr(native, "SOURCES", broken)
    native.loaded.cache_clear()
    try:
        with pytest.raises(native.DeviceError, match="no library today"):
            native.loaded()
    finally:
        native.loaded.cache_clear()


def test_flags_of_jittors_kernels_without_its_headers():
    flags = native.NOT_OURS.sub("", jt.flags.cc_flags)
    assert "-march=native" in flags and "-Ofast" in flags and "-fopenmp" in flags
    assert "jittor" not in flags and "JIT" not in flags


@pytest.mark.parametrize("variable, exact", [("3", 3), ("4,2", 4), (" 5 ", 5), ("0", 1)])
def test_threads_of_the_environment(monkeypatch, variable, exact):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert machine.threads() == exact


@pytest.mark.parametrize("shape", [(16, 40, 30), (3, 500, 7), (70, 5, 300)])
@pytest.mark.parametrize("transpose", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_products_of_matrices_cut_into_parts(shape, transpose):
    m, n, k = shape
    a, b = RNG.standard_normal((m, k)), RNG.standard_normal((k, n))
    stored = [x.T if t else x for x, t in zip((a, b), transpose)]
    stored = [jt.array(x.astype("float32").copy()) for x in stored]
    y = products._Matmul(*map(bool, transpose), 0.5)(*stored)
    np.testing.assert_allclose(y.numpy(), a @ b / 2, atol=1e-5 * np.abs(a @ b).max())
