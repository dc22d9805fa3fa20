"""What happens to a command when its terminal, its reader or its system is not what it expects."""

import argparse
import errno
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from terminals import in_terminal
from tiny import ROOT

import generate
import train
from backend import terminal
from backend.terminal import LARGEST_SEED, Output, UserError, number
from data.heldout import heldout_amount
from data.sizes import image_size, size_list
from figures import changes, options
from training.options import batch_list

SCRIPTS = ("train", "generate", "style_mixing", "projector", "convert", "dataset", "prepare_data")
TASK = """
import sys, time
sys.path.insert(0, sys.argv.pop())
from backend import terminal
def task(args):
    {}
    return 7
terminal.leave(terminal.run("x.py", task, __import__("argparse").ArgumentParser))
"""


def python(code, *, wait=True, **options):
    """A task of a script, as a process of its own."""
    command = [sys.executable, "-c", TASK.format(code), str(ROOT)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return (subprocess.run if wait else subprocess.Popen)(command, **{**pipes, **options})


# Output


def test_a_reader_that_goes_away_ends_nothing():
    process = python(
        """print("one", flush=True); time.sleep(1)
    for i in range(9999): print("more" * 9)
    print("x", file=sys.stderr)""",
        wait=False,
    )
    assert process.stdout.readline() == "one\n"
    process.stdout.close()
    process.stderr.close()
    assert process.wait() == 7


def test_the_readers_end_leaves_no_words_behind():
    """Not even of the interpreter, which flushes at its end."""
    process = python('print("one", flush=True); time.sleep(1); print("two")', wait=False)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 7


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", ">&- 2>&- <&-", ">/dev/full"])
def test_no_output_at_all(tmp_path, closed):
    """Nor are the numbers of what is closed given to the files that are opened next."""
    code = f"""print("lost"); sys.stderr.write("lost")
    file = open({str(tmp_path / "data")!r}, "w"); assert file.fileno() > 2
    import os; os.write(1, b"lost") if {closed != ">/dev/full"} else 0
    file.write("kept"); file.close()"""
    words = [sys.executable, "-c", TASK.format(code), str(ROOT)]
    shell = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words])
    assert shell.returncode == 7 and (tmp_path / "data").read_text() == "kept"


LINE = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from backend.terminal import Line
print("before")
with Line() as line:
    for text in ("one", "one", "another"):
        line.show(text)
    process = subprocess.Popen("sleep 0.5; echo said", shell=True, stdout=subprocess.PIPE)
    done = line.wait(process, lambda: "sleeps")
