"""What is not of the same command is never replaced, nor mixed with: figures, images, latents."""

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import convert
import dataset
import generate
import metrics
import prepare_data
import projector
import style_mixing
import train
from backend.terminal import UsageError
from figures import animation, grid, latents, search
from figures.grid import check_place, encode_png, is_grid, make_grid, notes_of, save_grid, save_png
from training.run import TrainState
from training.schedule import Config

TINY = Config(code_size=8, n_mlp=2, channel_max=4, init_size=8, max_size=32)
SMALL = "--n_row 1 --n_col 2 --n_mixing 2 --n_noise 3 --frames 4 --n_walk 2 --walk_cols 1"
SMALL = [*SMALL.split(), "--walk_rows", "1", "--device", "cpu"]
QUICK = "--mse 1 --no_lpips --device cpu".split()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two, of different weights."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        run = TrainState(Config(**{**TINY.__dict__, "seed": seed}))
        run.save(folder / f"{seed}.model", alpha=1.0, size=32)
    return [str(folder / f"{seed}.model") for seed in (0, 1)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def photo(path, size=(36, 36), form=None):
    """A picture of somebody's own, as large as a grid of one of ours."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(60, 256, (*size, 3), dtype="uint8")
    Image.fromarray(pixels).save(path, format=form)


def contents(folder):
    return {path: open(os.path.join(folder, path), "rb").read() for path in os.listdir(folder)}


# What says whose it is


def test_grids_are_recognised(tmp_path):
    rng = np.random.default_rng(0)
    for n, size, n_col in ((1, 4, 1), (6, 32, 3), (5, 64, 2)):
        images = rng.uniform(-1, 1, (n, 3, size, size)).astype("float32")
        frames = [Image.fromarray(make_grid(images, n_col)) for _ in range(2)]
        for form in ("webp", "gif"):
            animation.save_animation(frames, f"a.{form}", 20)
            assert animation.is_own(f"a.{form}"), (n, size, form)
        save_grid(images, "a.png", n_col)
        assert is_grid("a.png")
        pixels = np.asarray(Image.open("a.png")).copy()
        pixels[:2] = 90  # without the line above
        save_png(pixels, "a.png")
        assert not is_grid("a.png")
    for name, form in (("p.png", "PNG"), ("p.webp", "WEBP"), ("p.gif", "GIF")):
        photo(name, form=form)
        assert not animation.is_own(name)
    assert not is_grid("missing.png") and not animation.is_own("p.mp4")


def test_dark_pictures_are_no_grids(tmp_path):
    """Of sizes that a grid can have, too: masks, a sky at night, nothing at all."""
    rng = np.random.default_rng(0)
    for size in (32, 128, 512):
        sky = np.zeros((size, size, 3), "uint8")
        sky[rng.integers(0, size, 40), rng.integers(0, size, 40)] = 255
        sky[0, 1], sky[7, 3] = 3, 200
        mask = rng.integers(0, 21, (size, size, 3)).astype("uint8")
        for pixels in (sky, mask, np.zeros_like(sky)):
            save_png(pixels, "dark.png")
            assert not is_grid("dark.png")
        for pixels in (mask, np.zeros_like(sky)):
            for form in ("webp", "gif"):
                animation.save_animation([Image.fromarray(pixels)] * 2, f"dark.{form}", 20)
                assert not animation.is_own(f"dark.{form}")


def test_a_place_is_free_where_nothing_is_lost(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "other").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("missing", "empty"):
        check_place(name, lambda path: False, "--out")
    check_place("other", lambda path: True, "--out")
    os.mkfifo("pipe")
    (tmp_path / "missing.stylegan-tmp").mkdir()
    for name, words in (
        ("other", "other would be replaced"),
        ("folder", "folder is a folder"),
        ("link", "link is a link to nothing"),
        ("pipe", "pipe is a pipe"),
        ("missing", "missing.stylegan-tmp is a folder"),
    ):
        with pytest.raises(UsageError, match=f"{words}.*another --out"):
            check_place(name, lambda path: False, "--out")


# Figures


@pytest.mark.parametrize("name", ["sample.png", "mixing_1.png", "animation.webp"])
def test_figures_do_not_replace_others(checkpoints, name, capfd):
    photo(f"results/{name}")
    before = contents("results")
    assert generate.main([checkpoints[0], *SMALL]) == 2
    assert f"results/{name} would be replaced" in capfd.readouterr().err
    assert contents("results") == before


def test_figures_replace_their_own(checkpoints):
    argv = [*SMALL, "--frames_dir", "frames", "--animation"]
    for form in ("webp", "gif"):
        for ckpt in (*checkpoints, checkpoints[0]):
            assert generate.main([ckpt, *argv, form]) == 0
        assert len(os.listdir("frames")) == 4


def test_style_mixing_chart_and_contact_sheet(checkpoints, lmdb, capfd):
    argv = [checkpoints[0], "--rows", "1", "--cols", "2", "--device", "cpu"]
    assert style_mixing.main(argv) == 0 and style_mixing.main(argv) == 0
    assert dataset.main([lmdb]) == 0 and dataset.main([lmdb, "--n_col", "3"]) == 0
    metrics.save_chart([metrics.Measured("x", (8, 8), 5, {"kid": {"kid1k": 1.0}})] * 2, "c.png")
    assert metrics.is_chart("c.png")
    for name in ("style_mixing.png", "data.png", "metrics.png"):
        photo(f"results/{name}")
    before = contents("results")
    assert style_mixing.main(argv) == 2 and dataset.main([lmdb]) == 2
    assert metrics.main([*checkpoints, "--data", lmdb, "--device", "cpu"]) == 2
    error = capfd.readouterr().err
    assert error.count("would be replaced") == 3 and "Traceback" not in error
    assert contents("results") == before


# Folders of images


def images(ckpt, *options):
    return generate.main([ckpt, "--images", "3", "--out", "p", "--device", "cpu", *options])


def test_a_folder_of_images_is_one_set(checkpoints, capfd):
    assert images(checkpoints[0]) == 0
    first = contents("p")
    assert images(checkpoints[0]) == 0 and contents("p") == first
    assert images(checkpoints[0], "--seed", "3") == 0 and len(contents("p")) == 6
    before = contents("p")
    for ckpt, options in (
        (checkpoints[1], ()),
        (checkpoints[0], ("--psi", "0.5", "--seed", "9")),
        (checkpoints[0], ("--noise_seed", "4")),
    ):
        assert images(ckpt, *options) == 2
        assert "would stay among the new images" in capfd.readouterr().err
    assert contents("p") == before
    for name in list(before)[3:] + list(before)[:3]:
        if name not in first:
            os.remove(f"p/{name}")
    assert images(checkpoints[1]) == 0 and contents("p") != first  # nothing of the first stays


def test_own_pictures_among_the_images(checkpoints, capfd):
    photo("p/cat.jpg")
    photo("p/.hidden.png")
    assert images(checkpoints[0]) == 0
    assert "p holds other pictures too, which are no part of this: cat.jpg\n" in (
        capfd.readouterr().out
    )
    photo("p/000001.png")
    before = contents("p")
    assert images(checkpoints[0]) == 2
    assert "p/000001.png would be replaced" in capfd.readouterr().err
    assert contents("p") == before


def test_frames_are_of_one_walk(checkpoints, capfd):
    argv = [checkpoints[0], *SMALL, "--only", "animation", "--frames_dir", "f", "--frames"]
    assert generate.main([*argv, "4"]) == 0
    before = contents("f")
    assert generate.main([*argv, "2"]) == 2
    assert "f/00002.png is of another animation" in capfd.readouterr().err
    assert contents("f") == before
    photo("f/00003.png", (40, 40))
    assert generate.main([*argv, "4"]) == 2
    assert "f/00003.png would be replaced" in capfd.readouterr().err


# Latents


def test_saved_latents(checkpoints, tmp_path, capfd):
    argv = [checkpoints[0], *SMALL, "--only", "sample", "--save_latents"]
    assert generate.main([*argv, "s.npz"]) == 0 and generate.main([*argv, "s.npz"]) == 0
    np.savez("mine.npz", w=np.zeros((1, 8)))
    latents.save("found.npz", np.zeros((1, 8)), [], target="a.png", checkpoint_sha1="0")
    (tmp_path / "text.npz").write_text("years")
    for name in ("mine.npz", "found.npz", "text.npz"):
        before = (tmp_path / name).read_bytes()
        assert generate.main([*argv, name]) == 2
        assert f"{name} would be replaced" in capfd.readouterr().err
        assert (tmp_path / name).read_bytes() == before


def test_pictures_of_one_name(checkpoints):
    """In commands one after the other; a picture's own result is replaced."""
    for folder in "ab":
        photo(f"{folder}/face.png")
    argv = [checkpoints[0], *QUICK, "--step", "2"]
    assert projector.main([*argv, "a/face.png"]) == 0
    first = contents("results")
    assert projector.main([*argv, "b/face.png"]) == 0
    assert projector.main([*argv, "b/face.png", "a/../a/face.png"]) == 0
    now = contents("results")
    names = {"face.npz", "face-project.png", "face-2.npz", "face-2-project.png"}
    assert set(now) == names and now["face-project.png"] == first["face-project.png"]
    assert search.output_names(["b/face.png", "face.png"]) == ["face-2", "face-3"]


@pytest.mark.parametrize("name", ["face.npz", "face-project.png", "face-project.gif"])
def test_the_projector_does_not_replace_others(checkpoints, name, capfd):
    photo("face.jpg")
    photo(f"results/{name}", form="PNG")
    before = contents("results")
    assert projector.main([checkpoints[0], "face.jpg", *QUICK, "--animation", "gif"]) == 2
    assert f"results/{name} would be replaced" in capfd.readouterr().err
    assert contents("results") == before


# Long work


def test_folders_of_pictures(checkpoints, tmp_path, capfd):
    for name in ("in/b.png", "in/deep/a.jpg", "in/.x.png"):
        photo(name)
    (tmp_path / "in" / "x.txt").touch()
    shutil.copytree("in", "empty", ignore=lambda *_: ["b.png", "deep"])
    argv = [checkpoints[0], *QUICK, "--step", "1", "--batch", "1"]
    assert projector.main([*argv, "in"]) == 0
    assert set(os.listdir("results")) == {"a.npz", "a-project.png", "b.npz", "b-project.png"}
    assert projector.main([*argv, "empty"]) == 1
    assert "empty holds no pictures" in capfd.readouterr().err


def test_a_signal_keeps_what_is_found(checkpoints, monkeypatch, capfd):
    """In the second iteration of the second batch; an earlier result stays."""
    for name in ("a.png", "b.png", "c.png"):
        photo(name)
    asked = []

    def heard(caught):
        asked.append(0)
        caught += [15] if len(asked) % 6 == 0 else []
        return bool(caught)

    monkeypatch.setattr(projector.signals, "heard", heard)
    argv = [checkpoints[0], "a.png", "b.png", "c.png", *QUICK, "--step", "4", "--batch", "1"]
    assert projector.main(argv) == 128 + 15
    assert "stopped after 2 of 4 iterations" in capfd.readouterr().out
    first = contents("results")
    assert set(first) == {"a.npz", "a-project.png", "b.npz", "b-project.png"}
    assert projector.main(argv) == 128 + 15
    assert "the earlier results/b.npz stays" in capfd.readouterr().out
    assert contents("results") == first


def test_mp4_frames_are_written_one_by_one(monkeypatch):
    """With a package in place of imageio-ffmpeg that asks for them as that does."""
    written, drawn = [], []

    class Stand:
        @staticmethod
        def write_frames(path, size, **options):
            open(path, "wb").close()
            while True:
                frame = yield
                written.append(len(frame))
                assert len(drawn) == len(written)

    def frames():
        for i in range(5):
            drawn.append(i)
            yield Image.new("RGB", (6, 6))

    monkeypatch.setattr(animation, "import_ffmpeg", lambda: Stand)
    animation.save_animation(frames(), "a.mp4", 60)
    assert written == [6 * 6 * 3] * 5


@pytest.mark.parametrize(
    "options, words",
    [
        (("--walk_cols", "500"), "17002 pixels, and webp has at most 16383"),
        (("--walk_rows", "500", "--only", "animation"), "lower --walk_rows"),
        (("--walk_cols", "2000", "--animation", "gif"), "gif has at most 65535"),
        (("--walk_rows", "400", "--walk_cols", "400", "--frames", "9999"), "9,999 pictures of 400"),
        (
            (
                "--only",
                "animation",
                "--n_row",
                "9999",
                "--frames",
                "9999",
                "--walk_rows",
                "400",
                "--walk_cols",
                "400",
            ),
            "lower --walk_rows, --walk_cols or --frames",
        ),
        (("--fps", "51", "--animation", "gif"), "gif counts hundredths"),
        (("--fps", "61"), "at most 60"),
    ],
)
def test_animations_that_cannot_be(checkpoints, options, words, capfd):
    with pytest.raises(SystemExit) if "61" in options else open(os.devnull):
        assert generate.main([checkpoints[0], *SMALL, *options]) == 2
    assert words in capfd.readouterr().err and os.listdir() == []


@pytest.mark.parametrize(
    "options, size",
    [
        (
            ("--n_row", "10000", "--n_col", "10000"),
            "10,000 rows of 10,000 images, 340,002 x 340,002",
        ),
        (("--only", "interpolation", "--n_col", "10000", "--n_row", "999"), "999 rows of 10,000"),
        (("--only", "mixing", "--n_col", "9999", "--n_row", "999"), "1,000 rows of 10,000"),
        (("--only", "noise", "--n_col", "9999", "--n_row", "999"), "999 rows of 10,000"),
        (("--only", "sample", "--seeds", "0-999999", "--n_col", "9"), "111,112 rows of 9"),
        (("--n_row", "9000", "--n_col", "900", "--crop", "32x31"), "30,602 x 297,002"),
    ],
)
def test_grids_that_cannot_be_held(checkpoints, options, size, capfd):
    """Said before one is drawn, whatever decides the number of images."""
    assert generate.main([checkpoints[0], *SMALL, *options]) == 2
    said = capfd.readouterr().err
    assert size in said and "lower --n_row or --n_col" in said and os.listdir() == []


def test_other_grids_that_cannot_be_held(checkpoints, lmdb, capfd, monkeypatch):
    argv = [checkpoints[0], "--device", "cpu", "--rows", "3000", "--cols", "999"]
    assert style_mixing.main(argv) == 2
    assert "6,001 rows of 1,000" in (said := capfd.readouterr().err) and "--cols" in said
    monkeypatch.setattr(grid.machine, "memory", lambda: 10**5)
    assert dataset.main([lmdb, "--n_row", "10000", "--n_col", "9"]) == 2  # of 10 pictures
    assert "2 rows of 9 images, 164 x 38 pixels" in capfd.readouterr().err
    assert style_mixing.main([*argv[:3], "--rows", "100", "--cols", "10"]) == 2
    assert "201 rows of 11 images" in capfd.readouterr().err and os.listdir() == []


def test_sizes_at_the_edge(monkeypatch):
    """6 bytes for a pixel and 24 for one of the row that is drawn; and no more than 2^28."""
    size, options = (30, 6), "--rows"  # with the lines 32 x 8
    width, height = 4 * 32 + 2, 3 * 8 + 2
    needed = 6 * width * height + 24 * width * 6
    monkeypatch.setattr(grid.machine, "memory", lambda: needed)
    grid.check_size(3, 4, size, options)
    for more in ({"held": 2}, {"drawn": 2}):
        with pytest.raises(
            UsageError, match=f"3 rows of 4 images, {width} x {height} pixels.*--ro"
        ):
            grid.check_size(3, 4, size, options, **more)
    monkeypatch.setattr(grid.machine, "memory", lambda: None)
    grid.check_size(1, 1, (2**14 - 4, 2**14 - 4), options)
    for size in ((2**14 - 3, 2**14 - 4), (2**30, 1)):
        with pytest.raises(UsageError, match="cannot be held"):
            grid.check_size(1, 1, size, options)


@pytest.mark.parametrize("folder, option", [("p", "--images 3 --out"), ("f", "--frames_dir")])
def test_what_is_unfinished_has_no_place(checkpoints, folder, option, capfd):
    """Of one of many files: found before the first is drawn."""
    names = {"p": "000002.png.stylegan-tmp", "f": "00002.png.stylegan-tmp"}
    os.makedirs(f"{folder}/{names[folder]}")
    assert generate.main([checkpoints[0], *SMALL, *option.split(), folder]) == 2
    assert f"{folder}/{names[folder]} is a folder" in capfd.readouterr().err
    assert os.listdir() == [folder] and os.listdir(folder) == [names[folder]]


def test_inputs_that_are_no_files(checkpoints, lmdb, tmp_path, capfd):
    """A pipe would be waited for; a folder and a device are none either."""
    os.mkfifo("pipe")
    os.mkdir("folder")
    photo("a.png")
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder"), ("/dev/null", "a device")):
        for script, argv in (
            (generate, [name]),
            (generate, [checkpoints[0], "--latents", name]),
            (style_mixing, [name]),
            (projector, [name, "a.png", *QUICK]),
            (projector, [checkpoints[0], name, *QUICK]),
            (convert, [name]),
            (train, [lmdb, "--ckpt", name]),
            (prepare_data, [name, "--out", "x"]),
            (prepare_data, ["symbols", "--font", name, "--out", "x"]),
            (metrics, [name, "--data", lmdb]),
            (metrics, [checkpoints[0], "--data", name]),
        ):
            if name == "folder" and script in (metrics, prepare_data):
                continue  # they take folders
            if name == "folder" and argv[0] == checkpoints[0] and script is projector:
                continue
            try:
                code = script.main(argv)
            except SystemExit as e:
                code = e.code
            said = capfd.readouterr().err.splitlines()[-1]
            assert code in (1, 2) and f"{name} is {kind}, no file" in said, (script, argv, said)
    assert sorted(os.listdir()) == ["a.png", "folder", "pipe"]


def test_a_film_of_60_frames_a_second(checkpoints):
    assert generate.main([checkpoints[0], *SMALL, "--only", "animation", "--fps", "60"]) == 0
    with Image.open("results/animation.webp") as film:
        film.seek(1)
        film.load()
        assert film.info["duration"] == 17


def test_notes_of_a_broken_png():
    file = io.BytesIO()
    encode_png(np.zeros((4, 4, 3), "uint8"), file, {"Software": "generate.py"})
    for part in (file.getvalue()[:20], b"", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40):
        with open("x.png", "wb") as f:
            f.write(part)
        assert notes_of("x.png") == {}
    with open("x.png", "wb") as f:
        f.write(file.getvalue())
    assert notes_of("x.png") == {"Software": "generate.py"}


@pytest.mark.parametrize("options", ["{", "[1]", ""])
def test_notes_that_another_program_has_written(checkpoints, capsys, options):
    """They say that the picture is ours, but not of which set."""
    os.makedirs("pictures")
    text = {"Software": "generate.py", "figure": "image", "options": options}
    save_png(np.zeros((4, 4, 3), "uint8"), "pictures/000007.png", text)
    before = contents("pictures")
    command = [checkpoints[0], "--images", "1", "--out", "pictures", "--device", "cpu"]
    assert generate.main(command) == 2
    error = capsys.readouterr().err
    assert "pictures/000007.png is of another checkpoint" in error and error.count("\n") == 1
    assert contents("pictures") == before
