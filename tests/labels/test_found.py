"""Where the labels of pictures come from, how they are kept, what is refused."""

import io
import json
import shutil
import tarfile
import zipfile
from contextlib import closing

import lmdb
import numpy as np
import pytest
from labelled import COUNTS, NAMES, pictures_in
from PIL import Image
from preparing import finish, records, run  # noqa: F401

import dataset
import prepare_data
from data import store
from data.store import open_pictures

SIZES = ["--sizes", "4,8"]
SORTED = [name for name in NAMES for _ in range(COUNTS[name])]


@pytest.fixture
def folder(tmp_path):
    return pictures_in(tmp_path / "pictures")


def labels_in(path):
    with closing(open_pictures(path)) as pictures:
        return pictures.labels


def zipped(folder, out, top="", more=()):
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, f"{top}{path.relative_to(folder)}")
        for name, text in more:
            archive.writestr(name, text)
    return out


def tarred(folder, out, top="", more=()):
    with tarfile.open(out, "w:gz") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.add(path, f"{top}{path.relative_to(folder)}")
        for name, text in more:
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return out


def kept(folder, out, top="", more=()):
    for name, text in more:
        (folder / name).write_text(text)
    return folder.rename(out / top) if top and not out.mkdir() else folder


PACKED = pytest.mark.parametrize(
    "pack, name", [(kept, "x"), (zipped, "a.zip"), (tarred, "a.tgz")], ids=["folder", "zip", "tar"]
)


@PACKED
@pytest.mark.parametrize("top", ["", "train/"])
def test_first_folders(folder, tmp_path, run, pack, name, top):
    """Below all that the pictures have in common."""
    packed = pack(folder, tmp_path / name, top)
    code, out, err = run(packed.parent if packed.name == "train" else packed, *SIZES, "--labels")
    assert code == 0 and "labels of folders: cat (6), dog (3), emu (1)" in out
    assert labels_in(tmp_path / "out") == SORTED


@PACKED
def test_nvidias_dataset_json(folder, tmp_path, run, pack, name):
    """Numbers as names; nothing of the folders."""
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    text = json.dumps({"labels": [[path, 11 if i % 3 else 2] for i, path in enumerate(paths)]})
    code, out, err = run(
        pack(folder, tmp_path / name, more=[("dataset.json", text)]), *SIZES, "--labels"
    )
    assert code == 0 and "labels of dataset.json: 2 (4), 11 (6)" in out
    assert labels_in(tmp_path / "out") == ["11" if i % 3 else "2" for i in range(10)]


def csv_of(folder, tmp_path, rows, name="labels.csv"):
    (tmp_path / name).write_text("\n".join(rows), encoding="utf-8")
    return ["--labels", tmp_path / name]


def test_a_csv(folder, tmp_path, run):
    """With a heading, more columns, bare names where one picture alone has them."""
    rows = ["file,what,more", 'cat/0.png,"a b",x', r"cat\1.png,c", "./cat/2,c", "cat/3.png , c "]
    rows += ["4,c", "5.png,c", *(f"dog/{i}.png,c" for i in range(3)), "emu/0.png,a b"]
    code, out, err = run(folder, *SIZES, *csv_of(folder, tmp_path, rows))
    assert code == 0 and err == "" and "a b (2), c (8)" in out
    assert labels_in(tmp_path / "out") == ["a b", *"ccccc", *"ccc", "a b"]


def test_names_that_are_not_there_are_counted_and_named(folder, tmp_path, run):
    rows = [f"{name}/{i}.png,{i % 2}" for name, count in COUNTS.items() for i in range(count)]
    rows += [f"cow/{i}.png,1" for i in range(5)]
    code, out, err = run(folder, *SIZES, *csv_of(folder, tmp_path, rows))
    assert code == 0
    there = "names 5 pictures that are not there: cow/0.png, cow/1.png, cow/2.png and 2 more"
    assert there in err


def refused(folder, tmp_path, run, options, words, exit_code=1):
    code, out, err = run(folder, *SIZES, *options)
    assert code == exit_code and words in err.replace(str(tmp_path), "") and "Traceback" not in err
    assert not (tmp_path / "out" / "data.mdb").exists()


