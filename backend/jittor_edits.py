"""What is different in our view of Jittor 1.3.11, and why (see `jittor_home.py`): groups of edits
of which each can be left out. What only saves time while it compiles is in `build_edits.py`.
"""

from typing import NamedTuple, Tuple

# What a group is for
NEEDED_TO_RUN = "needed to run"
RIGHT_RESULTS = "right and repeatable results"
FASTER_TO_COMPILE = "faster to compile"
NICER = "nicer"


class Edit(NamedTuple):
    """Text that stands once in a file of Jittor's, and what is to stand there."""

    file: str
    old: str
    new: str


class Group(NamedTuple):
    """Edits that are made together or, where one of them does not fit, not at all."""

    name: str
    purpose: str
    reason: str
    lost: str  # what Jittor does without it
    edits: Tuple[Edit, ...]
    needs: Tuple[str, ...] = ()  # groups before it


# In Jittor's convolutions: which of the algorithms that cuDNN found are good
SUCCESSFUL = "if (perf_results[i].status == CUDNN_STATUS_SUCCESS){"
REPEATABLE = """\
if (perf_results[i].status == CUDNN_STATUS_SUCCESS
                && (benchmark || (perf_results[i].determinism == CUDNN_DETERMINISTIC
                && perf_results[i].memory <= mem_info.total_cuda_ram * max_workspace_ratio))){"""

