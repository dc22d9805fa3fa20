"""The page, driven over HTTP as Gradio's clients do: what each tab makes, mistakes, several windows
at once, start and stop.
"""

import hashlib
import http.client
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from exploring import ROOT, Program, make_checkpoints, running
from PIL import Image

import generate
import projector

gradio_client = pytest.importorskip(
    "gradio_client", reason="needs pip install -r requirements-explore.txt"
)

FIRST, LAST = "000010.model", "000020.model"
LOOK = (0.7, 2, -1, 1)  # psi, up to level, noise seed, strength: as is usual


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    make_checkpoints(folder)
    return folder


@pytest.fixture(scope="module")
def program(folder):
    with running(folder) as program:
        yield program
        print(program.said())


@pytest.fixture(scope="module")
def client(program, tmp_path_factory):
    return new_client(program.address, tmp_path_factory.mktemp("downloads"))


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def new_client(address, downloads, **more):
    return gradio_client.Client(address, download_files=str(downloads), verbose=False, **more)


def sample(client, name=LAST, seed=5, picture="", look=LOOK):
    return client.predict(name, seed, picture, *look, api_name="/sample")


def made_by(command: str) -> dict:
    """{path: bytes} of what a command that the page shows writes in an empty results/."""
    _, script, *argv = shlex.split(command)
    before = {path for path in Path("results").rglob("*") if path.is_file()}
    kept = {path: path.read_bytes() for path in before}
    main = {"generate.py": generate.main, "projector.py": projector.main}[script]
    assert main([*argv, *([] if "--device" in argv else ["--device", "cpu"])]) == 0
    made = {}
    for path in Path("results").rglob("*"):
        if path.is_file() and path.read_bytes() != kept.get(path):
            made[path] = path.read_bytes()
    for path in made:
        path.unlink()
        if path in kept:
            path.write_bytes(kept[path])
    return made


def assert_same(path, command: str) -> None:
    """The file that the page gave has the bytes that the command writes."""
    (content,) = made_by(command).values()
    assert Path(path).read_bytes() == content


# What each tab makes


def test_sample(client):
    path, command = sample(client)
    options = "--images 1 --seed 5 --psi 0.7"
    assert command == f"python generate.py checkpoint/{LAST} --device cpu {options}"
    assert_same(path, command)
    with Image.open(path) as picture:
        assert picture.size == (16, 16) and picture.text["seeds"] == "[5]"
    assert sample(client)[0] and Path(sample(client)[0]).read_bytes() == Path(path).read_bytes()


def test_every_control_of_a_sample(client):
    seen = {Path(sample(client)[0]).read_bytes()}
    looks = [(-0.5, 2, -1, 1), (0.7, 0, -1, 1), (0.7, 2, 9, 1), (0.7, 2, -1, 2.5)]
    for look in looks:
        path, command = sample(client, look=look)
        assert_same(path, command)
        seen.add(Path(path).read_bytes())
    path, command = sample(client, name=FIRST, look=(0.7, 1, -1, 1))
    assert_same(path, command)
    assert len(seen) == 5 and Image.open(path).size == (8, 8)


def test_neighbours(client):
    found = client.predict(LAST, 5, *LOOK, api_name="/neighbours")
    assert [cell["caption"] for cell in found] == [str(seed) for seed in range(6, 18)]
    for cell in (found[0], found[-1]):
        alone, _ = sample(client, seed=int(cell["caption"]))
        assert Path(cell["image"]).read_bytes() == Path(alone).read_bytes()


def test_mix(client):
    path, command = client.predict(LAST, 1, "", 2, "", 3, "", *LOOK, api_name="/mix")
    assert "--seed 1 --mix middle:2 " in command  # at 16 px there are no fine ones
    assert_same(path, command)
    assert Path(path).read_bytes() != Path(sample(client, seed=1)[0]).read_bytes()


