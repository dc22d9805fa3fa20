"""The view of Jittor and its caches: with fake Jittors, and the real one beside other programs."""

import ast
import errno
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from terminals import in_terminal
from tiny import ROOT

from backend import jittor_home
from backend.jittor_home import GROUPS, DeviceError
from backend.terminal import UsageError
from operators.convolution import jt

EDITS = [edit for group in GROUPS for edit in group.edits]
AS_IT_IS = "Jittor 9.0.0 is used as it is: no edit of backend/jittor_edits.py fits it"
OURS = "from backend import device; jt = device.load('cpu'); print(jt.ones(3).sum().item())"
# In the usual way; as where there is no CUDA, which a plain import may not survive
PLAIN = (
    "import os; os.environ['nvcc_path'] = ''; import jittor as jt; print(jt.ones(3).sum().item())"
)


def put_jittor(site: Path, version: str = "1.3.11.0") -> Path:
    """A Jittor that consists of what the edits look for, and of one file more."""
    for edit in EDITS:
        file = site / edit.file
        file.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(f"{text}first\n{edit.old}\nlast\n", encoding="utf-8")
    (site / "jittor" / "__init__.py").write_text(f"__version__ = '{version}'\n", encoding="utf-8")
    (site / "jittor" / "other.py").write_text("as it was\n", encoding="utf-8")
    return site


def contents(folder: Path) -> dict:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return put_jittor(tmp_path / "site")


def test_view_has_the_edits_and_all_else_as_it_was(site, tmp_path):
    before = contents(site)
    for name in before:
        (site / name).chmod(0o444)
    view = jittor_home.make_view(site)
    assert (
        os.access(view / EDITS[0].file, os.W_OK) and (view / EDITS[0].file).stat().st_mode & 0o200
    )
    assert view.parent == tmp_path / "cache" / "stylegan-jittor"
    assert view.name.startswith("jittor-1.3.11.0-") and os.listdir(view.parent) == [view.name]
    assert contents(site) == before
    after = contents(view)
    module = after.pop("jittor_utils/stylegan_build.py")
    assert module == (ROOT / "backend" / "jittor_build.py").read_bytes()
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {edit.file for edit in EDITS}
    for edit in EDITS:
        text = after[edit.file].decode()
        assert edit.new in text and edit.old not in text.replace(edit.new, "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_cache_says_so(site, monkeypatch, number):
    def full(source, target):
        raise OSError(number, os.strerror(number), target)

    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(jittor_home, "installed", lambda: site)
    with pytest.raises(
        DeviceError, match=f"cache .*: {os.strerror(number)}: make room .*XDG_CACHE_HOME"
    ):
        jittor_home.choose("cpu")


def test_a_view_of_write_protected_folders(site):
    for folder in (site / "jittor_utils", site / "jittor"):
        folder.chmod(0o555)
    view = jittor_home.make_view(site)
    assert os.stat(view / "jittor_utils").st_mode & 0o200


def test_view_is_made_once_for_all_environments(site, tmp_path):
    view = jittor_home.make_view(site)
    made = (view / "jittor" / "other.py").stat().st_mtime_ns
    shutil.rmtree(site)
    other = put_jittor(tmp_path / "another environment")
    assert jittor_home.make_view(other) == view
    assert (view / "jittor" / "other.py").stat().st_mtime_ns == made
    (other / "jittor" / "other.py").write_text("changed\n", encoding="utf-8")
    changed = jittor_home.make_view(other)
    assert changed != view and (changed / "jittor" / "other.py").read_text() == "changed\n"


def lacking(group) -> list:
    """What is left out where one group does not fit: it and those that need it."""
    return [other for other in GROUPS if other is group or group.name in other.needs]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.file)
