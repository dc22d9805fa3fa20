"""The patches in docs/upstream are what the edits of the same name do to Jittor."""

import difflib
from importlib import metadata
from pathlib import Path

import pytest
from tiny import ROOT

from backend.jittor_home import GROUPS, with_group

UPSTREAM = ROOT / "docs" / "upstream"
PATCHES = sorted(UPSTREAM.glob("*.patch"))


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.stem)
def test_a_patch_is_its_group_of_edits(path):
    group = next(group for group in GROUPS if group.name == path.stem)
    site = Path(metadata.distribution("jittor").locate_file(""))
    changed = with_group({}, group, site)
    expected = []
    for name in sorted(changed):
        before = (site / name).read_text(encoding="utf-8").splitlines(True)
        after = changed[name].splitlines(True)
        place = f"python/{name}"  # in Jittor's repository
        expected += difflib.unified_diff(before, after, f"a/{place}", f"b/{place}")
    description, patch = path.read_text(encoding="utf-8").split("\n---\n", 1)
    assert patch == "".join(expected)
    assert description.startswith("Subject: [PATCH] ") and description.count("\n") > 2


def test_what_has_a_patch():
    """All that a Jittor needs to run or has wrong, but for what only we ask of CUDA."""
    names = {path.stem for path in PATCHES}
    bugs = {
        x.name for x in GROUPS if x.purpose in ("needed to run", "right and repeatable results")
    }
    assert names == bugs - {"cudnn-repeatable", "cuda-mathematics"} | {"tuner"}
    text = (UPSTREAM / "README.md").read_text(encoding="utf-8")
    assert all(f"({name}.patch)" in text for name in names)
