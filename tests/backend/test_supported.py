"""Which Pythons can run this: what the scripts say, what make does, what is installed for each."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from backend import supported

ROOT = Path(__file__).resolve().parent.parent.parent
MAKES_OWN = (
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
    "PYTHON",
    "VENV",
)  # `make test` may run these tests
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if path.stem not in ("model", "fast"))
PYTHON = """#!/bin/sh
case "$1" in
    -c) exec '{python}' -c 'import sys; code = sys.argv[1]; sys.version_info = {version}
sys.executable = "{path}"; exec(code)' "$2" ;;
    -m) mkdir -p "$3/bin"; touch "$3/pyvenv.cfg"; echo {name} > "$3/who" ;;
esac
"""


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("version", [(3, 7, 16), (3, 15, 0)])
def test_script_on_a_python_that_cannot_work(script, version):
    """Before it imports what cannot be there."""
    code = (
        f"import sys; sys.version_info = {version}; sys.argv[1:] = ['--help']; sys.path[0] = '.'\n"
        "sys.modules['numpy'] = sys.modules['PIL'] = sys.modules['argparse'] = None\n"
        f"__file__ = {script!r}\nexec(open(__file__, encoding='utf-8').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    version = f"{version[0]}.{version[1]}"
    assert done.stderr == f"this program needs Python 3.8 to 3.14, this is {version}\n"


@pytest.fixture
def make(tmp_path):
    """Runs make in a folder with nothing but what installs. Also makes fake Pythons for it."""
    for name in ("Makefile", "requirements.txt", "requirements-test.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    def run(*arguments, target=".venv/made-by"):
        command = ["make", target, *arguments]
        env = {k: v for k, v in os.environ.items() if k not in MAKES_OWN}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)

    def python(name, version=(3, 12, 1)):
        path = tmp_path / name
        text = PYTHON.format(python=sys.executable, version=version, path=path, name=name)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return f"PYTHON={path}"

    return run, python


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 7, 16), (3, 15, 0)])
def test_make_refuses_a_python_that_cannot_work(make, tmp_path, version):
    run, python = make
    done = run(python("other", version))
    first, second = done.stderr.splitlines()
    assert done.returncode == 2 and second.startswith("make: ***") and done.stdout == ""
    is_ = f"{tmp_path}/other is {version[0]}.{version[1]}"
    assert first == f"PYTHON must be Python 3.8 to 3.14, {is_}"
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("minor", range(supported.OLDEST[1], supported.NEWEST[1] + 1))
def test_make_takes_all_that_the_scripts_take(make, tmp_path, minor):
    run, python = make
    assert run(python("any", (3, minor, 0))).returncode == 0
    assert (tmp_path / ".venv" / "who").read_text() == "any\n"


def test_make_with_another_python_makes_the_environment_anew(make, tmp_path):
    run, python = make
    who, left = tmp_path / ".venv" / "who", tmp_path / ".venv" / "left"
    first, second = python("first"), python("second")
    assert run(first).returncode == 0 and who.read_text() == "first\n"
    left.touch()
    for again in ([first], []):  # without PYTHON it is the one that made it
        assert run(*again).returncode == 0
        assert left.exists() and who.read_text() == "first\n"
    assert run(second).returncode == 0
    assert who.read_text() == "second\n" and not left.exists()


def test_make_finishes_an_environment_that_was_begun(make, tmp_path):
    run, python = make
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    (tmp_path / ".venv" / "left").touch()
    assert run(python("any")).returncode == 0
    assert not (tmp_path / ".venv" / "left").exists()


def test_make_empties_no_folder_that_is_no_environment(make, tmp_path):
    run, python = make
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    assert run(python("any"), "VENV=mine", target="mine/made-by").returncode == 0
    assert (tmp_path / "mine" / "letter").exists() and (tmp_path / "mine" / "who").exists()


def requirements(python: str):
    """What is installed for a Python: name -> version. Each has to be there once, and pinned."""
    found = {}
    for name in ("requirements.txt", "requirements-test.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                one = Requirement(line)
                if one.marker is None or one.marker.evaluate({"python_version": python}):
                    (pin,) = one.specifier
                    assert pin.operator == "==" and one.name not in found
                    found[one.name] = pin.version
    return found


@pytest.mark.parametrize("minor", range(8, 15))
def test_each_python_has_one_pinned_version_of_everything(minor):
    found = requirements(f"3.{minor}")
    assert {"jittor", "jittor_offline", "numpy", "pillow", "lmdb", "tqdm", "pytest"} <= set(found)
    assert int(found["numpy"].split(".")[0]) == (1 if minor < 13 else 2)


def test_what_is_pinned_needs_nothing_else():
    """All of it is installed with --no-deps."""
    found = requirements("{}.{}".format(*sys.version_info))
    names = {re.sub("[-_.]+", "-", name).lower() for name in found}
    for name, version in found.items():
        assert metadata.version(name) == version
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert re.sub("[-_.]+", "-", need.name).lower() in names, f"{name}: {text}"