def test_text_that_is_not_there_or_twice(site, edit, monkeypatch):
    """The view then lacks the whole group of the edit and has all others."""
    monkeypatch.setattr(jittor_home, "check_needed", lambda number, without: None)
    without = lacking(next(group for group in GROUPS if edit in group.edits))
    file = site / edit.file
    text = file.read_text(encoding="utf-8")
    for other in (text.replace(edit.old, "something else"), text + edit.old):
        file.write_text(other, encoding="utf-8")
        view = jittor_home.make_view(site)
        assert jittor_home.left_out(view) == without
        made = [each for group in GROUPS if group not in without for each in group.edits]
        for name in {each.file for each in EDITS}:
            expected = (site / name).read_text(encoding="utf-8")
            for each in made:
                expected = expected.replace(each.old, each.new) if each.file == name else expected
            assert (view / name).read_text(encoding="utf-8") == expected
        lines = jittor_home.losses(view, without)
        assert lines == [f"Jittor 1.3.11.0 without the edits {x.name}: {x.lost}" for x in without]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_the_real_jittor_can_do_without_each_group(tmp_path, group):
    """What remains of its modules is Python, and uses nothing that only the group brings."""
    site = Path(metadata.distribution("jittor").locate_file(""))
    for name in {edit.file for edit in EDITS}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(site / name, tmp_path / name)
    edit = group.edits[-1]
    start, end = ('r"""', '"""') if edit.file.endswith(".py") else ("/*", "*/")
    with open(tmp_path / edit.file, "a", encoding="utf-8") as f:
        f.write(f"{start}\n{edit.old}\n{end}\n")
    texts, without = jittor_home.edited(tmp_path)
    assert without == lacking(group)
    for name, text in texts.items():
        if name.endswith(".py"):
            ast.parse(text)
    built = texts["jittor/compiler.py"]
    assert ("waits = []" in built) == ("stylegan_build." in built or "waits.pop" in built)
    noted = "stylegan_note_only" in texts.get("jittor/src/utils/cache_compile.cc", "")
    assert noted == ("stylegan_build.note_only" in built)


def test_names_and_needs_of_the_groups():
    names = [group.name for group in GROUPS]
    assert len(set(names)) == len(names)
    for i, group in enumerate(GROUPS):
        assert set(group.needs) <= set(names[:i]) and group.reason and group.lost


def test_a_jittor_that_no_edit_fits(site, monkeypatch):
    monkeypatch.setattr(jittor_home, "check_needed", lambda number, without: None)
    for name in {edit.file for edit in EDITS}:
        (site / name).write_text("all is new\n", encoding="utf-8")
    assert jittor_home.make_view(site) is None and jittor_home.left_out(site) == list(GROUPS)
    text = AS_IT_IS.replace("9.0.0", "1.3.11.0")
    assert jittor_home.losses(site, jittor_home.left_out(site)) == [text]
    monkeypatch.setattr(jittor_home, "installed", lambda: site)
    assert jittor_home.report() == [f"edits: {text}"]


def test_report_of_the_groups(site, monkeypatch):
    monkeypatch.setattr(jittor_home, "installed", lambda: site)
    names = [group.name for group in GROUPS]
    assert jittor_home.report() == [f"edits: {', '.join(names)}"]
    (site / "jittor" / "src" / "lock.cc").unlink()
    names.remove("lock-signals")
    lost = "a signal while another process compiles ends it with a failed assertion"
    lines = [", ".join(names), f"Jittor 1.3.11.0 without the edits lock-signals: {lost}"]
    assert jittor_home.report() == [f"edits: {line}" for line in lines]
    view = jittor_home.make_view(site)
    monkeypatch.setattr(jittor_home, "installed", lambda: view)
    assert jittor_home.report() == [f"edits: {line}" for line in lines]


@pytest.mark.parametrize(
    "jittor, python, numpy, words",
    [
        ("1.3.10.0", (3, 12), "1.26.4", None),
        ("1.3.10.0", (3, 12), "2.3.5", "1.3.10.0, does not work with NumPy 2.3.5: pip install"),
        ("1.3.9.14", (3, 14), "2.3.5", "does not work with Python 3.14 and NumPy 2.3.5: pip"),
        ("unknown", (3, 13), "1.26.4", "this Jittor, unknown, does not work with Python 3.13:"),
        ("1.3.12.0", (3, 14), "2.3.5", None),
        ("1.4.0", (3, 13), "2.3.5", None),
    ],
)
def test_jittor_without_what_it_needs_here(jittor, python, numpy, words, monkeypatch):
    monkeypatch.setattr(sys, "version_info", python)
    monkeypatch.setattr(jittor_home.metadata, "version", {"numpy": numpy}.get)
    needed = [group for group in GROUPS if group.purpose == "needed to run"]
    jittor_home.check_needed(jittor, [group for group in GROUPS if group not in needed])
    if words is None:
        jittor_home.check_needed(jittor, needed)
    else:
        with pytest.raises(DeviceError) as e:
            jittor_home.check_needed(jittor, needed)
        assert words in str(e.value)