print("after", done)
"""


def test_a_line_that_is_written_anew_and_goes():
    code, text = in_terminal([sys.executable, "-c", LINE, str(ROOT)])
    clear = "\r\033[K"
    assert code == 0 and text == (
        f"before\r\n{clear}one{clear}another{clear}sleeps, 0 s{clear}after b'said\\n'\r\n"
    )


def test_no_line_where_there_is_no_terminal():
    """Nor in one that cannot erase."""
    command = [sys.executable, "-c", LINE, str(ROOT)]
    code, text = in_terminal(command, TERM="dumb")
    assert code == 0 and text == "before\r\nafter b'said\\n'\r\n"
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0 and done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gbk"])
def test_what_cannot_be_shown_is_escaped(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    code = "print('\\u8f93 \\U0001f600 \\udcff'); print('\\u8f93', file=sys.stderr)"
    done = python(code, env=environment, encoding=encoding)
    assert done.returncode == 7 and done.stderr.count("\n") == 1
    assert "\\U0001f600" in done.stdout and "\\udcff" in done.stdout


def test_output_of_a_stream_without_bytes():
    stream = io.StringIO()
    output = Output(stream)
    print("text", file=output)
    output.flush()
    assert stream.getvalue() == "text\n" and not output.isatty()


# Ctrl-C


INTERRUPT = """
import json, signal, subprocess, sys, time
how = getattr(signal, sys.argv[1])
process = subprocess.Popen(
    sys.argv[2:], stdout=-1, stderr=-1, text=True,
    preexec_fn=lambda: signal.signal(signal.SIGINT, how),
)
process.stdout.readline()
time.sleep(0.2)
process.send_signal(signal.SIGINT)
print(json.dumps([*process.communicate(timeout=60), process.returncode]))
"""


def interrupted(code, how="SIG_DFL"):
    """[stdout, stderr, exit code] of a task that prints a line, then gets a Ctrl-C."""
    task = [sys.executable, "-c", TASK.format(code), str(ROOT)]
    command = [sys.executable, "-c", INTERRUPT, how, *task]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("code", ["time.sleep(60)", "sum(iter(int, 1))", "__import__('numpy')"])
def test_ctrl_c_says_nothing(code):
    code = f"print('on', flush=True)\n    {code}\n    time.sleep(60)"
    assert interrupted(code) == ["", "", -signal.SIGINT]  # 130 in a shell


def test_ctrl_c_that_is_ignored_stays_so():
    """As of a job in the background."""
    assert interrupted("print('on', flush=True); time.sleep(1)", "SIG_IGN") == ["", "", 7]


@pytest.mark.parametrize("script", [*SCRIPTS, "metrics", "explore"])
def test_ctrl_c_while_a_script_imports_the_rest(tmp_path, script):
    """Which takes long where packages lie on a share; a session that imports one keeps Ctrl-C."""
    (tmp_path / "tqdm.py").write_text("import time; print('on', flush=True); time.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    own = [sys.executable, str(ROOT / f"{script}.py")]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {script}"
    for command, quiet in ((own, True), ([sys.executable, "-c", code], False)):
        command = [sys.executable, "-c", INTERRUPT, "default_int_handler", *command]
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
        out, err, status = json.loads(done.stdout)
        assert (out, status) == ("", -signal.SIGINT) and ("KeyboardInterrupt" not in err) == quiet


def test_the_handler_before_comes_back(monkeypatch):
    """As of a program; in a session it stays, and ends what it calls, not the session."""
    seen, before = [], signal.default_int_handler
    outside = signal.signal(signal.SIGINT, before)  # ignored where tests run in the background
    monkeypatch.setattr(sys, "argv", ["x.py"])

    def task(args):
        seen.append(signal.getsignal(signal.SIGINT))
        return 0

    try:
        assert terminal.run("x.py", task, argparse.ArgumentParser) == 0
        assert terminal.run("x.py", task, argparse.ArgumentParser, []) == 0
        assert seen == [signal.SIG_DFL, before] and signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            terminal.run("x.py", lambda args: signal.raise_signal(2), argparse.ArgumentParser, [])
    finally:
        signal.signal(signal.SIGINT, outside)


def test_the_environment_of_a_session_comes_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("use_mpi", raising=False)
    monkeypatch.setenv("nvcc_path", "here")

    def task(args):
        os.environ.update(OMP_NUM_THREADS="1", use_mpi="0")
        del os.environ["nvcc_path"]

    before = dict(os.environ)
    assert terminal.run("x.py", task, argparse.ArgumentParser, []) == 0
    assert dict(os.environ) == before


def test_in_another_thread():
    with ThreadPoolExecutor(1) as pool:
        code = pool.submit(terminal.run, "x.py", lambda args: 7, argparse.ArgumentParser, [])
        assert code.result() == 7


# Errors


@pytest.mark.parametrize(
    "error, code, words",
    [
        (UserError("a.png is broken"), 1, "x.py: a.png is broken"),
        (FileNotFoundError(2, "No such file", "a b"), 1, "x.py: a b: No such file"),
        (OSError(28, "No space left on device"), 1, "x.py: No space left on device: make room"),
        (OSError(37, "No locks available"), 1, "x.py: No locks available: set JITTOR_HOME"),
        (MemoryError(), 1, "x.py: there is not enough memory"),
        (RuntimeError("can't start new thread"), 1, "x.py: this process may have no more memory"),
        (
            RuntimeError("Wrong inputs\nFailed reason:Resource temporarily unavailable"),
            1,
            "x.py: this process may have no more memory or threads (Resource temporarily unava",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_get_one_sentence(capsys, error, code, words):
    def task(args):
        raise error

    assert terminal.run("x.py", task, argparse.ArgumentParser, []) == code
    out, err = capsys.readouterr()
    assert err.startswith(words) and err.count("\n") == 1 and not out


MEANINGS = {
    errno.EFBIG: "File too large: .*ulimit -f",
    errno.ENOSPC: "No space left on device: make room",
    errno.EDQUOT: "Disk quota exceeded: make room in what this user may fill",
    errno.EROFS: "Read-only file system: .*may only be read",
    errno.EACCES: "Permission denied: this user may not",
    errno.EPERM: "Operation not permitted: this user may not",
    errno.EISDIR: "Is a directory: it is a folder, where a file is needed",
    errno.ENOTDIR: "Not a directory: a file is in the place of a folder",
    errno.EMFILE: "Too many open files: see ulimit -n",
    errno.ESTALE: "Stale file handle: .*mount it anew",
}


@pytest.mark.parametrize("number", MEANINGS, ids=errno.errorcode.get)
def test_what_errors_of_files_mean(capsys, tmp_path, number):
    """The file is named: by the error, or as the last that the function that failed had open."""

    def named(args):
        raise OSError(number, os.strerror(number), "a b.png")

    def unnamed(args):
        with open(tmp_path / "c d.json", "w"), open(os.devnull):
            with open(tmp_path / "e f.log", "w") as last:
                print(last, file=sys.stderr)
                raise OSError(number, os.strerror(number))

    for task, path in ((named, "a b.png"), (unnamed, tmp_path / "e f.log")):
        assert terminal.run("x.py", task, argparse.ArgumentParser, []) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert re.match(f"x.py: {re.escape(str(path))}: {MEANINGS[number]}", said), said


NOISE = "__import__('numpy').random.rand(80, 80)"
WRITES = [  # ways to write more than 4 kB to a path p
    "with open(p, 'w') as f: f.write('x' * 9999)",
    "__import__('pathlib').Path(p).write_bytes(b'x' * 9999)",
    f"__import__('numpy').save(p, {NOISE})",
    f"__import__('figures.latents').latents.write_arrays(p, w={NOISE})",
    f"__import__('formats.pytorch').pytorch.write(p, {{'w': {NOISE}}})",
    f"__import__('figures.grid').grid.save_png((255 * {NOISE}).astype('uint8'), p)",
]


@pytest.mark.parametrize("write", WRITES)
def test_a_limit_of_the_size_of_files(tmp_path, write):
    """Of the shell: every way of writing gives one sentence that names file and limit."""
    path = str(tmp_path / "a.npy")
    code = f"p = {path!r}; __import__('resource').setrlimit(1, (4096, 4096))\n    {write}"
    done = python(code)
    said = done.stderr.splitlines()
    assert done.returncode == 1 and len(said) == 1 and "(ulimit -f)" in said[0], said
    assert said[0].startswith(f"x.py: {path}: ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_folder_that_is_gone(tmp_path, script):
    """Jittor would compile itself anew in it, and fail."""
    (tmp_path / "gone").mkdir()
    command = ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable]
    command += [str(ROOT / f"{script}.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "gone")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(f"{script}.py: the folder that this is started in is gone")
    assert done.stderr.count("\n") == 1


def test_a_fault_of_ours_is_not_taken_for_a_limit():
    def task(args):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        terminal.run("x.py", task, argparse.ArgumentParser, [])


LACKS = {
    "windows": "import sys, signal; sys.modules['fcntl'] = sys.modules['resource'] = None\n"
    "del signal.SIGHUP, signal.pthread_sigmask, signal.SIGCHLD",
    "macos": "import os; del os.sched_getaffinity",
}


@pytest.mark.parametrize("system", LACKS)
def test_another_system_gets_one_sentence(tmp_path, system):
    (tmp_path / "sitecustomize.py").write_text(LACKS[system])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for script in SCRIPTS:
        command = [sys.executable, str(ROOT / f"{script}.py"), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 2 and not done.stdout, script
        assert done.stderr == (
            f"{script}.py: this runs on Linux only: take WSL 2 on Windows, on macOS a container or "
            "a virtual machine\n"
        )


# Numbers


@pytest.mark.parametrize(
    "text", ["\u0663", "1\u0663", "\uff13", "1_0", "\u0967", "\u00b2", "-\u0661"]
)
def test_numbers_have_the_digits_0_to_9(text):
    """Wherever one is read: int() and float() take those of other scripts, and underscores."""
    for kind in (int, float):
        with pytest.raises(argparse.ArgumentTypeError, match="is no number of type"):
            number(kind, -(10**6), 10**6)(text)
    assert not terminal.is_digits(text)
    assert options.latents_item(text) == text  # a file's name
    for parse, words in (
        (options.seed_list, text),
        (options.seed_list, f"1,2-{text}"),
        (changes.mix_list, f"middle:{text}"),
        (changes.level_range, text),
        (changes.direction_list, f"{text}:1"),
        (changes.direction_list, f"0:{text}"),
        (options.crop_size, f"{text}x8"),
        (size_list, f"8,{text}"),
        (image_size, text),
        (batch_list, f"8:{text}"),
        (heldout_amount, text),
    ):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(words)


def test_each_figure_is_drawn_once():
    assert options.figure_list("sample,noise,sample,sample") == ["sample", "noise"]
    assert options.figure_list("noise,animation,noise") == ["noise", "animation"]


PATHS = {  # scripts and their options that take a path or a name
    "train": "--ckpt --expname",
    "generate": "--latents --expname --out --save_latents --frames_dir",
    "style_mixing": "--latents --expname -e",
    "projector": "--ckpt --files --expname --vgg16 --lpips",
    "metrics": "--data --inception --vgg16 --lpips --expname",
    "convert": "--export --out --ema --noise",
    "dataset": "--out",
    "prepare_data": "--out --folders --font --people_style",
    "explore": "--host --password",
}


@pytest.mark.parametrize("script", PATHS)
def test_no_path_is_empty(script, capsys):
    """As where a shell's variable is not set. Nor may an option be the beginning of one."""
    parser = importlib.import_module(script).parser()
    assert isinstance(parser, terminal.Parser)
    taking = {
        action.option_strings[-1]
        for action in parser._actions
        if action.option_strings and action.nargs != 0 and action.choices is None
    }
    assert set(PATHS[script].split()) - {"-e"} <= taking
    needed = ["--data", "c"] if script == "metrics" else []
    for option in taking:
        with pytest.raises(SystemExit) as e:
            parser.parse_args(["a", "b", f"{option}="])
        assert e.value.code == 2 and f"{option}: " in capsys.readouterr().err, option
        if len(option) > 4 and option[:-1] not in taking:
            with pytest.raises(SystemExit) as e:
                parser.parse_args(["a", *needed, f"{option[:-1]}=1"])
            assert e.value.code == 2 and "unrecognized" in capsys.readouterr().err, option
    for words in ([""], ["a", ""], ["a\0b"]):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        capsys.readouterr()


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", "nan", "NaN", "inf", "-1e-9", "9" * 5000], ids=lambda text: text[:9]
)
def test_floats_out_of_range(text):
    with pytest.raises(argparse.ArgumentTypeError, match="out of range") as e:
        number(float, 0.0)(text)
    assert len(str(e.value)) < 120


