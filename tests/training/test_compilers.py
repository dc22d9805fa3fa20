"""A compiler that fails while a run trains."""

import pytest
from tiny import TINY, assert_same_checkpoint, run_train

import train
from training.run import TrainState


@pytest.mark.parametrize("where", ["discriminator_step", "generator_step"])
def test_a_run_is_saved_as_it_was_after_the_last_whole_iteration(
    lmdb, reference, tmp_path, monkeypatch, capfd, where
):
    """At the first iteration of a stage, which compiles; it then goes on exactly."""
    whole = getattr(TrainState, where)

    def killed(run, phase, *arguments):
        if run.iteration == 7:
            raise RuntimeError("[f] Check failed\nRun cmd failed: g++")
        return whole(run, phase, *arguments)

    words = [lmdb, "--expname", str(tmp_path), *TINY, "--max_iters", "20"]
    with monkeypatch.context() as patch:
        patch.setattr(TrainState, where, killed)
        original = TrainState.whole_iteration

        def afresh(run, *arguments):
            if run.iteration == 7:
                run.compiled = {"another kind"}
            return original(run, *arguments)

        patch.setattr(TrainState, "whole_iteration", afresh)
        assert train.main(words) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("train.py: a compiler that Jittor started failed or was killed")
    assert said.endswith("saved " + str(tmp_path / "checkpoint" / "000007.model"))
    run_train(lmdb, tmp_path, "--ckpt", "latest", "--max_iters", "20", "--device", "cpu")
    last = "checkpoint/000020.model"
    assert_same_checkpoint(reference / last, tmp_path / last)


def test_before_the_first_iteration_there_is_nothing_to_save(lmdb, tmp_path, monkeypatch, capfd):
    def killed(*arguments):
        raise RuntimeError("Run cmd failed: g++")

    monkeypatch.setattr(TrainState, "generator_step", killed)
    assert train.main([lmdb, "--expname", str(tmp_path), *TINY]) == 1
    assert "or was killed" in capfd.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.model"))