def test_pictures_without_a_label(folder, tmp_path, run):
    rows = ["cat/0.png,a", "cat/1.png,b"]
    words = "--labels: 8 of 10 pictures have no label: cat/2.png, cat/3.png, cat/4.png and 5 more"
    refused(folder, tmp_path, run, csv_of(folder, tmp_path, rows), words)
    shutil.copy(folder / "cat/0.png", folder / "beside.png")
    words = "--labels: 1 of 11 pictures have no label: beside.png; put them below folders"
    refused(folder, tmp_path, run, ["--labels"], words)


def test_two_labels_of_one_picture(folder, tmp_path, run):
    rows = [f"{name}/{i}.png,{name}" for name, count in COUNTS.items() for i in range(count)]
    rows += ["cat/1.png,cat", "cat/3.png,dog", "emu/0.png,cat"]
    words = "gives 2 pictures two labels: cat/3.png (cat, dog), emu/0.png (emu, cat)"
    refused(folder, tmp_path, run, csv_of(folder, tmp_path, rows), words)


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"labels": null}', "dataset.json has no label at all"),
        ('{"labels": [["cat/0.png", [0.5, 1]]]}', "dataset.json has [0.5, 1], and no number"),
        ('{"other": 1}', "dataset.json holds no labels as NVIDIA's dataset_tool.py writes"),
        ("{", "dataset.json holds no labels as NVIDIA's dataset_tool.py writes"),
    ],
)
def test_a_dataset_json_without_labels(folder, tmp_path, run, text, words):
    (folder / "dataset.json").write_text(text)
    refused(folder, tmp_path, run, ["--labels"], words)


def test_other_mistakes(folder, tmp_path, run):
    refused(folder, tmp_path, run, ["--labels", "no.csv"], "no.csv: there is no such file", 2)
    refused(folder, tmp_path, run, ["--labels", "x.txt"], "'x.txt' does not end in .csv", 2)
    options = csv_of(folder, tmp_path, ["cat/0.png"])
    refused(folder, tmp_path, run, options, "line 1 is no name and label")
    (folder / "cat").rename(folder / "a,b")
    refused(folder, tmp_path, run, ["--labels"], "1 labels have a comma")
    for name in ("a,b", "emu"):
        shutil.rmtree(folder / name)
    refused(folder, tmp_path, run, ["--labels"], "all pictures have the label dog: two are needed")


def test_small_pictures_are_left_out_with_their_labels(folder, tmp_path, run):
    Image.new("RGB", (6, 6)).save(folder / "dog" / "0.png")
    code, out, err = run(folder, *SIZES, "--min_size", "8", "--labels")
    assert code == 0 and labels_in(tmp_path / "out") == ["cat"] * 6 + ["dog"] * 2 + ["emu"]


def test_a_broken_picture_takes_its_label_along(folder, tmp_path, run):
    (folder / "cat" / "3.png").write_bytes(b"no picture")
    code, out, err = run(folder, *SIZES, "--labels")
    assert code == prepare_data.SKIPPED
    assert labels_in(tmp_path / "out") == ["cat"] * 5 + ["dog"] * 3 + ["emu"]


def test_digits_have_their_own(tmp_path, run):
    """The first ones of MNIST, by their names."""
    code, out, err = run("mnist", "--max_images", "12", "--labels")
    assert code == 0
    assert labels_in(tmp_path / "out") == list("504192131435")


# How they are kept


def test_records_of_pictures_are_the_same_bytes(folder, tmp_path, run):
    assert run(folder, *SIZES, "--labels")[0] == 0
    with_labels = records(tmp_path / "out")
    assert run(folder, *SIZES, "--out", tmp_path / "other")[0] == 0
    without = records(tmp_path / "other")
    more = with_labels.keys() - without.keys()
    assert all(with_labels[key] == value for key, value in without.items())
    assert sorted(more) == [f"label-{i:05d}".encode() for i in range(10)]
    assert [with_labels[key].decode() for key in sorted(more)] == SORTED
    assert labels_in(tmp_path / "other") is None


def test_what_the_original_reads_is_there(folder, tmp_path, run):
    """Its dataset.py asks for these keys alone."""
    assert run(folder, *SIZES, "--labels")[0] == 0
    with lmdb.open(str(tmp_path / "out"), readonly=True, lock=False) as env, env.begin() as txn:
        assert int(txn.get(b"length").decode()) == 10
        assert all(txn.get(f"{size}-{i:05d}".encode()) for size in (4, 8) for i in range(10))


