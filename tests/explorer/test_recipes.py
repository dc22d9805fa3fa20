"""Controls as command lines, and files that are shown."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import explore
from backend.terminal import UsageError, UserError
from explorer import recipes, shelf
from explorer.recipes import OWN, Checkpoint, Look
from explorer.shelf import Shelf
from explorer.studio import Studio, checkpoints, parsed
from figures.options import figure_parser
from figures.search import projector_parser

SMALL = Checkpoint("c/a.model", 3, 0.7, 8)  # 32 px
LARGE = Checkpoint("c/b.model", 5, 0.7, 3, ("--size", "128"))
USUAL = ["--psi", "0.7"]


def text(command):
    return shlex.join(command)


def test_one_image():
    assert text(recipes.single(SMALL, 7, Look())) == "c/a.model --images 1 --seed 7 --psi 0.7"
    look = Look(-1.5, 2, 2**53, 0.25)
    options = "--psi -1.5 --psi_levels 2 --noise_seed 9007199254740992 --noise_strength 0.25"
    assert text(recipes.single(SMALL, 7, look)) == f"c/a.model --images 1 --seed 7 {options}"
    begin = "c/b.model --size 128 --images 1 --latents results/me.npz"
    assert text(recipes.single(LARGE, "me", Look())) == f"{begin} --psi 0.7"
    assert text(recipes.single(LARGE, "me", Look(1, 5))) == f"{begin} --psi 1 --psi_levels 5"
    assert text(recipes.single(SMALL, 7, Look(0.7, 3, OWN, 1.0))).endswith("--psi 0.7")


def test_a_label():
    knowing = SMALL._replace(labels=("cat", "-7"))
    for label in ("cat", "-7"):
        command = recipes.single(knowing, 7, Look(label=label))
        assert text(command) == f"c/a.model --images 1 --seed 7 --psi 0.7 --label={label}"
        assert parsed(figure_parser(), command).label == [label]
    assert recipes.single(SMALL, 7, Look(label="cat")) == recipes.single(SMALL, 7, Look())
    assert recipes.single(knowing, 7, Look()) == recipes.single(SMALL, 7, Look())
    assert "--label" not in text(recipes.single(knowing, "me", Look(label="cat")))
    assert "--label=cat" in text(recipes.mixed(knowing, ["me", 3, 4], Look(label="cat")))


def test_mixed():
    begin = "c/a.model --images 1"
    assert (
        text(recipes.mixed(SMALL, [1, 2, 3], Look()))
        == f"{begin} --seed 1 --mix middle:2 --psi 0.7"
    )
    begin = "c/b.model --size 128 --images 1"
    end = "--mix middle:2,fine:3 --psi 0.7"
    assert text(recipes.mixed(LARGE, [1, 2, 3], Look())) == f"{begin} --seed 1 {end}"
    latents = "--latents 1 results/me.npz 3 --mix middle:1,fine:2"
    assert text(recipes.mixed(LARGE, [1, "me", 3], Look())) == f"{begin} {latents} --psi 0.7"
    tiny = Checkpoint("d", 1, 0.7, 8)
    assert text(recipes.mixed(tiny, [4, 5, 6], Look())) == "d --images 1 --seed 4 --psi 0.7"


def test_moved():
    begin = "c/a.model --images 1 --seed 7 --psi 0.7"
    assert text(recipes.moved(SMALL, 7, Look(), [0, 0], (0, 3))) == begin
    moved = recipes.moved(SMALL, 7, Look(), [0, 2.5, -0.1], (0, 3))
    assert text(moved) == f"{begin} --directions 1:2.5,2:-0.1"
    moved = recipes.moved(SMALL, "me", Look(), [1], (1, 2))
    assert moved[-2:] == ["--directions", "0:1:1-2"]
    with pytest.raises(UserError, match="2 to 1"):
        recipes.moved(SMALL, 7, Look(), [1], (2, 1))


def test_walks():
    walk = recipes.walk(SMALL, [3, 17], Look(), 60, 20, "z", "gif")
    cells = "--n_walk 2 --walk_rows 1 --walk_cols 1 --frames 60 --fps 20"
    begin = "c/a.model --only animation"
    end = "--animation gif --psi 0.7"
    assert text(walk) == f"{begin} --seeds 3,17 {cells} --space z {end}"
    walk = recipes.walk(SMALL, [3, "me"], Look(), 60, 20, "z", "gif")
    assert text(walk) == f"{begin} --latents 3 results/me.npz {cells} --space w {end}"
    assert recipes.keys_of(" 3, me,,17 ", ["me"]) == [3, "me", 17]
    for wrong in ("", "you", "-3", "3;4", "1" * 30, ",".join("1" * 17), "3, ../me"):
        with pytest.raises(UserError):
            recipes.keys_of(wrong, ["me"])


def test_every_command_is_one_of_the_scripts():
    look = Look(0.00001, 2, 3, 1e-7)
    for checkpoint in (SMALL, LARGE):
        for command in (
            recipes.single(checkpoint, 7, look),
            recipes.mixed(checkpoint, [1, "me", 2], look),
            recipes.moved(checkpoint, 3, look, [-1e-9, -5, 5], (0, 1)),
            recipes.walk(checkpoint, [1, 2], look, 5, 5, "w", "mp4"),
        ):
            args = parsed(figure_parser(), command)
            assert args.psi == 0 and args.noise_strength == 0 and args.ckpt == checkpoint.path
    command = recipes.projection(LARGE, "results/pictures/a b.png", 300, True, 1, False)
    args = parsed(projector_parser(), command)
    assert args.step == 300 and args.mse == 1 and args.w_plus and args.no_lpips
    assert args.paths == [LARGE.path, "results/pictures/a b.png"]
    shown = recipes.shown("projector.py", command)
    assert shown.startswith("python projector.py c/b.model --size 128 'results/pictures/a b.png'")
    with pytest.raises(UsageError, match="--seed"):
        parsed(figure_parser(), ["a", "--seed", "-1"])


@pytest.mark.parametrize("value", [None, "5", 1.5, -1, 2**64, float("nan"), float("inf"), True, []])
def test_what_is_no_seed(value):
    with pytest.raises(UserError, match="seed: a whole number from 0"):
        recipes.source(value, "", [])


@pytest.mark.parametrize("value", [None, "1", 6, -5.1, float("nan"), True, {}])
def test_what_is_no_psi(value):
    if value is None:
        assert recipes.look_options(Look(value), SMALL) == USUAL
        return
    with pytest.raises(UserError, match="psi: a number from -5 to 5"):
        recipes.look_options(Look(value), SMALL)


def test_a_picture_has_to_be_one_that_was_found():
    assert recipes.source(None, "me", ["me"]) == "me" and recipes.source(3, "", ["me"]) == 3
    for wrong in ("you", "../me", "/etc/passwd", 3):
        with pytest.raises(UserError, match="no picture"):
            recipes.source(3, wrong, ["me"])


# Checkpoints and uploads


def test_checkpoints_of_a_folder(tmp_path):
    for name in ("a.model", "b.pkl", "c.txt", "d.model.later"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "e.model").mkdir()
    assert list(checkpoints(tmp_path)) == ["a.model", "b.pkl"]
    studio = Studio(tmp_path / "c.txt")
    assert studio.first == "c.txt" and list(studio.checkpoints()) == ["a.model", "b.pkl", "c.txt"]
    assert studio.path("b.pkl") == tmp_path / "b.pkl"
    for wrong in ("../a.model", str(tmp_path / "a.model"), "e.model", None):
        with pytest.raises(UserError, match="holds no checkpoint"):
            studio.path(wrong)
    with pytest.raises(UserError, match="holds no checkpoint"):
        Studio(tmp_path / "e.model")


def test_uploads_get_names_that_are_free_and_plain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.model").write_bytes(b"")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "me.npz").write_bytes(b"")
    studio = Studio("a.model")
    names = {"me.png": "me-2.png", "../;x y.JPG": "x-y.jpg", "7.png": "7-2.png", "å.p/n": "picture"}
    for name, kept in names.items():
        upload = tmp_path / "uploads" / name
        upload.parent.mkdir(exist_ok=True, parents=True)
        upload.write_bytes(b"content")
        path = studio.keep(upload)
        assert path.read_bytes() == b"content" and str(path.parent) == "results/pictures"
        assert path.name == kept or kept == "picture"
    (tmp_path / "uploads" / "me.png").write_bytes(b"other")
    assert studio.keep(tmp_path / "uploads" / "me.png").name == "me-3.png"


# The shelf


def test_a_shelf_holds_so_much(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "MOST_BYTES", 250)
    (tmp_path / ".explore-99999999").mkdir()
    (tmp_path / f".explore-{os.getppid()}").mkdir()
    own = Shelf(tmp_path)
    paths = [own.add("a.png", bytes(100)) for _ in range(5)]
    assert not (tmp_path / ".explore-99999999").exists()
    assert (tmp_path / f".explore-{os.getppid()}").exists()
    now = time.time()
    for i, path in enumerate(paths):
        os.utime(path, (now - 1000 + i, now - 1000 + i))
    own.sweep(now - 1000)
    assert all(os.path.exists(path) for path in paths)  # they are young
    own.sweep(now)
    assert [os.path.exists(path) for path in paths] == [False, False, False, True, True]
    own.remove()
    assert not own.folder.exists()


# The program


@pytest.mark.parametrize(
    "options, words",
    [
        (["gone.model"], "gone.model: no such file"),
        (["--host", "0.0.0.0"], "--password"),
        (["--host", "::"], "--password"),
        (["--host", "192.168.1.7"], "--password"),
        (["--host", "example.org"], "is no address"),
        (["--port", "70000"], "--port"),
    ],
)
def test_wrong_usage(options, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(explore, "check_gradio", lambda: None)
    (tmp_path / "checkpoint").mkdir()
    if options[0] == "--port":
        with pytest.raises(SystemExit):
            explore.main(options)
    else:
        assert explore.main(options) in (1, 2)
    assert words in capfd.readouterr().err


def test_an_empty_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(explore, "check_gradio", lambda: None)
    assert explore.main([str(tmp_path)]) == 1
    assert "holds no checkpoint" in capfd.readouterr().err


def test_only_this_machine_by_default():
    assert explore.is_loopback(explore.parser().parse_args([]).host)
    for host, inside in {
        "127.0.0.5": True,
        "::1": True,
        "localhost": True,
        "0.0.0.0": False,
    }.items():
        assert explore.is_loopback(host) is inside


def test_without_gradio_or_on_an_old_python(monkeypatch, capfd):
    monkeypatch.setattr(explore.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(explore.sys, "version_info", (3, 10, 13))
    assert explore.main([]) == 2
    assert "pip install -r requirements-explore.txt" in capfd.readouterr().err
    monkeypatch.setattr(explore.sys, "version_info", (3, 9, 18))
    assert explore.main([]) == 2
    assert "needs Python 3.10 or newer, for Gradio; this is 3.9" in capfd.readouterr().err


def test_help_imports_neither_gradio_nor_jittor():
    code = "import sys, explore\ntry: explore.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'gradio', 'jittor'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(explore.__file__).parent, check=True)
