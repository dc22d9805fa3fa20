"""The Jittor that runs: a view that today's Python and NumPy can use, with a cache of its own.

Jittor 1.3.11 needs a few edits for Python 3.13, NumPy 2 and g++ 16. They are made in a copy of it
in the user's cache; the installed files stay as they are. In another Jittor a group of edits of
which one does not fit is left out. Jittor keeps what it compiles in one folder for all programs and
rebuilds itself when another program's settings differ, so ours has a folder for each device and
each kind of settings.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import BrokenExecutor
from importlib import metadata, util
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from backend import build_edits, children, jittor_edits
from backend.disk import home, made_once, our_cache
from backend.jittor_edits import Group
from backend.terminal import STARTED_AGAIN, Line, StartAgain, UsageError, explained, reason

KNOWN = (1, 3, 11)  # newer ones may do without what this one needs
GROUPS = (*jittor_edits.GROUPS, *build_edits.GROUPS)
LEFT_OUT = "left-out.txt"  # in a view: the names of groups that are not in it

# What these call, in the view under this name
BUILD_MODULE = Path(__file__).with_name("jittor_build.py")
BUILD_MODULE_THERE = "jittor_utils/stylegan_build.py"

# In the environment: what Jittor makes its compiler's command of
SETTINGS = "cc_flags kernel_flags nvcc_path nvcc_flags python_config_path debug enable_lto".split()

PROGRESS = "stylegan_progress"  # in the environment: where Jittor's build writes how far it is

# Jittor ends the process when it has rebuilt what it had loaded. argv: mark, sys.path
BUILD = """
import sys
sys.path[:] = sys.argv[2:]
from backend import children
try:
    with children.loading():
        import jittor
except Exception as e:
    sys.exit(f"{type(e).__name__}: {e}")
open(sys.argv[1], "w").close()
"""


class DeviceError(UsageError):
    """Jittor, its compiler or the device asked for is not there; the text says what is missing."""


def remembered_home() -> Path:
    """Jittor's file of settings; it keeps the last JITTOR_HOME there, for all later programs."""
    return home() / ".cache" / "jittor" / "config.json"


def jittor_cache() -> Path:
    """Jittor's folder for what it downloads and compiles."""
    folder = os.environ.get("JITTOR_HOME")
    if not folder:
        try:
            folder = json.loads(remembered_home().read_text(encoding="utf-8"))["JITTOR_HOME"]
        except (OSError, ValueError, KeyError):
            folder = str(home())
    return Path(folder, ".cache", "jittor")


def installed() -> Path:
    """The folder that holds the installed `jittor` and `jittor_utils`."""
    spec = util.find_spec("jittor")
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise DeviceError(
            f"Jittor is not installed for {sys.executable}: pip install --no-deps "
            "-r requirements.txt"
        )
    return Path(spec.origin).resolve().parent.parent