def test_directions(client):
    steps = [2.5, 0, -1, 0, 0, 0, 0, 0]
    arguments = (LAST, 5, "", 0, 1, *steps, *LOOK)
    path, command = client.predict(*arguments, api_name="/directions")
    assert "--directions 0:2.5:0-1,2:-1:0-1" in command
    assert_same(path, command)
    found = client.predict(LAST, api_name="/find")
    assert len(found) == 8 and "% of the variance" in found[0]["label"]
    (kept,) = Path("results/directions").glob("*.npz")
    with np.load(kept) as file:
        assert file["vectors"].shape == (8, 8)


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_walk(client, kind):
    arguments = (LAST, "3, 1,4", 7, 10, "z", kind, *LOOK)
    loop, film, file, command = client.predict(*arguments, api_name="/walk")
    assert_same(file, command)
    assert film["value"] is None and Path(loop["value"]).read_bytes() == Path(file).read_bytes()
    with Image.open(file) as picture:
        assert picture.n_frames == 7 and picture.size == (20, 20)
    keys = client.predict(LAST, "3, 1,4", *LOOK, api_name="/keys")
    assert [cell["caption"] for cell in keys] == ["3", "1", "4"]


def test_checkpoints(client):
    found = client.predict(5, api_name="/checkpoints")
    assert [cell["caption"] for cell in found] == [FIRST, LAST]
    assert [Image.open(cell["image"]).size for cell in found] == [(8, 8), (16, 16)]
    assert Path(found[1]["image"]).read_bytes() == Path(sample(client)[0]).read_bytes()


def test_checkpoints_that_cannot_be_read_are_left_out(client):
    damaged = Path("checkpoint/000015.model")
    damaged.write_bytes(Path(f"checkpoint/{LAST}").read_bytes()[:1000])
    try:
        found = client.predict(5, api_name="/checkpoints")
        refused(client, "000015.model", damaged.name, 5, "", *LOOK, api_name="/sample")
        assert damaged.name in str(client.predict(api_name="/look"))
    finally:
        damaged.unlink()
    assert [cell["caption"] for cell in found] == [FIRST, LAST]


def test_controls_fit_the_checkpoint(client):
    found = client.predict(FIRST, api_name="/fit")
    assert found[0]["value"] == 0.7 and found[-1]["label"] == "direction 7"
    every = (0.7, 8, -1, 1)
    assert sample(client, name=FIRST, look=every)[1].endswith("--seed 5 --psi 0.7")


def upload(tmp_path, name="my cat.png", size=(20, 24)):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / name)
    return gradio_client.handle_file(str(tmp_path / name))


@pytest.fixture(scope="module")
def projected(client, folder, tmp_path_factory):
    """A picture that was found: what the page said."""
    file = upload(tmp_path_factory.mktemp("mine"))
    return client.predict(LAST, file, 30, True, False, api_name="/project")


def test_picture(client, projected):
    shown, said, command = projected
    assert Path(shown).read_bytes() == Path("results/my-cat-project.png").read_bytes()
    assert "results/my-cat-project.png, PSNR" in said
    assert command.startswith(
        f"python projector.py checkpoint/{LAST} --device cpu results/pictures/"
    )
    names = {"my-cat.npz", "my-cat-project.png"}
    files = {Path("results") / name: (Path("results") / name).read_bytes() for name in names}
    for path in files:
        path.unlink()
    assert made_by(command) == files
    for path, content in files.items():
        path.write_bytes(content)


def test_a_picture_in_the_other_tabs(client, projected):
    look = (1, 2, -1, 1)
    path, command = sample(client, picture="my-cat", look=look)
    assert "--latents results/my-cat.npz" in command
    assert_same(path, command)
    found = np.asarray(Image.open("results/my-cat-project.png")).astype(int)
    assert np.abs(np.asarray(Image.open(path)) - found).max() <= 1
    path, command = client.predict(LAST, 1, "", 2, "my-cat", 3, "", *look, api_name="/mix")
    assert "--latents 1 results/my-cat.npz --mix middle:1" in command
    assert_same(path, command)
    arguments = (LAST, 5, "my-cat", 0, 2, 1, *[0] * 7, *look)
    assert_same(*client.predict(*arguments, api_name="/directions"))
    arguments = (LAST, "my-cat, 2", 4, 10, "z", "webp", *look)
    *_, file, command = client.predict(*arguments, api_name="/walk")
    assert "--latents results/my-cat.npz 2" in command and "--space w" in command
    assert_same(file, command)