def test_a_tree_of_sizes_keeps_them(folder, tmp_path, run):
    assert run(folder, *SIZES, "--folders", tmp_path / "tree", "--labels")[0] == 0
    assert labels_in(tmp_path / "tree") == SORTED
    assert run(folder, *SIZES, "--folders", tmp_path / "plain")[0] == 0
    for path in (tmp_path / "plain").rglob("*.jpg"):
        same = tmp_path / "tree" / path.relative_to(tmp_path / "plain")
        assert same.read_bytes() == path.read_bytes()
    assert run(folder, *SIZES, "--folders", tmp_path / "tree", "--overwrite")[0] == 0
    assert labels_in(tmp_path / "tree") is None


@pytest.mark.parametrize("option", ["--out", "--folders"])
def test_resumed_labels_are_those_of_a_whole_run(folder, tmp_path, run, monkeypatch, option):
    """Cut off after the sixth picture, by commits of two."""
    monkeypatch.setattr(prepare_data, "COMMIT_PICTURES", 2)
    writer = store.LmdbWriter if option == "--out" else store.TreeWriter
    write, commits = writer.write, []

    def cut_off(self, records, about):
        if len(commits) == 3:
            raise KeyboardInterrupt
        commits.append(about["done"])
        write(self, records, about)

    monkeypatch.setattr(writer, "write", cut_off)
    out = tmp_path / "cut"
    assert run(folder, *SIZES, option, out, "--labels")[0] == 130 and commits == [2, 4, 6]
    monkeypatch.setattr(writer, "write", write)
    for options in ([], ["--labels", "other.csv"]):
        (tmp_path / "other.csv").write_text("")
        assert run(folder, *SIZES, option, out, "--resume", *options)[0] != 0
    assert run(folder, *SIZES, option, out, "--labels", "--resume")[0] == 0
    assert labels_in(out) == SORTED
    whole = tmp_path / "whole"
    assert run(folder, *SIZES, option, whole, "--labels")[0] == 0
    if option == "--out":
        assert (out / "data.mdb").read_bytes() == (whole / "data.mdb").read_bytes()
    else:
        assert (out / "about.json").read_bytes() == (whole / "about.json").read_bytes()


def test_resuming_with_other_labels(folder, tmp_path, run):
    assert run(folder, *SIZES, "--labels")[0] == 0
    code, out, err = run(folder, *SIZES, "--resume")
    assert code == 1 and "was begun with labels 3 kinds" in err and "not None" in err
    rows = [f"{name}/{i}.png,{i % 2}" for name, count in COUNTS.items() for i in range(count)]
    code, out, err = run(folder, *SIZES, "--resume", *csv_of(folder, tmp_path, rows))
    assert code == 1 and "was begun with labels 3 kinds" in err and "not 2 kinds" in err


# What dataset.py says and shows


def test_a_row_of_each_label(folder, tmp_path, run, capsys):
    assert run(folder, *SIZES, "--format", "png", "--labels")[0] == 0
    sheet = tmp_path / "sheet.png"
    command = [str(tmp_path / "out"), "--out", str(sheet), "--n_col", "4"]
    assert dataset.main(command) == 0
    assert "3 labels: cat (6), dog (3), emu (1)\n" in capsys.readouterr().out
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (3 * 10 + 2, 4 * 10 + 2, 3)
    cells = [[pixels[2 + y : 10 + y, 2 + x : 10 + x] for x in (0, 10, 20, 30)] for y in (0, 10, 20)]
    with closing(open_pictures(tmp_path / "out")) as pictures:
        own = {name: set() for name in NAMES}
        for i, label in enumerate(pictures.labels):
            own[label].add(np.asarray(pictures.read(i, 8)).tobytes())
    shown = [[cell.tobytes() for cell in row if cell.any()] for row in cells]
    assert [len(row) for row in shown] == [4, 3, 1]
    for name, row in zip(NAMES, shown):
        assert set(row) <= own[name] and len(set(row)) == len(row)
    assert dataset.main([*command, "--n_row", "2"]) == 0
    assert Image.open(sheet).size == (42, 22)
