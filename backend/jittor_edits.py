"""What is different in our view of Jittor 1.3.11, and why (see `jittor_home.py`)."""

from typing import NamedTuple


class Edit(NamedTuple):
    """Text that stands once in a file of Jittor's, and what is to stand there."""

    file: str
    old: str
    new: str


# In Jittor's convolutions: which of the algorithms that cuDNN found are good
SUCCESSFUL = "if (perf_results[i].status == CUDNN_STATUS_SUCCESS){"
REPEATABLE = """\
if (perf_results[i].status == CUDNN_STATUS_SUCCESS
                && (benchmark || (perf_results[i].determinism == CUDNN_DETERMINISTIC
                && perf_results[i].memory <= mem_info.total_cuda_ram * max_workspace_ratio))){"""

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
    # A kernel that fills one number is named after its type, too: the flag is gone where a Function
    # took the number, and one of float32 then wrote half of a float64
    Edit(
        "jittor/src/ops/array_op.cc",
        "    if (output->flags.get(NodeFlags::_force_fuse)) {\n        jk",
        "    if (type() == OpType::element) {\n        jk",
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
    # Jittor's own files: fewer and larger ones, each with a compiled header, without its tests, in
    # an order that does not depend on the file system
    Edit(
        "jittor/compiler.py",
        "from jittor_utils import lock\n",
        "from jittor_utils import lock, stylegan_build\nwaits = []\n",
    ),
    Edit(
        "jittor/compiler.py",
        "        nflags = oflags\n",
        """\
        nflags = oflags
        if not input.endswith(".cu"):
            nflags = stylegan_build.core_options(oflags, input, cc, cache_path)
""",
    ),
    Edit("jittor/compiler.py", "gen_jit_flags()\ngen_jit_tests()\n", "gen_jit_flags()\n"),
    Edit("jittor/compiler.py", "files2 = pyjt_gen_src\n", "files2 = sorted(pyjt_gen_src)\n"),
    Edit(
        "jittor/compiler.py",
        "files4 = [ f[len(jittor_path)+1:] for f in files4 ]\n",
        "files4 = sorted(f[len(jittor_path)+1:] for f in files4)\n",
    ),
    Edit(
        "jittor/compiler.py",
        'LOG.vv("compile order:", files)\n',
        "files = stylegan_build.units(files, jittor_path, cache_path + '/units')\n",
    ),
    # Beside them one large file that is none of these, and the header of the kernels
    Edit(
        "jittor/compiler.py",
        '        run_cmd(fix_cl_flags(f"\\"{cc_path}\\" {dflags}',
        '        data = stylegan_build.begin(fix_cl_flags(f"\\"{cc_path}\\" -w {dflags}',
    ),
    Edit(
        "jittor/compiler.py",
        """\
        os.remove(data_s_path)
        with open(data_gz_md5_path, 'w') as f:
            f.write(md5)
""",
        """\
        def data_done():
            assert data.wait() == 0, "data.cc did not compile"
            os.remove(data_s_path)
            with open(data_gz_md5_path, 'w') as f:
                f.write(md5)
        waits.append(data_done)
""",
    ),
    Edit(
        "jittor/compiler.py",
        """\
compile(cc_path, cc_flags+opt_flags, files, 'jittor_core'+extension_suffix)
""",
        """\
waits.append(stylegan_build.start_kernel_header(cc_flags+kernel_opt_flags, cc_path, cache_path))
compile(cc_path, cc_flags+opt_flags, files, 'jittor_core'+extension_suffix)
""",
    ),
    Edit(
        "jittor/compiler.py",
        "    obj_files += ex_obj_files\n",
        "    while waits:\n        waits.pop()()\n    obj_files += ex_obj_files\n",
    ),
    Edit(
        "jittor/compiler.py",
        "flags.cc_flags = cc_flags + kernel_opt_flags\n",
        "flags.cc_flags = stylegan_build.kernel_options(cc_flags + kernel_opt_flags, cache_path)\n",
    ),
    # The part that compiles the rest: once, then what it was made from is only written down
    Edit(
        "jittor/compiler.py",
        "    jit_utils_core_files = files\n",
        """\
    jit_utils_core_files = files
    files = stylegan_build.units(files, jittor_path, jit_utils.cache_path+'/utils')
""",
    ),
    Edit(
        "jittor/compiler.py",
        "        # recompile, generate cache key\n        compile(",
        "        with stylegan_build.note_only(): compile(",
    ),
    Edit(
        "jittor/src/utils/cache_compile.cc",
        "    if (output_cache_key.size() == 0) {\n",
        '    if (output_cache_key.size() == 0 && !getenv("stylegan_note_only")) {\n',
    ),
    # The 300 functions that Python calls share what they do when that fails
    Edit(
        "jittor/pyjt_compiler.py",
        """\
                LOGf << "Not a valid call.";
            }} catch (const std::exception& e) {{
                if (!PyErr_Occurred()) {{
                    std::stringstream ss;
                    if (check_async_executor_error(e, ss)) {{
                        PyErr_Format(PyExc_RuntimeError,\x20
                            "%s",
                            ss.str().c_str()
                        );
                    }} else {{
                        ss {error_log_code};
                        PyErr_Format(PyExc_RuntimeError,\x20
                            "%s\\\\n%s\\\\nFailed reason:%s",
                            ss.str().c_str(),
                            R""({decs})"",
                            e.what()
                        );
                    }}
                }}
            }}
""",
        """\
                invalid_call("Not a valid call.");
            }} catch (const std::exception& e) {{
                call_failed(e, R""({decs})""{error_log_code.replace(" << ", ", ")});
            }}
""",
    ),
    Edit(
        "jittor/pyjt_compiler.py",
        "                            CHECK(({check}({arg_names[tid]})));\n",
        "                            if (!({check}({arg_names[tid]})))\n"
        '                                invalid_call("Not a valid argument.");\n',
    ),
    Edit(
        "jittor/pyjt_compiler.py",
        "                                    CHECK(({get_pytype_map(args[aid][0],2)}(vo)));\n",
        "                                    if (!({get_pytype_map(args[aid][0],2)}(vo)))\n"
        '                                        invalid_call("Not a valid argument:", ks);\n',
    ),
    Edit(
        "jittor/pyjt_compiler.py",
        'LOGf << "Not a valid keyword:" << ks;',
        'invalid_call("Not a valid keyword:", ks);',
    ),
    Edit(
        "jittor/pyjt_compiler.py",
        "                        CHECK(!PyErr_Occurred());\n",
        '                        if (PyErr_Occurred()) invalid_call("Not a valid argument.");\n',
    ),
    Edit(
        "jittor/src/pyjt/py_arg_printer.h",
        "std::ostream& operator<<(std::ostream& os, const PyFastCallArgPrinter& args);\n",
        """\
std::ostream& operator<<(std::ostream& os, const PyFastCallArgPrinter& args);

bool check_async_executor_error(const std::exception& e, std::ostream& os);

template<class... T>
__attribute__((noinline, cold))
void call_failed(const std::exception& e, const char* declarations, T... parts) {
    if (PyErr_Occurred()) return;
    std::stringstream ss;
    if (check_async_executor_error(e, ss)) {
        PyErr_Format(PyExc_RuntimeError, "%s", ss.str().c_str());
        return;
    }
    int all[] = {((ss << parts), 0)...};
    (void)all;
    PyErr_Format(PyExc_RuntimeError, "%s\\n%s\\nFailed reason:%s",
        ss.str().c_str(), declarations, e.what());
}

__attribute__((noinline, cold, noreturn))
inline void invalid_call(const char* why, const char* name="") {
    LOGf << why << name;
    throw;
}
""",
    ),
    # oneDNN's example, compiled twice and run once
    Edit(
        "jittor/compile_extern.py",
        '        else:\n            assert 0 == os.system(f"cd {dirname}',
        '        elif False:\n            assert 0 == os.system(f"cd {dirname}',
    ),
    Edit(
        "jittor/compile_extern.py",
        "for name in os.listdir(mkl_op_dir)]\n",
        "for name in sorted(os.listdir(mkl_op_dir))\n"
        '        if name.startswith(("mkl_conv", "mkl_matmul"))]\n',
    ),
    # The example was all that made the linker load oneDNN
    Edit(
        "jittor/compile_extern.py",
        "    # ctypes.CDLL(mkl_lib_name, dlopen_flags)\n",
        "    ctypes.CDLL(mkl_lib_name, dlopen_flags)\n",
    ),
    # As many at a time as there are cores, and word of each to who waits
    Edit(
        "jittor_utils/__init__.py",
        "pool_size = min(16,max(int(mem_gib // 3), 1))",
        "pool_size = max(1, min(len(os.sched_getaffinity(0)) + 1, int(mem_gib)))",
    ),
    Edit(
        "jittor_utils/__init__.py",
        "    def update(self, i):\n",
        """\
    def update(self, i):
        if "stylegan_progress" in os.environ:
            os.write(int(os.environ["stylegan_progress"]), f"{i + 1} {self.n}\\n".encode())
""",
    ),
    # The same of kernels, in the terminal's last line alone; Jittor looked once a second at the end
    Edit(
        "jittor/src/parallel_compiler.cc",
        "        int(mem_info.total_cpu_ram/(1024ll*1024*1024*3))));\n",
        "        std::min(1 + int(std::thread::hardware_concurrency()),\n"
        "            int(mem_info.total_cpu_ram/(1024ll*1024*1024)))));\n",
    ),
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
    # What was not tried, but recommended: only what repeats its result bit by bit
    *(
        Edit(f"jittor/extern/cuda/cudnn/ops/cudnn_{name}_op.cc", SUCCESSFUL, REPEATABLE)
        for name in ("conv", "conv_backward_x", "conv_backward_w")
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