@pytest.fixture
def slow():
    """A network whose iterations take so long that 2,000 of them last whatever else goes on."""
    path = Path("checkpoint/slow.model")
    path.write_bytes((ROOT / "checkpoint" / "symbols-64.model").read_bytes())
    yield path.name
    path.unlink()


def test_progress_and_cancel(client, slow, tmp_path):
    before = sorted(Path("results").rglob("*.npz"))
    job = client.submit(
        slow, upload(tmp_path, "other.png"), 2000, False, False, api_name="/project"
    )
    until = time.monotonic() + 300  # with what is to be compiled
    while not any("iteration" in str(output[1]) for output in job.outputs()):
        assert time.monotonic() < until and not job.done()
        time.sleep(0.1)
    path, _ = sample(client, seed=77)  # others are served meanwhile
    assert Path(path).exists() and not job.done()
    client.predict(api_name="/cancel")
    assert job.result(timeout=60)[1] == "stopped; nothing was written"
    assert sorted(Path("results").rglob("*.npz")) == before
    assert not list(Path("results/pictures").glob("other*"))


# Mistakes


def refused(client, match, *arguments, api_name):
    with pytest.raises(Exception, match=match):  # whatever the client makes of it
        client.predict(*arguments, api_name=api_name)


def test_wrong_input(client, program):
    name = "/sample"
    refused(client, "holds no checkpoint", "../a.model", 5, "", *LOOK, api_name=name)
    refused(client, "no picture", LAST, 5, "../../etc/passwd", *LOOK, api_name=name)
    refused(client, "", LAST, -3, "", *LOOK, api_name=name)
    refused(client, "seed: a whole number", LAST, None, "", *LOOK, api_name=name)
    refused(client, "", LAST, 5, "", 1e9, 2, -1, 1, api_name=name)
    refused(client, "", LAST, "five", "", *LOOK, api_name=name)
    name = "/walk"
    refused(client, "neither a seed", LAST, "1, --out", 7, 10, "z", "webp", *LOOK, api_name=name)
    refused(client, "1 to 16 latents", LAST, " , ", 7, 10, "z", "webp", *LOOK, api_name=name)
    refused(client, "", LAST, "1", 7, 10, "z", "exe", *LOOK, api_name=name)
    refused(client, "first is above", LAST, 5, "", 2, 0, *[1] * 8, *LOOK, api_name="/directions")
    refused(client, "drop a picture", LAST, None, 30, True, False, api_name="/project")
    assert sample(client)[1] and program.process.poll() is None


def picture_file(name: str) -> bytes:
    """What no picture is, or one that must not be decoded."""
    if name.endswith(".eps"):
        return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n"
    if name.startswith("bomb"):
        file = io.BytesIO()
        Image.new("1", (30_000, 30_000)).save(file, format="png")
        return file.getvalue()
    return b"\x89PNG\r\n\x1a\nno more"


@pytest.mark.parametrize("name", ["cut.png", "run.eps", "run.png.eps", "bomb.png"])
def test_what_is_no_picture(client, tmp_path, name):
    (tmp_path / name).write_bytes(picture_file(name))
    before = sorted(Path("results").rglob("*.*"))
    file = gradio_client.handle_file(str(tmp_path / name))
    refused(client, "cannot be read", LAST, file, 30, True, False, api_name="/project")
    kept = {p for p in Path("results").rglob("*.*") if ".explore-" not in str(p)}
    assert kept <= set(before)


def test_large_uploads_are_refused(program):
    boundary, size = "x" * 20, 21 * 2**20
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head.encode() + bytes(size) + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(program.address + "/gradio_api/upload", body, kind)
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(request)
    assert e.value.code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../etc/passwd",
        "checkpoint/000020.model",
        "results/directions",
        "results/../checkpoint/000020.model",
        "explore.py",
        str(ROOT / "explore.py"),
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
    ],
)
def test_files_elsewhere_are_not_served(program, path):
    host = program.address[len("http://") :]
    connection = http.client.HTTPConnection(host)
    for address in (f"/gradio_api/file={path}", f"/file={path}", f"/gradio_api/file/{path}"):
        connection.request("GET", address)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (403, 404, 405), address