GROUPS = (
    Group(
        "python-3.13",
        NEEDED_TO_RUN,
        reason="exec in a function no longer fills locals()",
        lost="it does not start on Python 3.13 and later",
        edits=(
            Edit("jittor/compiler.py", "locals()[gen_name]", "sys.modules[gen_name]"),
            Edit("jittor_utils/__init__.py", "locals()[hash]", "sys.modules[hash]"),
        ),
    ),
    Group(
        "python-3.14",
        NEEDED_TO_RUN,
        reason="processes begin otherwise than by fork, which pickles what cannot be pickled",
        lost="it does not start on Python 3.14 and later",
        edits=(
            Edit(
                "jittor_utils/__init__.py",
                "    mp.set_start_method('fork')\n",
                """\
    mp.set_start_method('fork')
if os.name != 'nt':
    mp = mp.get_context('fork')
    Pool = mp.Pool
""",
            ),
            Edit(
                "jittor/dataset/dataset.py",
                "import multiprocessing as mp\n",
                """\
import multiprocessing as mp
if os.name != 'nt':
    mp = mp.get_context('fork')
""",
            ),
        ),
    ),
    Group(
        "g++-16",
        NEEDED_TO_RUN,
        reason="other headers no longer bring this one; what templates name has to be there",
        lost="g++ 16 and later do not compile it",
        edits=(
            Edit(
                "jittor/src/types.h",
                "#include <memory>\n",
                "#include <memory>\n#include <cstdint>\n",
            ),
            Edit(
                "jittor/src/misc/stack_vector.h",
                "return self->at(index);",
                "return self->a[index];",
            ),
        ),
    ),
    Group(
        "numpy-2",
        NEEDED_TO_RUN,
        reason="a function's place in NumPy's table (in NumPy 1 MoveInto is there, which does the "
        "same), the size of an item, and numbers as indices",
        lost="arrays and indices of NumPy 2 crash it",
        edits=(
            Edit(
                "jittor/src/pyjt/numpy.cc",
                "fill(PyArray_CopyInto, 82);",
                "fill(PyArray_CopyInto, 50);",
            ),
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
        ),
    ),
    Group(
        "gpu-10",
        NEEDED_TO_RUN,
        reason="a GPU is compiled for as what it is, not as 9.0 at most, which a newer one cannot "
        "run; whether nvcc can, it says itself",
        lost="it does not run on GPUs of compute capability 10.0 and later",
        edits=(Edit("jittor/compiler.py", "    max_arch = 90\n", "    max_arch = 999\n"),),
    ),
    Group(
        "single-number",
        RIGHT_RESULTS,
        reason="a kernel that fills one number is named after its type, too: the flag is gone "
        "where a Function took the number, and one of float32 then wrote half of a float64",
        lost="numbers in float64 may be wrong after a run in float32",
        edits=(
            Edit(
                "jittor/src/ops/array_op.cc",
                "    if (output->flags.get(NodeFlags::_force_fuse)) {\n        jk",
                "    if (type() == OpType::element) {\n        jk",
            ),
        ),
    ),
    Group(
        "lock-signals",
        RIGHT_RESULTS,
        reason="a signal may end the wait for another process that compiles",
        lost="a signal while another process compiles ends it with a failed assertion",
        edits=(
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
        ),
    ),
    Group(
        "file-order",
        RIGHT_RESULTS,
        reason="its files are compiled and registered in an order that does not depend on the file "
        "system",
        lost="its files are compiled and registered in the file system's order",
        edits=(
            Edit(
                "jittor/compiler.py", "files2 = pyjt_gen_src\n", "files2 = sorted(pyjt_gen_src)\n"
            ),
            Edit(
                "jittor/compiler.py",
                "files4 = [ f[len(jittor_path)+1:] for f in files4 ]\n",
                "files4 = sorted(f[len(jittor_path)+1:] for f in files4)\n",
            ),
        ),
    ),
    Group(
        "cuda-mathematics",
        RIGHT_RESULTS,
        reason="CUDA's fast mathematics are wrong in the fourth digit of a tanh",
        lost="CUDA up to 12.2 computes with fast mathematics",
        edits=(Edit("jittor/compiler.py", '\\" --use_fast_math "', '\\" "'),),
    ),
    Group(
        "cudnn-repeatable",
        RIGHT_RESULTS,
        reason="of what cuDNN was not asked to try, only what repeats its result bit by bit",
        lost="--deterministic cannot be used on CUDA",
        edits=(
            *(
                Edit(f"jittor/extern/cuda/cudnn/ops/cudnn_{name}_op.cc", SUCCESSFUL, REPEATABLE)
                for name in ("conv", "conv_backward_x", "conv_backward_w")
            ),
        ),
    ),
    Group(
        "build-progress",
        NICER,
        reason="word of each compiled file to who waits",
        lost="nothing tells how far its compilation is",
        edits=(
            Edit(
                "jittor_utils/__init__.py",
                "    def update(self, i):\n",
                """\
    def update(self, i):
        if "stylegan_progress" in os.environ:
            os.write(int(os.environ["stylegan_progress"]), f"{i + 1} {self.n}\\n".encode())
""",
            ),
        ),
    ),
    Group(
        "kernel-line",
        NICER,
        reason="how many kernels are compiled stands in the terminal's last line alone, and is "
        "looked at more often than once a second",
        lost="it tells of kernels in its own lines and sees up to a second late that they are done",
        edits=(
            Edit(
                "jittor/src/parallel_compiler.cc",
                """\
        if (i == prev_i) {
            // std::this_thread::sleep_for(std::chrono::milliseconds(100));
            std::this_thread::sleep_for(std::chrono::microseconds(sleep_us));
            sleep_us = std::min(sleep_us*2, 1000000); // max 0.1s
            continue;
        }
        prev_i = i;
        auto diff = (Time::now() - start).count();
        if (diff > 2e9) {
            if (!change_line) {
                std::cerr << "\\n";
                change_line = true;
            }
            // delay output progress in 2s
            float eta = diff / 1e9 / i * (n-i);
            std::cerr << "Compiling Operators(" << i << '/' << n << ")"
                << " used: " << std::setprecision(3) << std::setw(4) << diff/1e9 << "s eta: "
                << std::setprecision(3) << std::setw(4) << eta << "s \\r";
        }
    }
    if (change_line)
        std::cerr << std::endl;
""",
                """\
        prev_i = i;
        if (i == n) break;
        std::this_thread::sleep_for(std::chrono::microseconds(sleep_us));
        sleep_us = std::min(sleep_us*2, 20000);
        int64 tenths = (Time::now() - start).count() / 100000000;
        if (terminal && tenths > 4 && (i != shown_i || tenths / 10 != shown)) {
            shown = tenths / 10;
            shown_i = i;
            auto line = "\\r\\033[Kcompiling kernels: "+S(i)+" of "+S(n)+", "+S(shown)+" s";
            std::cerr << line << std::flush;
        }
    }
    if (shown >= 0)
        std::cerr << "\\r\\033[K" << std::flush;
""",
            ),
            Edit(
                "jittor/src/parallel_compiler.cc",
                "    bool change_line = false;\n",
                """\
    auto term = getenv("TERM");
    bool terminal = isatty(2) && term && string(term) != "dumb";
    int64 shown = -1, shown_i = -1;
""",
            ),
            Edit(
                "jittor/src/parallel_compiler.cc",
                "#include <iomanip>\n",
                "#include <unistd.h>\n",
            ),
        ),
    ),
)
