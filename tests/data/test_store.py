"""Reading prepared pictures: LMDBs, the original's among them, and trees. No Jittor needed."""

import errno
import io
import json
import os
import re
import subprocess
import sys
import zlib
from contextlib import closing

import lmdb
import numpy as np
import pytest
from oddities import saved, swapped_profile
from PIL import Image
from preparing import ROOT

from data import archives, store


def picture(side, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", quality=100)
    return buffer.getvalue()


def write_records(path, contents):
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        for key, value in contents.items():
            txn.put(key, value)


def originals(path, length=3, sizes=(8, 16), changes=()):
    """An LMDB as the original writes it: nothing in it is ours."""
    contents = {b"length": str(length).encode()}
    for size in sizes:
        for i in range(length):
            contents[b"%d-%05d" % (size, i)] = jpeg(picture(size, i))
    contents.update(changes)
    write_records(path, {key: value for key, value in contents.items() if value is not None})
    return contents


def test_an_lmdb_of_the_original_is_read(tmp_path):
    contents = originals(tmp_path / "original")
    with closing(store.open_pictures(tmp_path / "original")) as pictures:
        assert (pictures.length, pictures.sizes, pictures.about) == (3, [8, 16], {})
        for size in (8, 16):
            for i in range(3):
                read = pictures.read(i, size)
                assert read.mode == "RGB" and read.size == (size, size)
                record = contents[b"%d-%05d" % (size, i)]
                assert np.array_equal(read, Image.open(io.BytesIO(record)))


def test_keys_are_those_of_the_original():
    assert store.image_key(8, 7) == b"8-00007"
    assert store.image_key(1024, 123456) == b"1024-123456"


def test_require_says_what_is_missing_and_how_to_get_it(tmp_path):
    originals(tmp_path / "set")
    with closing(store.open_pictures(tmp_path / "set")) as pictures:
        pictures.require([8, 16])
        with pytest.raises(
            store.DataError, match=r"3 pictures at 8,16 px but not at 32,64: .*--sizes 8,16,32,64 "
        ):
            pictures.require([16, 32, 64])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({b"8-00001": None}, "holds 2 at 8 px, 3 at 16 px"),
        ({b"16-00002": None, b"16-00003": b"x"}, None),  # as many keys, but not these
        ({b"16-00003": b"x"}, "holds 3 at 8 px, 4 at 16 px"),
        ({b"8-00000": None, b"8-00002": None}, "has 3 pictures but holds 1 at 8 px, 3 at 16 px"),
        ({b"length": b"5"}, "has 5 pictures but holds 3 at 8 px, 3 at 16 px"),
    ],
)
def test_the_count_has_to_be_right(tmp_path, changes, words):
    originals(tmp_path / "set", changes=changes)
    if words is None:
        with closing(store.open_pictures(tmp_path / "set")) as pictures:
            with pytest.raises(store.DataError, match="16-00002 .*missing"):
                pictures.read(2, 16)
        return
    with pytest.raises(store.DataError, match=words):
        store.open_pictures(tmp_path / "set")
    with pytest.raises(store.DataError, match=words):  # it was closed again
        store.open_pictures(tmp_path / "set")


def test_keys_of_others_do_no_harm(tmp_path):
    originals(tmp_path / "set", changes={b"labels": b"none", b"about": b"not JSON"})
    with closing(store.open_pictures(tmp_path / "set")) as pictures:
        assert (pictures.length, pictures.sizes, pictures.about) == (3, [8, 16], {})


def test_what_is_no_lmdb(tmp_path):
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / "data.mdb").write_bytes(b"rubbish" * 5000)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").touch()
    write_records(tmp_path / "lengthless", {b"8-00000": b"x"})
    write_records(tmp_path / "empty", {b"length": b"0"})
    write_records(tmp_path / "odd", {b"length": b"many"})
    for name in ("missing", "rubbish", "folder", "lengthless", "empty", "odd"):
        with pytest.raises(store.DataError, match=f"{name}.*prepare_data.py"):
            store.open_pictures(tmp_path / name)
    assert not (tmp_path / "missing").exists()
    assert os.listdir(tmp_path / "folder") == ["a.png"]


def test_broken_records_are_named(tmp_path):
    broken = {b"8-00000": b"no picture", b"8-00001": jpeg(picture(4))}
    originals(tmp_path / "set", changes=broken)
    with closing(store.open_pictures(tmp_path / "set")) as pictures:
        for index in range(2):
            with pytest.raises(store.DataError, match=f"8-0000{index} .*prepare"):
                pictures.read(index, 8)


# Pictures of others


