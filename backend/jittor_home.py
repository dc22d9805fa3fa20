"""The Jittor that runs: a view that today's Python and NumPy can use, with a cache of its own.

Jittor 1.3.11 needs a few edits for Python 3.13, NumPy 2 and g++ 16. They are made in a copy of it
in the user's cache; the installed files stay as they are. Jittor keeps what it compiles in one
folder for all programs and rebuilds itself when another program's settings differ, so ours has a
folder for each device and each kind of settings.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from importlib import metadata, util
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional

from backend.disk import home, made_once, our_cache
from backend.terminal import UsageError

KNOWN = (1, 3, 11)  # newer ones are taken as they are where their text is another


class Edit(NamedTuple):
    """Text that stands once in a file of Jittor's, and what is to stand there."""

    file: str
    old: str
    new: str


EDITS = (
    # Python 3.13: exec in a function no longer fills locals()
    Edit("jittor/compiler.py", "locals()[gen_name]", "sys.modules[gen_name]"),
    Edit("jittor_utils/__init__.py", "locals()[hash]", "sys.modules[hash]"),
    # Python 3.14 starts processes otherwise than by fork, which pickles what cannot be pickled
    Edit(
        "jittor_utils/__init__.py",
        "from multiprocessing import Pool\nimport multiprocessing as mp\n",
        "import multiprocessing\nmp = multiprocessing.get_context('fork')\nPool = mp.Pool\n",
    ),
    Edit(
        "jittor/dataset/dataset.py",
        "import multiprocessing as mp\n",
        "import multiprocessing\nmp = multiprocessing.get_context('fork')\n",
    ),
    # g++ 16: its other headers no longer bring this one; what templates name has to be there
    Edit("jittor/src/types.h", "#include <memory>\n", "#include <memory>\n#include <cstdint>\n"),
    Edit("jittor/src/misc/stack_vector.h", "return self->at(index);", "return self->a[index];"),
    # A Python process and a second call of g++ for each kernel, which only marked ones need
    Edit(
        "jittor/src/jit_compiler.cc",
        """\
#ifdef __linux__
        cmd = python_path+" "+jittor_path+"/utils/asm_tuner.py "
""",
        """\
#ifdef __linux__
        if (src.find("@begin") != string::npos)
        cmd = python_path+" "+jittor_path+"/utils/asm_tuner.py "
""",
    ),
    # A signal may end the wait for another process that compiles
    Edit(
        "jittor/src/lock.cc",
        """\
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = 0,
        .l_len = 0
    };
    ASSERT(fcntl(lock_fd, F_SETLKW, &lock) == 0);
""",
        """\
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = 0,
        .l_len = 0
    };
    while (fcntl(lock_fd, F_SETLKW, &lock) != 0) ASSERT(errno == EINTR);
""",
    ),
    # NumPy 2: a function's place in the table (in NumPy 1 MoveInto is there, which does the same),
    # the size of an item, and numbers as indices
    Edit("jittor/src/pyjt/numpy.cc", "fill(PyArray_CopyInto, 82);", "fill(PyArray_CopyInto, 50);"),
    Edit(
        "jittor/src/pyjt/numpy.h",
        "size *= arr->descr->elsize;",
        "size *= get_type_str(arr).dsize();",
    ),
    Edit(
        "jittor/src/pyjt/py_converter.h",
        """\
        PyArrayDescr_Proxy array_descr;
        array_descr.type_num = 5; // 5: int32
        int value;
        PyArray_CastScalarToCtype(obj, &value, &array_descr);
        var_slice->set_int(value);
""",
        """\
        PyObjHolder index(PyNumber_Index(obj), "an index is not a whole number");
        var_slice->set_int(PyLong_AsLong(index.obj));
""",
    ),
)

# In the environment: what Jittor makes its compiler's command of
SETTINGS = "cc_flags kernel_flags nvcc_path nvcc_flags python_config_path debug enable_lto".split()

STARTED_AGAIN = "STYLEGAN_STARTED_AGAIN"  # in the environment of a command that runs anew

# Jittor ends the process when it has rebuilt what it had loaded. argv: mark, sys.path
BUILD = "import sys; sys.path[:] = sys.argv[2:]; import jittor; open(sys.argv[1], 'w').close()"


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


def edited(site: Path) -> Optional[Dict[str, str]]:
    """The new text of each file that the edits change, None if this is not the Jittor they know."""
    texts: Dict[str, str] = {}
    for edit in EDITS:
        file = site / edit.file
        if not file.is_file():
            return None
        text = texts.get(edit.file) or file.read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            return None
        texts[edit.file] = text.replace(edit.old, edit.new)
    return texts