def test_without_jittor(monkeypatch):
    monkeypatch.setattr(jittor_home.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="Jittor is not installed .* pip install --no-deps -r"):
        jittor_home.installed()


def test_each_device_and_setting_has_a_cache(monkeypatch, tmp_path):
    for name in jittor_home.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    cpu = jittor_home.cache_name("cpu", tmp_path)
    assert cpu.startswith("stylegan-cpu-") and jittor_home.cache_name("cpu", tmp_path) == cpu
    names = {cpu, jittor_home.cache_name("cuda", tmp_path), jittor_home.cache_name("cpu", ROOT)}
    for name in jittor_home.SETTINGS:
        monkeypatch.setenv(name, "x")
        names.add(jittor_home.cache_name("cpu", tmp_path))
    assert len(names) == 3 + len(jittor_home.SETTINGS)


def test_home_that_jittor_remembers(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    assert jittor_home.jittor_cache() == tmp_path / ".cache" / "jittor"
    config = jittor_home.remembered_home()
    config.parent.mkdir(parents=True)
    config.write_text('{"JITTOR_HOME": "/elsewhere"}', encoding="utf-8")
    assert jittor_home.jittor_cache() == Path("/elsewhere/.cache/jittor")
    monkeypatch.setenv("JITTOR_HOME", "/here")
    assert jittor_home.jittor_cache() == Path("/here/.cache/jittor")


@pytest.mark.parametrize("text", ["{", '{"JITTOR_HOME": "/proc/nowhere"}'])
def test_home_that_jittor_cannot_use(tmp_path, text):
    """The file can be half written, and what it names gone."""
    (tmp_path / ".cache" / "jittor").mkdir(parents=True)
    (tmp_path / ".cache" / "jittor" / "config.json").write_text(text, encoding="utf-8")
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("JITTOR_HOME", None)
    code = (
        "from argparse import ArgumentParser; from backend import jittor_home, terminal; "
        "exit(terminal.run('x', lambda _: jittor_home.load('cpu'), ArgumentParser, []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("x: Jittor cannot use its cache ")
    assert f"{tmp_path}/.cache/jittor/config.json" in done.stderr and done.stderr.count("\n") == 1


def test_the_view_is_the_same_in_the_c_locale(site):
    """Where a name that is not ASCII is another text; Jittor has such a file."""
    (site / "jittor" / "\u8ba1\u56fe.py").write_text("x\n", encoding="utf-8")
    code = f"from backend import jittor_home as j; print(j.make_view(j.Path({str(site)!r})).name)"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == jittor_home.make_view(site).name


@pytest.mark.parametrize("error", [KeyError, RuntimeError])
def test_a_user_without_a_home(monkeypatch, error):
    """As in a container: no HOME, and no line in /etc/passwd."""

    def nowhere():
        raise error("no home")

    monkeypatch.setattr(Path, "home", nowhere)
    for name in ("XDG_CACHE_HOME", "JITTOR_HOME"):
        monkeypatch.delenv(name, raising=False)
    for folder in (jittor_home.our_cache, jittor_home.jittor_cache):
        with pytest.raises(UsageError, match="this user has no home folder: set HOME to a folder"):
            folder()


@pytest.fixture
def fake(tmp_path):
    """Runs code in a process with a Jittor of a new version that does what is asked for."""
    (tmp_path / "jittor_utils").mkdir()
    (tmp_path / "jittor").mkdir()
    text = f"import os\ncache_path = os.path.join({str(tmp_path)!r}, os.environ['cache_name'])\n"
    (tmp_path / "jittor_utils" / "__init__.py").write_text(
        text + "os.makedirs(cache_path, exist_ok=True)\n"
    )

    def run(jittor, *arguments, terminal=False, argv=None):
        (tmp_path / "jittor" / "__init__.py").write_text(f"__version__ = '9.0.0'\n{jittor}")
        (tmp_path / "program.py").write_text(
            "import argparse, os, sys\nfrom backend import jittor_home, terminal\n"
            "def parser():\n"
            "    p = argparse.ArgumentParser()\n"
            "    p.add_argument('word', nargs='?')\n"
            "    p.add_argument('--option', action='store_true')\n"
            "    return p\n"
            "def task(_):\n"
            "    jt = jittor_home.load('cpu', print)\n"
            "    cache = os.path.basename(jt.jittor_utils.cache_path)\n"
            "    print(jt.__version__, sys.argv[1:], cache)\n"
            f"sys.exit(terminal.run('program', task, parser, {argv}))\n"
        )
        command = [sys.executable, str(tmp_path / "program.py"), *arguments]
        environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "cache_name": "default"}
        if terminal:
            return in_terminal(command, **environment)
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True
        )
        return done.returncode, done.stdout.splitlines(), done.stderr

    return run