@pytest.mark.parametrize("where", ["path", "url"])
def test_a_payload_cannot_name_a_file_of_the_server(program, where):
    """The body of a call says which upload is meant."""
    secret = {"path": str(ROOT / "README.md"), "meta": {"_type": "gradio.FileData"}}
    secret[where] = str(ROOT / "README.md") if where == "path" else "http://127.0.0.1:1/README.md"
    body = json.dumps({"data": [LAST, secret, 10, True, False]}).encode()
    request = urllib.request.Request(program.address + "/gradio_api/call/project", body)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        event = json.loads(answer.read())["event_id"]
    with urllib.request.urlopen(f"{program.address}/gradio_api/call/project/{event}") as answer:
        assert b"event: error" in answer.read()
    assert not list(Path("results").rglob("README*"))


# Several at once


def test_two_windows(client, program, tmp_path):
    """Each gets its own images, and the same ones."""
    other = new_client(program.address, tmp_path)
    found = {}

    def play(name, who, first):
        found[name] = [
            hashlib.sha1(Path(sample(who, seed=seed)[0]).read_bytes()).hexdigest()
            for seed in range(first, first + 8)
        ]

    threads = [
        threading.Thread(target=play, args=("one", client, 0)),
        threading.Thread(target=play, args=("two", other, 4)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found["one"][4:] == found["two"][:4] and len(set(found["one"] + found["two"])) == 12


def test_many_quick_movements(client, program):
    """Each is answered, by an image or with nothing new: tests/explorer/test_worker.py."""
    looks = [(x / 100, 2, -1, 1) for x in range(60)]
    jobs = [client.submit(LAST, 5, "", *look, api_name="/sample") for look in looks]
    outputs = [job.result(timeout=120) for job in jobs]
    made = [output for output in outputs if isinstance(output[1], str)]
    dropped = [output for output in outputs if output not in made]
    assert made and all(output[1]["__type__"] == "update" for output in dropped)
    assert_same(*made[-1])
    assert "--psi 0.61" in sample(client, look=(0.61, 2, -1, 1))[1]
    assert program.process.poll() is None


# The program


def test_nothing_is_written_elsewhere(client, folder, projected):
    client.predict(LAST, 5, *LOOK, api_name="/neighbours")
    assert {path.name for path in folder.iterdir()} == {"checkpoint", "results"}
    assert {path.name for path in (folder / "checkpoint").iterdir()} == {FIRST, LAST}


def test_stop_and_start(folder, tmp_path, program):
    """Beside another, with a password; what was shown goes, what was saved stays."""
    saved = {path for path in Path("results").rglob("*") if ".explore-" not in str(path)}
    with running(folder, f"checkpoint/{FIRST}", "--password", "word") as program:
        with pytest.raises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(program.address + "/config")
        assert e.value.code == 401
        with pytest.raises(Exception, match="[Cc]redentials|401|log"):
            new_client(program.address, tmp_path, auth=("me", "sword"))
        client = new_client(program.address, tmp_path, auth=("me", "word"))
        path, _ = sample(client, name=FIRST, look=(0.7, 1, -1, 1))
        assert Path(path).exists()
        shown = folder / "results" / f".explore-{program.pid}"
        assert shown.exists()
        assert program.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert not shown.exists() and "Traceback" not in program.said()
    assert all(path.exists() for path in saved)


def test_ctrl_c(folder):
    program = Program(folder)
    assert program.end() == 128 + signal.SIGINT
    assert "quick exit" not in program.said() and "Traceback" not in program.said()
    assert not list(Path("results").glob(f".explore-{program.pid}"))


def test_stopped_and_continued(client, program):
    """As by Ctrl-Z and fg. None of Jittor's helpers is there any more."""
    helpers = Path(f"/proc/{program.pid}/task").glob("*/children")
    assert "".join(path.read_text() for path in helpers) == ""
    for number in (signal.SIGSTOP, signal.SIGCONT):
        os.kill(program.pid, number)
        time.sleep(0.5)
    assert sample(client)[1] and program.process.poll() is None


def test_a_port_that_is_taken(folder, program):
    port = program.address.rpartition(":")[2]
    command = [sys.executable, str(ROOT / "explore.py"), "--port", port, "--device", "cpu"]
    done = subprocess.run(command, cwd=str(folder), capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"--port {port}" in done.stderr.splitlines()[-1]
