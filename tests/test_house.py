"""The house keeps its rule: calls go one way, and no room imports a script but `model.py`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "backend": set(),
    "formats": {"backend"},
    "pictures": {"backend", "formats"},
    "training": {"backend", "formats", "pictures", "model"},
    "explorer": {"backend", "formats", "pictures", "training"},
    ".": {"backend", "formats", "pictures", "training", "explorer"},  # the scripts, and one another
}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
FILES = [*ROOT.glob("*.py"), *(f for room in MAY_IMPORT for f in (ROOT / room).glob("*.py"))]


def imported(tree):
    """First and whole names of the modules that a file imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", sorted(set(FILES)), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_house(path):
    room = str(path.parent.relative_to(ROOT))
    text = path.read_text(encoding="utf-8")
    ours = (set(imported(ast.parse(text))) & (SCRIPTS | set(MAY_IMPORT))) - {room}
    assert ours <= MAY_IMPORT[room] | (SCRIPTS if room == "." else set())
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
    if path.name == "__init__.py":
        assert len(ast.parse(text).body) == 1  # a docstring


def test_no_file_holds_two_ideas():
    for path in ROOT.glob("*/*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path


def test_the_rule_bites():
    assert set(imported(ast.parse("def f():\n    from training.run import x"))) == {"training"}