def version(site: Path) -> str:
    """Jittor's version, as it says itself."""
    text = (site / "jittor" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    return found.group(1) if found else "unknown"


def with_group(texts: Dict[str, str], group: Group, site: Path) -> Optional[Dict[str, str]]:
    """New texts of files with one more group of edits, None if one of them does not fit."""
    texts = dict(texts)
    for edit in group.edits:
        file = site / edit.file
        if edit.file not in texts and not file.is_file():
            return None
        text = texts.get(edit.file) or file.read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            return None
        texts[edit.file] = text.replace(edit.old, edit.new)
    return texts


def edited(site: Path) -> Tuple[Dict[str, str], List[Group]]:
    """(the new text of each file that the edits change, the groups that are left out)."""
    texts: Dict[str, str] = {}
    without: List[Group] = []
    for group in GROUPS:
        lacks = any(other.name in group.needs for other in without)
        changed = None if lacks else with_group(texts, group, site)
        if changed is None:
            without.append(group)
        else:
            texts = changed
    return texts, without


def check_needed(number: str, without: List[Group]) -> None:
    """Raises DeviceError if a Jittor cannot work here without the groups that are left out."""
    names, numpy = {group.name for group in without}, metadata.version("numpy")
    python = sys.version_info[:2]
    too_new = []
    if any(f"python-3.{minor}" in names and python >= (3, minor) for minor in (13, 14)):
        too_new.append("Python {}.{}".format(*python))
    if "numpy-2" in names and int(numpy.split(".")[0]) >= 2:
        too_new.append(f"NumPy {numpy}")
    newer = tuple(int(x) for x in re.findall(r"\d+", number)[:3]) > KNOWN
    if too_new and not newer:
        raise DeviceError(
            f"this Jittor, {number}, does not work with {' and '.join(too_new)}: "
            "pip install --no-deps -r requirements.txt"
        )


def is_view(site: Path) -> bool:
    """Whether Jittor in that folder is an edited copy."""
    return site.parent == our_cache().resolve()


def left_out(site: Path) -> List[Group]:
    """The groups of edits that the Jittor in that folder, a view or not, goes without."""
    if not is_view(site):
        return list(GROUPS)
    file = site / LEFT_OUT
    names = file.read_text(encoding="utf-8").split() if file.exists() else []
    return [group for group in GROUPS if group.name in names]


def lacks(name: str) -> bool:
    """Whether our Jittor, loaded or not yet, goes without a group of edits. Raises DeviceError."""
    site = installed()
    without = left_out(site) if is_view(site) else edited(site)[1]
    return any(group.name == name for group in without)


def losses(site: Path, without: List[Group]) -> List[str]:
    """What that costs, a line for each group."""
    number = version(site)
    if len(without) == len(GROUPS):
        return [f"Jittor {number} is used as it is: no edit of backend/jittor_edits.py fits it"]
    return [f"Jittor {number} without the edits {x.name}: {x.lost}" for x in without]


def report() -> List[str]:
    """Which groups of edits the installed Jittor gets, and what it loses without the others."""
    try:
        site = installed()
    except DeviceError as e:
        return [f"edits: {e}"]
    without = left_out(site) if is_view(site) else edited(site)[1]
    made = ", ".join(group.name for group in GROUPS if group not in without)
    return [f"edits: {line}" for line in ([made] if made else []) + losses(site, without)]


def make_view(site: Path) -> Optional[Path]:
    """The folder of the edited copy, made if it is not there; None where no edit fits.

    A copy, for environments come and go: all that hold the same Jittor share one, and what is
    compiled from it.
    """
    if is_view(site):  # given by a process that uses the view
        return site
    number, (texts, without) = version(site), edited(site)
    check_needed(number, without)
    if not texts:
        return None
    texts[BUILD_MODULE_THERE] = BUILD_MODULE.read_text(encoding="utf-8")
    if without:
        texts[LEFT_OUT] = "".join(f"{group.name}\n" for group in without)
    key, files = hashlib.sha256(repr(sorted(texts.items())).encode()), []
    for package in ("jittor", "jittor_utils"):
        # As bytes: one name is Chinese, which is another text in the C locale
        for file in sorted((site / package).rglob("*"), key=lambda f: [*map(os.fsencode, f.parts)]):
            if file.is_file() and "__pycache__" not in file.parts:
                files.append(file.relative_to(site))
                key.update(os.fsencode(files[-1]) + b"\0" + file.read_bytes())

    def fill(folder: Path) -> None:
        for file in files:  # without their modes: they may be write-protected
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(site / file), str(folder / file))
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")

    return made_once(our_cache() / f"jittor-{number}-{key.hexdigest()[:12]}", fill)


def cache_name(device: str, site: Path) -> str:
    """The name of the cache for this device, view, Python and settings."""
    compiler = shutil.which(os.environ.get("cc_path", "g++"))
    follows_from = [str(site), sys.base_prefix, compiler, [os.environ.get(x) for x in SETTINGS]]
    return f"stylegan-{device}-" + hashlib.sha256(repr(follows_from).encode()).hexdigest()[:8]


