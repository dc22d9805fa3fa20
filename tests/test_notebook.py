"""notebook.ipynb: nothing of a session is in it, and it runs from top to bottom, with a network
that is tiny in place of the demo's.
"""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT

from training.checkpoint import read_checkpoint

NOTEBOOK = ROOT / "notebook.ipynb"
NEEDS = "needs pip install -r requirements-notebook.txt"
SMALL = """
    --max_size 16 --init_size 8 --phase 20 --loss r1 --channel_max 4 --code_size 8 --n_mlp 1
    --batch_default 4 --max_iters 8 --sample_every 4 --device cpu --threads 1
"""


def cells(kind: str) -> list:
    return [x for x in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if x["cell_type"] == kind]


def test_nothing_of_a_session_is_in_it():
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert found["metadata"] == {"kernelspec": kernel, "language_info": {"name": "python"}}
    for cell in cells("code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
    marked = [x["id"] for x in found["cells"] if x["metadata"]]
    assert marked == ["parameters"] and len(cells("code")) > 7


def test_it_trains_as_the_demo_does():
    (parameters,) = (x for x in cells("code") if x["id"] == "parameters")
    names = {}
    exec("".join(parameters["source"]), names)
    demo = re.search(r"^DEMO = (.*?[^\\])$", (ROOT / "Makefile").read_text(), re.M | re.S).group(1)
    assert names["TRAINING"].split() == demo.replace("\\", "").split()
    assert (ROOT / names["NETWORK"]).is_file() and names["REPOSITORY"] == ""


@pytest.fixture
def clone(tmp_path):
    """A folder with the scripts, where the notebook may write; and in it some pictures."""
    for path in ROOT.glob("[!.]*"):
        if path.name not in ("notebook", "results", "demo"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "photos").mkdir()
    rng = np.random.RandomState(0)
    for i in range(12):
        pixels = rng.randint(0, 256, (20, 24, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


def executed(folder, first: int, **parameters):
    """The notebook, or its first cells, as they are after they ran with other parameters."""
    nbformat = pytest.importorskip("nbformat", reason=NEEDS)
    nbclient = pytest.importorskip("nbclient", reason=NEEDS)
    pytest.importorskip("ipykernel", reason=NEEDS)
    notebook = nbformat.read(str(NOTEBOOK), as_version=4)
    notebook.cells = notebook.cells[:first]
    (place,) = (i for i, x in enumerate(notebook.cells) if x.id == "parameters")
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=where).execute()
    return {x.id: x.get("outputs", []) for x in notebook.cells}


def said(outputs) -> str:
    return "".join(x.get("text", "") for x in outputs)


def pictures(outputs) -> int:
    """How many are shown in the end."""
    return sum("image/png" in x.get("data", {}) for x in outputs)


def test_it_runs_from_top_to_bottom(clone, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = {"NETWORK": "checkpoint/mnist-32.model", "STEPS": 6, "MINUTES": 5, "IMAGES": 12}
    small.update(ENVIRONMENT="", DATA="photos --sizes 8,16", TRAINING=SMALL)
    found = executed(clone, None, **small)
    assert sys.executable in said(found["device"]) and "device: CPU" in said(found["device"])
    shown = [pictures(found[x]) for x in ("figures", "projection", "training", "results")]
    assert shown == [2, 2, 1, 1]
    folder = clone / "notebook"
    with Image.open(folder / "results" / "sample.png") as grid:
        assert grid.size[0] > 10 * 32 and "psi" in "".join(grid.text)
    run = read_checkpoint(folder / "run" / "checkpoint" / "000008.model")
    assert run["iteration"] == 8 and "000008.model" in said(found["training"])
    lines = [x.read_text() for x in sorted((folder / "results").glob("metric-*.jsonl"))]
    values = {k: v for x in lines for k, v in json.loads(x)["results"].items()}
    (distance,) = (v for k, v in values.items() if k.startswith("fd_vgg16"))
    assert distance > 0 and len(values) == 3
    assert all(0 <= v <= 1 for k, v in values.items() if not k.startswith("fd_vgg16"))
    assert said(found["gpu"]).startswith("no GPU is used here: device: CPU")


def test_a_script_that_fails_ends_it(clone):
    nbclient = pytest.importorskip("nbclient", reason=NEEDS)
    with pytest.raises(nbclient.exceptions.CellExecutionError) as e:
        executed(clone, 9, ENVIRONMENT="", NETWORK="nowhere.model")
    assert "generate.py ended with exit code 1: see what it says above" in str(e.value)