@pytest.mark.parametrize(
    "text",
    ["9" * 20, "9" * 400, "9" * 5000, "-1", f"{10**15 + 1}"],
    ids=lambda text: str(len(text)),
)
def test_ints_out_of_range(text):
    with pytest.raises(argparse.ArgumentTypeError, match="out of range") as e:
        number(int, 0)(text)
    assert len(str(e.value)) < 120


def test_numbers_at_the_edge():
    assert number(float, 0.0)("1.7976931348623157e308") == sys.float_info.max
    assert number(float, 0.0)("1e-400") == 0
    assert number(int, 0)("1000000000000000") == 10**15
    assert terminal.seed_number("18446744073709551615") == LARGEST_SEED == 2**64 - 1
    with pytest.raises(argparse.ArgumentTypeError, match="at most 18446744073709551615"):
        terminal.seed_number("18446744073709551616")


@pytest.mark.parametrize(
    "flag, values",
    [
        ("--seed", ["18446744073709551616", "-1", "1e3"]),
        ("--phase", ["0", "9" * 30, "1e400"]),
        ("--max_iters", ["9" * 30]),
        ("--save_every", ["9" * 30, "0"]),
        ("--keep", ["9" * 30, "0"]),
        ("--batch_default", ["65537", "9" * 30]),
        ("--code_size", ["8193"]),
        ("--n_mlp", ["101"]),
        ("--lr", ["1e309", "nan", "-0.1"]),
        ("--gp_weight", ["inf"]),
        ("--mapping_lr_mult", ["1e400"]),
        ("--ema", ["nan", "1.0000001"]),
        ("--init_size", ["9" * 400]),
    ],
)
def test_training_numbers_have_a_range(capsys, flag, values):
    for value in values:
        with pytest.raises(SystemExit) as e:
            train.main(["nowhere", f"{flag}={value}"])
        error = capsys.readouterr().err.splitlines()[-1]
        assert e.value.code == 2 and f"argument {flag}: " in error and len(error) < 200


@pytest.mark.parametrize(
    "words",
    ["--seeds=0-18446744073709551616", "--seeds=0-9999999999", "--seeds=" + "9" * 5000]
    + ["--seeds=0-9999998,0-9999998", "--batch=65537", "--frames=9999999999", "--n_row=10001"]
    + ["--images=10000001", "--seed=18446744073709551616", "--mixing_levels=0-" + "9" * 5000],
    ids=lambda words: words[:30],
)
def test_figures_numbers_have_a_range(capsys, words):
    with pytest.raises(SystemExit) as e:
        generate.main(["nowhere", words])
    error = capsys.readouterr().err.splitlines()[-1]
    assert e.value.code == 2 and len(error) < 250


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_find_their_rooms(tmp_path, script):
    """With modules of their names elsewhere, and where Python leaves their own folder out."""
    for name in ("backend", "dataset", "model"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('wrong module')")
    for setting in ({"PYTHONPATH": str(tmp_path)}, {"PYTHONSAFEPATH": "1"}):
        command = [sys.executable, str(ROOT / f"{script}.py"), "--help"]
        environment = {**os.environ, **setting}
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
