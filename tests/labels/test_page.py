"""The page offers the labels that a network knows, and shows what generate.py makes of one."""

import dataclasses
from pathlib import Path

import pytest
from exploring import TINY, running
from labelled import NAMES
from trained import spread_out

from training.run import TrainState

pytest.importorskip("gradio_client", reason="needs pip install -r requirements-explore.txt")

from test_explore import LOOK, assert_same, new_client  # noqa: E402

CKPT = "000010.model"


def test_a_label_is_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = TrainState(dataclasses.replace(TINY, labels=",".join(NAMES)))
    spread_out(run.running)
    run.iteration = 10
    run.save(tmp_path / "checkpoint" / CKPT, alpha=1.0, size=16)
    with running(tmp_path) as program:
        client = new_client(program.address, tmp_path / "downloads")

        def sample(label):
            return client.predict(CKPT, 5, "", *LOOK, label, api_name="/sample")

        seen = set()
        for name in NAMES:
            path, command = sample(name)
            assert command.endswith(f"--images 1 --seed 5 --psi 0.7 --label={name}")
            assert_same(path, command)
            seen.add(Path(path).read_bytes())
        assert len(seen) == len(NAMES)
        path, command = sample("")
        assert "--label" not in command
        assert_same(path, command)
        fields = client.predict(CKPT, api_name="/fit")[4:8]  # after psi, of four tabs
        offered = [["drawn by the seed", ""], *([name, name] for name in NAMES)]
        assert all([list(x) for x in field["choices"]] == offered for field in fields)
        assert all(field["visible"] for field in fields)
        with pytest.raises(Exception, match="--label cow: .* knows 3 labels, cat, dog, emu"):
            sample("cow")