def test_first_use_is_announced_and_the_cache_is_ours(fake):
    first, second = fake("import jittor_utils\n"), fake("import jittor_utils\n")
    assert first[0] == second[0] == 0 and first[2] == second[2] == ""
    assert first[1][1].startswith("Jittor compiles itself on its first use")
    assert first[1][2:] == second[1][1:] and second[1][1].startswith("9.0.0 [] stylegan-cpu-")
    assert first[1][0] == second[1][0] == AS_IT_IS


def test_jittor_that_ends_the_process_when_it_has_rebuilt_itself(fake, tmp_path):
    """The first time in the process that builds, then once more in the program itself."""
    jittor = (
        "import jittor_utils, pathlib, sys\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "n = len(count.read_text()) if count.exists() else 0\n"
        "count.write_text('x' * (n + 1))\n"
        "if n in (0, 2): sys.exit(0)\n"
    )
    code, lines, stderr = fake(jittor, "a b", "--option")
    assert (code, stderr) == (0, "")
    assert [line.split(" stylegan")[0] for line in lines if line != AS_IT_IS] == [
        "Jittor compiles itself on its first use, which takes a minute or two ...",
        "Jittor compiles itself on its first use, which takes a minute or two ...",
        "9.0.0 ['a b', '--option']",
    ]
    assert len((tmp_path / "count").read_text()) == 5


COMPILES = """
import os, time
import jittor_utils
if "stylegan_progress" in os.environ:
    for words in ("1 3\\n2", " 3\\n3 3\\n", "1 2\\n", "1 3\\n"):
        os.write(int(os.environ["stylegan_progress"]), words.encode())
        time.sleep(0.5)
"""


def test_a_session_is_not_run_anew(fake):
    """In a notebook it would be the kernel."""
    jittor = "import sys\nif sys.argv[0] != '-c': sys.exit(0)\n"
    code, lines, stderr = fake(jittor, argv=[])
    assert code == 2 and len(lines) == 2
    assert stderr.startswith("program: Jittor has rebuilt itself: start this again")


def test_a_terminal_says_how_far_jittor_is(fake):
    """Stage by stage; in the end only what was said at once remains."""
    code, text = fake(COMPILES, terminal=True)
    first, line, last = text.split("\r\n")[1:4]
    assert code == 0 and first.startswith("Jittor compiles itself on its first use")
    shown = line.split("\r\033[K")
    counts = dict.fromkeys(re.sub(r"compiling Jittor:? ?|, \d s$", "", x) for x in shown[:-1])
    assert [x for x in counts if x] == ["1 of 3", "3 of 3", "4 of 5", "5 of 8"]
    assert shown[-1].startswith("9.0.0 [] stylegan-cpu-") and last == ""


def test_jittor_that_rebuilds_itself_for_ever(fake):
    jittor = "import sys\nif sys.argv[0] != '-c': sys.exit(0)\n"
    code, _, stderr = fake(jittor)
    assert code == 2 and stderr.startswith(
        "program: Jittor rebuilds itself at every start: remove "
    )