def check_unedited(number: str) -> None:
    """Raises DeviceError if a Jittor that the edits do not know cannot work here without them."""
    numpy = metadata.version("numpy")
    too_new = []
    if sys.version_info >= (3, 13):
        too_new.append("Python {}.{}".format(*sys.version_info))
    if int(numpy.split(".")[0]) >= 2:
        too_new.append(f"NumPy {numpy}")
    newer = tuple(int(x) for x in re.findall(r"\d+", number)[:3]) > KNOWN
    if too_new and not newer:
        raise DeviceError(
            f"this Jittor, {number}, does not work with {' and '.join(too_new)}: "
            "pip install --no-deps -r requirements.txt"
        )


def make_view(site: Path) -> Optional[Path]:
    """The folder of the edited copy, made if it is not there; None where Jittor is used as it is.

    A copy, for environments come and go: all that hold the same Jittor share one, and what is
    compiled from it.
    """
    if (
        site.parent == our_cache().resolve()
    ):  # this process was given the path of one that uses the view
        return site
    number, texts = version(site), edited(site)
    if texts is None:
        check_unedited(number)
        return None
    key = hashlib.sha256(repr(EDITS).encode())
    for package in ("jittor", "jittor_utils"):
        # As bytes: one name is Chinese, which is another text in the C locale
        for file in sorted((site / package).rglob("*"), key=lambda f: [*map(os.fsencode, f.parts)]):
            if file.is_file() and "__pycache__" not in file.parts:
                key.update(os.fsencode(file.relative_to(site)) + b"\0" + file.read_bytes())

    def fill(folder: Path) -> None:
        for package in ("jittor", "jittor_utils"):
            shutil.copytree(
                str(site / package),
                str(folder / package),
                ignore=shutil.ignore_patterns("__pycache__"),
                copy_function=shutil.copyfile,  # not their modes: they may be write-protected
            )
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")

    return made_once(our_cache() / f"jittor-{number}-{key.hexdigest()[:12]}", fill)


def cache_name(device: str, site: Path) -> str:
    """The name of the cache for this device, view, Python and settings."""
    compiler = shutil.which(os.environ.get("cc_path", "g++"))
    follows_from = [str(site), sys.base_prefix, compiler, [os.environ.get(x) for x in SETTINGS]]
    return f"stylegan-{device}-" + hashlib.sha256(repr(follows_from).encode()).hexdigest()[:8]


def choose(device: str) -> Path:
    """Makes the next `import jittor` find our view and our cache.

    Returns the file that is there if the cache is complete.
    """
    site = installed()
    try:
        view = make_view(site)
    except OSError as e:
        raise DeviceError(f"cannot write to the cache {our_cache()}: {e.strerror}") from None
    if view:
        sys.path.insert(0, str(view))
    # Set by any program that has loaded Jittor, and inherited by what it starts
    os.environ["cache_name"] = cache_name(device, view or site)
    try:
        import jittor_utils
    except (KeyError, OSError, RuntimeError, ValueError) as e:
        raise DeviceError(
            f"Jittor cannot use its cache {jittor_cache()}: {e} (JITTOR_HOME says where it is, "
            f"else {remembered_home()})"
        ) from None
    return Path(jittor_utils.cache_path, "complete")


def build(mark: Path) -> None:
    """Has Jittor compile itself in a process of its own, which then makes the mark."""
    # Not a process of mpirun: it must not wait for the others
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_"))}
    environment["use_mpi"] = "0"
    for _ in range(2):  # what was interrupted before makes it end once, with exit code 0
        command = [sys.executable, "-W", "ignore", "-c", BUILD, str(mark), *sys.path]
        status = subprocess.run(command, env=environment).returncode
        if mark.exists():
            return
        if status:
            break
    raise DeviceError(
        f"Jittor did not compile (exit code {status}): what it says above tells why; its files are "
        f"in {mark.parent}"
    )


def start_again(mark: Path) -> None:
    """Runs this command anew in this process, once; without the mark Jittor is built before."""
    if os.environ.pop(STARTED_AGAIN, None):
        raise DeviceError(f"Jittor rebuilds itself at every start: remove {mark.parent}")
    os.environ[STARTED_AGAIN] = "1"
    mark.unlink()
    command = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


def load(device: str, say: Optional[Callable[[str], None]] = None):
    """Imports Jittor: our view of it, with a cache for this device, compiled if it is not yet.

    `device` is "cpu" or "cuda". `say` is told when that takes minutes. Raises DeviceError.
    """
    mark = choose(device)
    if not mark.exists():
        if say:
            say("Jittor compiles itself on its first use, which takes some minutes ...")
        build(mark)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of new Pythons, about how its texts are written
            import jittor
    except SystemExit:  # it has rebuilt what it had loaded, and ends with exit code 0
        start_again(mark)
    os.environ.pop(STARTED_AGAIN, None)
    return jittor