def choose(device: str, say: Optional[Callable[[str], None]] = None) -> Path:
    """Makes the next `import jittor` find our view and our cache. `say` is told what it lacks.

    Returns the file that is there if the cache is complete.
    """
    site = installed()
    try:
        view = make_view(site)
    except OSError as e:
        raise DeviceError(
            f"cannot write to the cache {our_cache()}: {reason(e)} (XDG_CACHE_HOME says where "
            "it is)"
        ) from None
    if view:
        sys.path.insert(0, str(view))
        site = view
    if say:
        for line in losses(site, left_out(site)):
            say(line)
    # Set by any program that has loaded Jittor, and inherited by what it starts
    os.environ["cache_name"] = cache_name(device, site)
    try:
        import jittor_utils
    except (KeyError, OSError, RuntimeError, ValueError) as e:
        why = explained(e) if isinstance(e, OSError) else e
        raise DeviceError(
            f"Jittor cannot use its cache {jittor_cache()}: {why} (JITTOR_HOME says where it is, "
            f"else {remembered_home()})"
        ) from None
    return Path(jittor_utils.cache_path, "complete")


def watched(command: list, environment: dict) -> int:
    """Runs what compiles Jittor and returns its exit code. How far it is stands in the terminal's
    last line meanwhile: it writes how many files of how many are compiled, stage by stage.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    environment = {**environment, PROGRESS: str(writer)}
    text, stages = "", []
    with open(reader, "rb", buffering=0) as progress, Line() as line:
        process = subprocess.Popen(command, env=environment, pass_fds=[writer])
        os.close(writer)

        def count() -> str:
            nonlocal text
            *complete, text = (text + (progress.read() or b"").decode()).split("\n")
            for done, total in (map(int, x.split()) for x in complete):
                stages[len(stages) - (done > 1) :] = [(done, total)]
            done, total = map(sum, zip(*stages)) if stages else (0, 0)
            return "compiling Jittor" + (f": {done} of {total}" if total else "")

        line.wait(process, count)
    return process.returncode


def check_loadable(folder: Path) -> None:
    """DeviceError that names a library older than what Jittor's parts were compiled with."""
    for part in sorted(folder.glob("jit*_core*.so")):
        try:
            ctypes.CDLL(str(part))
        except OSError as e:
            found = re.match(r"(.*): version `(\w+_[\d.]+)' not found", str(e))
            if found:
                raise DeviceError(
                    f"{found[1]} is too old for Jittor, it lacks {found[2]}: take its folder out "
                    "of LD_LIBRARY_PATH, or put a newer one there (conda: libstdcxx-ng)"
                ) from None


def build(mark: Path) -> None:
    """Has Jittor compile itself in a process of its own, which then makes the mark."""
    # Not a process of mpirun: it must not wait for the others
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_"))}
    environment["use_mpi"] = "0"
    for _ in range(2):  # what was interrupted before makes it end once, with exit code 0
        command = [sys.executable, "-W", "ignore", "-c", BUILD, str(mark), *sys.path]
        status = watched(command, environment)
        if mark.exists():
            return
        if status:
            break
    check_loadable(mark.parent)
    full = shutil.disk_usage(str(mark.parent.parent)).free < 2**24
    why = "the disk is full" if full else "what it says above tells why"
    why = f"Jittor did not compile (exit code {status}): {why}"
    raise DeviceError(f"{why}; its files are in {mark.parent}")


def load(device: str, say: Optional[Callable[[str], None]] = None):
    """Imports Jittor: our view of it, with a cache for this device, compiled if it is not yet.

    `device` is "cpu" or "cuda". `say` is told when that takes minutes, and which groups of edits
    are left out. Raises DeviceError.
    """
    mark = choose(device, say)
    if not mark.exists():
        if say:
            say("Jittor compiles itself on its first use, which takes a minute or two ...")
        build(mark)
    try:
        with warnings.catch_warnings(), children.loading():
            warnings.simplefilter("ignore")  # of new Pythons, about how its texts are written
            import jittor
    except BrokenExecutor:
        raise DeviceError("a process of Jittor's was killed: is there memory enough?") from None
    except (AssertionError, ImportError):
        check_loadable(mark.parent)
        raise
    except SystemExit:  # it has rebuilt what it had loaded, and ends with exit code 0
        if os.environ.pop(STARTED_AGAIN, None):
            text = f"Jittor rebuilds itself at every start: remove {mark.parent}"
            raise DeviceError(text) from None
        mark.unlink()  # it is built before it is loaded the next time
        raise StartAgain(
            "Jittor has rebuilt itself: start this again, a notebook with a new kernel"
        ) from None
    os.environ.pop(STARTED_AGAIN, None)
    return jittor
