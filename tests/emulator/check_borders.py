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
GUARDED = {"EMU_GUARD": "1", "use_sfrl_allocator": "0"}
PAST_THE_END = """
__global__ void past(const float* x, float* y, int n) { y[threadIdx.x] = x[threadIdx.x + n]; }
past<<<1, 32>>>(in0_p, out0_p, %d);
"""


def past_the_end(n: int):
    """32 numbers of a Var of 32, from the n-th on."""
    from backend.ops import jt

    return jt.code([32], "float32", [jt.ones([32])], cuda_src=PAST_THE_END % n).numpy()


def smooth():
    import oracle

    from backend import ops

    for shape in SHAPES:
        x = oracle.draw(*shape)
        for adjoint, exact in ((False, oracle.smooth), (True, oracle.smooth_adjoint)):
            oracle.assert_close(ops._smooth(ops.jt.array(x), adjoint, 3.0), 3 * exact(x))


def guarded(call):
    """Exit code and errors of a call of this module's, in a process with guards.

    Below a shell: Jittor, which these tests have loaded, would end them over a child that crashes.
    """
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, [here, here.parent, here.parent.parent]))
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


@pytest.mark.parametrize("kernel", ["smooth"])
def test_kernels_stay_inside(kernel):
    done = guarded(f"{kernel}()")
    assert done.returncode == 0, done.stdout
