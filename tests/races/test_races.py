"""Our CUDA kernels have no race that a run on a CPU can show, and what looks for them finds each
of those that are put in. g++ and addr2line suffice.
"""

import shutil

import pytest
from races import find

pytestmark = pytest.mark.skipif(
    not (shutil.which("g++") and shutil.which("addr2line")), reason="no g++ or addr2line here"
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return find.build_shared(tmp_path_factory.mktemp("shared"))


def test_every_kernel_and_operator_runs_without_a_race(objects, tmp_path):
    assert find.found(tmp_path, objects) == []


@pytest.mark.parametrize("damage", find.DAMAGES, ids=lambda x: f"{x[0]}-{x[-1]}")
def test_damages_are_reported(damage, objects, tmp_path):
    assert any(damage[-1] in line for line in find.found(tmp_path, objects, damage))