@pytest.mark.parametrize("symbol", ["GLIBCXX_3.4.30", "CXXABI_1.3.13"])
def test_an_older_library_is_named(tmp_path, monkeypatch, symbol):
    def older(path):
        why = f"/opt/old/libstdc++.so.6: version `{symbol}' not found (required by {path})"
        raise OSError(why)

    jittor_home.check_loadable(tmp_path)
    (tmp_path / "jit_utils_core.cpython-311.so").write_bytes(b"")
    jittor_home.check_loadable(tmp_path)  # too short: nothing of a version
    monkeypatch.setattr(jittor_home.ctypes, "CDLL", older)
    with pytest.raises(DeviceError, match=f"^/opt/old/libstdc.*too old for Jittor.* {symbol}:"):
        jittor_home.check_loadable(tmp_path)


def test_jittor_that_does_not_compile(fake):
    code, _, stderr = fake("import sys\nsys.exit('no such header')\n")
    assert code == 2 and stderr.startswith("no such header\nprogram: Jittor did not compile (exit")


def test_the_installed_jittor_is_the_one_that_the_edits_know():
    site = Path(metadata.distribution("jittor").locate_file(""))
    texts, without = jittor_home.edited(site)
    assert texts.keys() == {edit.file for edit in EDITS} and without == []
    assert jittor_home.make_view(site) == Path(jt.__file__).parent.parent


def test_tests_run_with_the_view():
    site = jittor_home.installed()
    assert jittor_home.make_view(site) == site == Path(jt.__file__).parent.parent
    assert site.parent == jittor_home.our_cache().resolve()
    assert "/stylegan-cpu-" in jt.flags.cache_path or "/stylegan-cuda-" in jt.flags.cache_path


@pytest.mark.parametrize("kind", "bool int8 uint8 int16 int32 float16 float32".split())
def test_arrays_of_numpy(kind):
    x = np.arange(24).reshape(2, 3, 4).astype(kind)
    for view in (x, x[:, ::2], x.transpose(2, 0, 1)):  # all but the first are copied
        got = jt.array(view).numpy()
        assert got.dtype == x.dtype and np.array_equal(got, view)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64])
def test_numbers_of_numpy_as_indices(kind):
    x = jt.array(np.arange(12).reshape(3, 4))
    assert x[kind(2), kind(1)].item() == 9
    assert x[kind(1)].numpy().tolist() == [4, 5, 6, 7]
    assert x[kind(1) :, : kind(2)].numpy().tolist() == [[4, 5], [8, 9]]
    if np.iinfo(kind).min:
        assert x[kind(-1), 0].item() == 8


def test_index_that_is_no_whole_number():
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        jt.array(np.arange(3))[np.float32(1.5)]


def built(cache: Path) -> dict:
    """When what Jittor consists of was built. Not the kernels: other programs may run meanwhile."""
    files = cache.glob("jt*/**/*.so")
    return {file: file.stat().st_mtime_ns for file in files if file.parent.name != "jit"}


def test_beside_other_programs_nothing_is_rebuilt():
    """Ours, a plain `import jittor`, ours again, with and without mpirun."""
    ours = [sys.executable, "-c", OURS]
    plain = [sys.executable, "-c", PLAIN]
    # What Jittor has set in its environment is inherited
    child = (
        f"{PLAIN}; import subprocess as s, sys; sys.exit(s.call([sys.executable, '-c', {OURS!r}]))"
    )
    commands = [ours, plain, ours, [sys.executable, "-c", child], ours]
    if shutil.which("mpirun") and shutil.which("mpicc"):
        commands.insert(3, ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", *ours])
    environment = {k: v for k, v in os.environ.items() if k not in ("cache_name", "nvcc_path")}
    before = {}
    for turn in range(2):
        for command in commands:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True
            )
            # Without the edits Jittor itself fails on new Pythons: it must not disturb ours even so
            if PLAIN not in command[2] or sys.version_info < (3, 13):
                assert done.returncode == 0, (command, done.stderr)
                assert set(done.stdout.split()) == {"3.0"}
        after = built(jittor_home.jittor_cache())
        if turn:
            assert after == before
        before = after