def odd_pictures(side=16):
    """{name: (encoded, uint8 (side, side, 3) that a person sees)}"""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (side, side), dtype="uint8")
    colours = rng.integers(0, 256, (side, side, 3), dtype="uint8")
    alpha = np.where(np.indices((side, side))[1] < side // 2, 0, 255).astype("uint8")
    clear = np.dstack([colours, alpha])
    turned = Image.Exif()
    turned[0x0112] = 6
    swapped = colours[..., [1, 0, 2]]
    return {
        "deep.png": (saved(Image.fromarray(grey.astype("uint16") * 257), "PNG"), grey),
        "clear.png": (saved(Image.fromarray(clear), "PNG"), np.where(clear[..., 3:], colours, 255)),
        "turned.png": (saved(Image.fromarray(colours), "PNG", exif=turned), np.rot90(colours, -1)),
        "swapped.png": (
            saved(Image.fromarray(colours), "PNG", icc_profile=swapped_profile()),
            swapped,
        ),
    }


def expected_pixels(seen):
    return np.repeat(seen[..., None], 3, axis=2) if seen.ndim == 2 else seen


@pytest.mark.parametrize("name", odd_pictures())
def test_pictures_of_others_are_decoded_as_prepare_data_does(tmp_path, name):
    content, seen = odd_pictures()[name]
    (tmp_path / "tree" / "16").mkdir(parents=True)
    (tmp_path / "tree" / "16" / name).write_bytes(content)
    write_records(tmp_path / "lmdb", {b"length": b"1", b"16-00000": content})
    for form in ("tree", "lmdb"):
        with closing(store.open_pictures(tmp_path / form)) as pictures:
            found = np.asarray(pictures.read(0, 16)).astype(int)
        assert np.abs(found - expected_pixels(seen)).max() <= (2 if "swapped" in name else 0)


def test_records_of_ours_are_read_as_they_were_written(tmp_path):
    """Earlier versions left profiles in them, of colours that were converted or not to be."""
    about = json.dumps({"writer": store.WRITER, "complete": True}).encode()
    image = picture(16)
    for i, profile in enumerate((swapped_profile(), b"x" * 1_800_000)):
        content = saved(image, "PNG", icc_profile=profile)
        records = {b"length": b"1", b"about": about, b"16-00000": content}
        write_records(tmp_path / str(i), records)
        with closing(store.open_pictures(tmp_path / str(i))) as pictures:
            assert np.array_equal(pictures.read(0, 16), image)


@pytest.mark.parametrize("ours", [False, True])
def test_what_is_no_picture_of_its_size_is_not_decoded(tmp_path, ours, monkeypatch):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
    huge = bytearray(saved(picture(16), "PNG"))
    huge[16:24] = (16000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(bytes(huge[12:29])).to_bytes(4, "big")
    records = {b"length": b"2", b"16-00000": eps, b"16-00001": bytes(huge)}
    if ours:
        records[b"about"] = json.dumps({"writer": store.WRITER, "complete": True}).encode()
    write_records(tmp_path / "set", records)
    monkeypatch.setattr(Image.core, "new", None)  # no pixels
    with closing(store.open_pictures(tmp_path / "set")) as pictures:
        for index, words in enumerate(("no picture of a known format", "16000 x 16000 pixels")):
            with pytest.raises(store.DataError, match=f"16-0000{index} .*{words}.*prepare"):
                pictures.read(index, 16)


# Trees


def make_tree(path, counts, suffix=".png"):
    for size, count in counts.items():
        (path / str(size) / "class").mkdir(parents=True)
        for i in range(count):
            picture(size, i).save(path / str(size) / "class" / f"{i}{suffix}")
    return path


def test_a_tree_of_others_is_read(tmp_path):
    make_tree(tmp_path / "tree", {8: 3, 32: 3})
    pictures = store.open_pictures(tmp_path / "tree")
    assert (pictures.length, pictures.sizes, pictures.about) == (3, [8, 32], {})
    assert np.array_equal(pictures.read(2, 32), picture(32, 2))
    (tmp_path / "tree" / "32" / "class" / "1.png").write_bytes(b"broken")
    with pytest.raises(store.DataError, match="tree/32/class/1.png is unusable"):
        pictures.read(1, 32)


def test_a_tree_needs_as_many_of_each_size(tmp_path):
    make_tree(tmp_path / "tree", {8: 3, 32: 2})
    with pytest.raises(store.DataError, match="holds 3 at 8 px, 2 at 32 px: .*--folders"):
        store.open_pictures(tmp_path / "tree")
    make_tree(tmp_path / "none", {8: 0})
    with pytest.raises(store.DataError, match="holds none"):
        store.open_pictures(tmp_path / "none")


def test_an_unfinished_tree_says_so(tmp_path):
    tree = make_tree(tmp_path / "tree", {8: 3})
    about = {"writer": store.WRITER, "complete": False, "done": 3, "total": 9}
    (tree / "about.json").write_text(json.dumps(about))
    with pytest.raises(store.DataError, match="unfinished, 3 of 9 pictures: .*--resume"):
        store.open_pictures(tree)


def test_order_is_that_of_the_sorted_paths(tmp_path):
    for name in ["b/0.png", "a/deep/1.png", "a/z.JPG", "a-b/2.png", "a/notes.txt", "top.jpeg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(path, tmp_path) for path in store.find_pictures(str(tmp_path))]
    assert found == ["a-b/2.png", "a/deep/1.png", "a/z.JPG", "b/0.png", "top.jpeg"]


def test_pipes_and_loops_are_passed_over(tmp_path):
    (tmp_path / "a.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "loop").symlink_to(tmp_path)
    (tmp_path / "below" / "self").symlink_to(".")
    (tmp_path / "below" / "b.png").symlink_to("nowhere")
    (tmp_path / "other").symlink_to(tmp_path / "below")  # a detour, but no loop
    found = [os.path.relpath(path, tmp_path) for path in store.find_pictures(str(tmp_path))]
    assert found == ["a.png", "below/b.png", "other/b.png"]


def test_our_trees_are_in_the_order_of_their_numbers(tmp_path):
    about = {"writer": store.WRITER, "complete": True}
    (tmp_path / "8").mkdir()
    for i in (99998, 99999, 100000, 100001):
        Image.new("RGB", (8, 8), (0, 0, i % 7)).save(tmp_path / "8" / f"{i:05d}.png")
    (tmp_path / "about.json").write_text(json.dumps(about))
    names = [store.open_pictures(tmp_path).name(i, 8) for i in range(4)]
    assert [os.path.basename(n) for n in names] == [
        "99998.png",
        "99999.png",
        "100000.png",
        "100001.png",
    ]


@pytest.mark.parametrize("limit", [2**13, 2**14])
def test_a_limit_of_the_size_of_files_is_told(tmp_path, limit):
    """LMDB says of a write that is cut short that input or output failed."""
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); import lmdb\n"
        "from data.store import LmdbWriter\nfrom formats.lmdbs import obstacle\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "about = {'complete': False}\n"
        "try: LmdbWriter(sys.argv[2]).write([(8, i, bytes(3000)) for i in range(9)], about)\n"
        "except lmdb.Error as e: print(obstacle(e))"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "(ulimit -f)" in done.stdout and done.stdout.count("\n") == 1


def test_rubbish_in_about_json_is_not_ours(tmp_path):
    make_tree(tmp_path, {8: 2})
    for rubbish in (b"\xff", b"[]", b'{"complete": false}', b"{"):
        (tmp_path / "about.json").write_bytes(rubbish)
        assert store.open_pictures(tmp_path).about == {}


OUT_OF_REACH = [
    (errno.ENODEV, "cannot map files into memory.*--folders TREE"),
    (errno.EINVAL, "cannot map files into memory.*another disk"),
    (errno.EACCES, "Permission denied: this user may not"),
    (errno.EMFILE, "Too many open files.*ulimit -n"),
    (errno.ESTALE, "Stale file handle: .*mount it anew"),
    (errno.EIO, "error: .*mount it anew"),
]


@pytest.mark.parametrize("number, words", OUT_OF_REACH)
def test_an_lmdb_out_of_reach_is_not_to_blame(tmp_path, monkeypatch, number, words):
    originals(tmp_path / "lmdb")
    before = (tmp_path / "lmdb" / "data.mdb").read_bytes()

    def out_of_reach(path, **options):
        raise lmdb.Error(f"{os.fsdecode(path)}: {os.strerror(number)}")

    monkeypatch.setattr(lmdb, "open", out_of_reach)
    for attempt in (
        store.open_pictures,
        store.LmdbWriter.find,
        lambda path: archives.Lmdb(str(path)),
    ):
        with pytest.raises(store.DataError, match=words) as error:
            attempt(tmp_path / "lmdb")
        assert not re.search("remove|--out|damaged|Copy", str(error.value))
    assert (tmp_path / "lmdb" / "data.mdb").read_bytes() == before


def test_what_is_broken_in_an_lmdb_is_still_told(tmp_path):
    (tmp_path / "lmdb").mkdir()
    (tmp_path / "lmdb" / "data.mdb").write_bytes(bytes(8192))
    with pytest.raises(store.DataError, match=r"\(.*INVALID.*\): remove it yourself"):
        store.LmdbWriter.find(tmp_path / "lmdb")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_a_record_out_of_reach_is_not_to_be_prepared_again(tmp_path, monkeypatch, number):
    for i in range(3):
        (tmp_path / "tree" / "8").mkdir(parents=True, exist_ok=True)
        picture(8, i).save(tmp_path / "tree" / "8" / f"{i}.png")

    def unreadable(self, index, size):
        raise OSError(number, os.strerror(number), self.files[size][index])

    monkeypatch.setattr(store.Tree, "record", unreadable)
    with closing(store.open_pictures(tmp_path / "tree")) as pictures:
        with pytest.raises(store.DataError, match=f"1.png cannot be read .{os.strerror(number)}."):
            pictures.read(1, 8)
