"""What a repository is expected to have beside its code."""

import os
import re

from tiny import ROOT

from backend.supported import NEWEST, OLDEST


def test_the_workflow_calls_what_runs_here():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    commands = re.findall(r"^ +- run: (.+)$", text, re.MULTILINE)
    assert commands == [".ci/run"] and os.access(str(ROOT / commands[0]), os.X_OK)
    pythons = re.search(r"python: \[(.+)\]", text).group(1).replace('"', "").split(", ")
    assert all(OLDEST <= tuple(map(int, x.split("."))) <= NEWEST for x in pythons)


def test_what_to_cite():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for key in ("cff-version: 1.2.0", "message: ", "title: ", "type: software", "authors:"):
        assert re.search(f"^{key}", text, re.MULTILINE)
    assert "license: MIT" in text and "MIT License" in (ROOT / "LICENSE").read_text()
    assert re.findall("family-names: (.+)", text) == ["Karras", "Laine", "Aila"]
    assert "doi: 10.1109/CVPR.2019.00453" in text and "\t" not in text


def test_options_that_the_changes_name_are_there():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sources = "".join(path.read_text() for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")])
    options = set(re.findall(r"--\w+", text))
    assert len(options) > 10 and [x for x in options if f'"{x}"' not in sources] == []
    days = [int(x) for x in re.findall(r"^## .*?(\d+) November", text, re.MULTILINE)]
    assert len(days) > 3 and days == sorted(days, reverse=True)
