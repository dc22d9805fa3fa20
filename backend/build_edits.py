"""What is different in our view of Jittor so that it and its kernels compile faster, with
`jittor_build.py`, and why: more groups of the kind that `jittor_edits.py` has.
"""

from backend.jittor_edits import FASTER_TO_COMPILE, Edit, Group

GROUPS = (
    Group(
        "tuner",
        FASTER_TO_COMPILE,
        reason="each kernel began a Python process and a second g++, which only marked ones need",
        lost="each kernel takes longer to compile",
        edits=(
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
        ),
    ),
    Group(
        "build-module",
        FASTER_TO_COMPILE,
        reason="its compiler can call jittor_build.py and wait for what that has begun",
        lost="it and its kernels take longer to compile",
        edits=(
            Edit(
                "jittor/compiler.py",
                "from jittor_utils import lock\n",
                "from jittor_utils import lock, stylegan_build\nwaits = []\n",
            ),
            Edit(
                "jittor/compiler.py",
                "    obj_files += ex_obj_files\n",
                "    while waits:\n        waits.pop()()\n    obj_files += ex_obj_files\n",
            ),
        ),
    ),
    Group(
        "compiled-header",
        FASTER_TO_COMPILE,
        reason="its own files share a compiled header",
        lost="it takes longer to compile",
        needs=("build-module",),
        edits=(
            Edit(
                "jittor/compiler.py",
                "        nflags = oflags\n",
                """\
        nflags = oflags
        if not input.endswith(".cu"):
            nflags = stylegan_build.core_options(oflags, input, cc, cache_path)
""",
            ),
        ),
    ),
    Group(
        "large-files",
        FASTER_TO_COMPILE,
        reason="fewer and larger files, without its tests",
        lost="it takes longer to compile",
        needs=("build-module",),
        edits=(
            Edit("jittor/compiler.py", "gen_jit_flags()\ngen_jit_tests()\n", "gen_jit_flags()\n"),
            Edit(
                "jittor/compiler.py",
                'LOG.vv("compile order:", files)\n',
                "files = stylegan_build.units(files, jittor_path, cache_path + '/units')\n",
            ),
            Edit(
                "jittor/compiler.py",
                "    jit_utils_core_files = files\n",
                """\
    jit_utils_core_files = files
    files = stylegan_build.units(files, jittor_path, jit_utils.cache_path+'/utils')
""",
            ),
        ),
    ),
    Group(
        "data-beside",
        FASTER_TO_COMPILE,
        reason="one large file that is none of these is compiled beside them",
        lost="it takes longer to compile",
        needs=("build-module",),
        edits=(
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
        ),
    ),
    Group(
        "kernel-header",
        FASTER_TO_COMPILE,
        reason="the kernels share a compiled header, made beside these files",
        lost="each kernel takes longer to compile",
        needs=("build-module",),
        edits=(
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
                "flags.cc_flags = cc_flags + kernel_opt_flags\n",
                """\
flags.cc_flags = stylegan_build.kernel_options(cc_flags + kernel_opt_flags, cache_path)
""",
            ),
        ),
    ),
    Group(
        "utils-once",
        FASTER_TO_COMPILE,
        reason="the part that compiles the rest is compiled once, then what it was made from only "
        "written down",
        lost="a part of it is compiled twice",
        needs=("build-module",),
        edits=(
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
        ),
    ),
    Group(
        "short-calls",
        FASTER_TO_COMPILE,
        reason="the 300 functions that Python calls share what they do when that fails",
        lost="it takes longer to compile",
        edits=(
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
                """\
                                    CHECK(({get_pytype_map(args[aid][0],2)}(vo)));
""",
                """\
                                    if (!({get_pytype_map(args[aid][0],2)}(vo)))
                                        invalid_call("Not a valid argument:", ks);
""",
            ),
            Edit(
                "jittor/pyjt_compiler.py",
                'LOGf << "Not a valid keyword:" << ks;',
                'invalid_call("Not a valid keyword:", ks);',
            ),
            Edit(
                "jittor/pyjt_compiler.py",
                "                        CHECK(!PyErr_Occurred());\n",
                """\
                        if (PyErr_Occurred()) invalid_call("Not a valid argument.");
""",
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
        ),
    ),
    Group(
        "onednn-example",
        FASTER_TO_COMPILE,
        reason="oneDNN's example, compiled twice and run once, was all that made the linker load "
        "oneDNN",
        lost="an example of oneDNN's is compiled too",
        edits=(
            Edit(
                "jittor/compile_extern.py",
                '        else:\n            assert 0 == os.system(f"cd {dirname}',
                '        elif False:\n            assert 0 == os.system(f"cd {dirname}',
            ),
            Edit(
                "jittor/compile_extern.py",
                "    # ctypes.CDLL(mkl_lib_name, dlopen_flags)\n",
                "    ctypes.CDLL(mkl_lib_name, dlopen_flags)\n",
            ),
        ),
    ),
    Group(
        "onednn-operators",
        FASTER_TO_COMPILE,
        reason="of the operators that call oneDNN only the two that are used",
        lost="operators that nothing uses are compiled too",
        edits=(
            Edit(
                "jittor/compile_extern.py",
                "for name in os.listdir(mkl_op_dir)]\n",
                "for name in sorted(os.listdir(mkl_op_dir))\n"
                '        if name.startswith(("mkl_conv", "mkl_matmul"))]\n',
            ),
        ),
    ),
    Group(
        "build-processes",
        FASTER_TO_COMPILE,
        reason="as many files at a time as there are cores",
        lost="fewer of its files are compiled at a time",
        edits=(
            Edit(
                "jittor_utils/__init__.py",
                "pool_size = min(16,max(int(mem_gib // 3), 1))",
                "pool_size = max(1, min(len(os.sched_getaffinity(0)) + 1, int(mem_gib)))",
            ),
        ),
    ),
    Group(
        "kernel-processes",
        FASTER_TO_COMPILE,
        reason="as many kernels at a time as there are cores",
        lost="fewer kernels are compiled at a time",
        edits=(
            Edit(
                "jittor/src/parallel_compiler.cc",
                "        int(mem_info.total_cpu_ram/(1024ll*1024*1024*3))));\n",
                "        std::min(1 + int(std::thread::hardware_concurrency()),\n"
                "            int(mem_info.total_cpu_ram/(1024ll*1024*1024)))));\n",
            ),
        ),
    ),
)
