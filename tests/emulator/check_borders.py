"""Our CUDA kernels between guards: memory that ends at an unmapped page and is NaN at first.

Jittor cuts its Vars out of large blocks. Without that allocator each is an allocation of its own,
and reading past its end is a crash; its reshape and detach do not work then, hence a process for
single kernels.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHAPES = [(1, 1, 2, 2), (2, 3, 4, 4), (2, 4, 7, 5), (3, 4, 33, 17), (2, 16, 64, 64)]
SHAPES += [(1, 2, 129, 130)]  # planes that several blocks share
GUARDED = {"EMU_GUARD": "1", "use_sfrl_allocator": "0"}
PAST_THE_END = """
__global__ void past(const float* x, float* y, int n) { y[threadIdx.x] = x[threadIdx.x + n]; }
past<<<1, 32>>>(in0_p, out0_p, %d);
"""


def past_the_end(n: int):
    """32 numbers of a Var of 32, from the n-th on."""
    from operators.convolution import jt

    return jt.code([32], "float32", [jt.ones([32])], cuda_src=PAST_THE_END % n).numpy()


def smooth():
    import oracle

    from operators import convolution
    from operators.native import call

    for shape in SHAPES:
        x = oracle.draw(*shape)
        for adjoint, exact in ((False, oracle.smooth), (True, oracle.smooth_adjoint)):
            oracle.assert_close(
                convolution._smooth(convolution.jt.array(x), adjoint, 3.0), 3 * exact(x)
            )
        wide, numbers = x.repeat(2, 2).repeat(2, 3), (shape[0] * shape[1], *shape[2:])
        found = call("unpool", [convolution.jt.array(x)], [wide.shape], *numbers, 2.0)[0]
        assert (found.numpy() == 2 * wide).all()
        found = call("pool", [convolution.jt.array(wide)], [x.shape], *numbers, 0.25)[0]
        assert (found.numpy() == x).all()


def styled():
    import numpy as np
    from test_activations import layer, operands

    from operators.convolution import jt
    from operators.native import call

    for n, c, h, w in SHAPES:
        for number, kind in enumerate(("none", "plain", "blurred")):
            inputs = operands(n, c, h, w)
            variables, numbers = [jt.array(x) for x in inputs], (n, c, h, w, 1e-5, number, 0.5, 2.0)
            y = call("styled_forward", variables, [[n, c, h, w]], *numbers)[0].numpy()
            exact = layer(*inputs, 1e-5, kind, 0.5, 2.0)[0]
            assert np.abs(y - exact).max() <= 3e-6 * np.abs(exact).max()
            shapes = [[n, c, h, w], [n, 2 * c], [n, c], [n, c]]
            dy = jt.array(np.ones((n, c, h, w), "float32"))
            dx, dstyle, *sums = call("styled_gradient", [*variables, dy], shapes, *numbers)
            assert np.abs(dx.numpy()).max() <= 1e-4 * np.abs(inputs[4]).max() * h * w
            assert np.abs(dstyle.numpy()[:, c:] - h * w).max() <= 1e-5 * h * w
            assert all(np.isfinite(x.numpy()).all() for x in sums)


def biased():
    import numpy as np
    import oracle

    from operators.convolution import jt
    from operators.native import call

    for n, c, h, w in SHAPES:
        x, bias, dy = oracle.draw(n, c, h, w), oracle.draw(c), oracle.draw(n, c, h, w)
        exact = 0.5 * x.astype("float64") + bias.reshape(-1, 1, 1)
        slope, numbers = np.where(exact > 0, 1, 0.2), (n, c, h * w, 0.5, 0.2)
        vy, vdy = jt.array((slope * exact).astype("float32")), jt.array(dy)
        y = call("biased_forward", [jt.array(x), jt.array(bias)], [x.shape], *numbers)[0]
        oracle.assert_close(y, slope * exact)
        dx, dbias = call("biased_gradient", [vy, vdy], [x.shape, [c]], *numbers)
        oracle.assert_close(dx, 0.5 * slope * dy)
        oracle.assert_close(dbias, (slope * dy).sum((0, 2, 3)), 1e-5)
        dx = call("biased_slope", [vy, vdy], [x.shape], x.size, 0.5, 0.2)[0]
        oracle.assert_close(dx, 0.5 * slope * dy)


def norms():
    import numpy as np
    import oracle
    from test_norms import unit

    from operators.convolution import jt
    from operators.native import call

    for n, c, h, w in SHAPES:
        z, dz = oracle.draw(n, c * h), oracle.draw(n, c * h)
        vz, vdz = jt.array(z), jt.array(dz)
        y, dx = unit(z, dz)
        oracle.assert_close(call("pixel_norm_forward", [vz], [z.shape], n, c * h)[0], y, 3e-6)
        found = call("pixel_norm_gradient", [vz, vdz], [z.shape], n, c * h)[0]
        oracle.assert_close(found, dx, 1e-5)
        x, dy = oracle.draw(n, c, h, w), oracle.draw(n, c + 1, h, w)
        vx, vdx, vdy, numbers = jt.array(x), jt.array(-x), jt.array(dy), (n, 1, c, h * w)
        y = call("stddev_forward", [vx], [dy.shape], *numbers)[0].numpy()
        mean = np.sqrt(x.astype("float64").var(0) + 1e-8).mean()
        assert (y[:, :c] == x).all() and np.abs(y[:, c] - mean).max() <= 3e-6 * mean
        found = [call("stddev_gradient", [vx, vdy], [x.shape], *numbers)[0]]
        found += call("stddev_second", [vx, vdy, vx], [dy.shape, x.shape], *numbers)
        assert all(np.isfinite(a.numpy()).all() for a in found)
        if n > 1:
            scale = dy[:, c].sum() / (n * x[0].size)
            exact = dy[:, :c] + scale * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-8)
            oracle.assert_close(found[0], exact, 1e-4)
        for shape in ((n, c, h * w), (1, n * c, h * w), (n * c, h * w, 1)):
            for arrays in ([vx], [vdx, vx]):
                size = [[shape[0], shape[2]]] * len(arrays)
                total = call("totals", arrays, size, *shape, len(arrays))[-1]
                exact = x.astype("float64").reshape(shape).sum(1)
                assert np.abs(total.numpy() - exact).max() <= 1e-6 * np.abs(x).sum()


def updates():
    import numpy as np
    import oracle

    from operators.convolution import jt
    from operators.native import AT_ONCE, call

    sizes = [1, 31, 4096, 4097, 20000][:AT_ONCE]
    missing = AT_ONCE - len(sizes)
    x, y = ([oracle.draw(size) for size in sizes] for _ in range(2))
    inputs = [jt.array(a) for xs in (x, y) for a in xs + xs[:1] * missing]
    shapes = [[size] for size in sizes + [1] * missing]
    for name, part, more in (("add_", 1.0, []), ("average_", 0.25, [0.25])):
        found = call(name, inputs, shapes, *sizes, *[0] * missing, *more)
        for a, b, ours in zip(x, y, found):
            exact = a + b if name == "add_" else a + part * (b.astype("float64") - a)
            assert np.abs(ours.numpy() - exact).max() <= 1e-6 * np.abs(exact).max()


def guarded(call):
    """Exit code and errors of a call of this module's, in a process with guards.

    Below a shell: Jittor, which these tests have loaded, would end them over a child that crashes.
    """
    here = Path(__file__).parent
    folders = [here, here.parent, here.parent / "operators", here.parent.parent]
    path = os.pathsep.join(map(str, folders))
    program = [sys.executable, "-c", f"import check_borders; check_borders.{call}"]
    return subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *program],
        env={**os.environ, **GUARDED, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_guards_are_there():
    assert guarded("past_the_end(0)").returncode == 0
    assert guarded("past_the_end(1)").returncode != 0


@pytest.mark.parametrize("kernel", ["smooth", "styled", "biased", "norms", "updates"])
def test_kernels_stay_inside(kernel):
    done = guarded(f"{kernel}()")
    assert done.returncode == 0, done.stdout
