"""Toolkits and wheels that are nothing but empty files with the right names."""

NVCC = """#!/bin/sh
case "$*" in
    --version) echo 'Cuda compilation tools, release {release}, V{release}.88' ;;
    *--list-gpu-code) printf 'sm_%s\\n' {codes} ;;
    *) echo "$@" ;;
esac
"""
CODES = {"12": "50 60 70 75 80 86 89 90", "13": "75 80 86 89 90 100 110 103 120 121"}
CUDNN_8 = ["cudnn", "cudnn_ops_infer", "cudnn_ops_train", "cudnn_cnn_infer", "cudnn_cnn_train"]
CUDNN_9 = ["cudnn", "cudnn_ops", "cudnn_cnn"]
PARTS = {
    "cuda_runtime": (["cuda_runtime.h"], ["cudart"]),
    "cublas": (["cublas_v2.h", "cublas.h"], ["cublas", "cublasLt"]),
    "curand": (["curand.h"], ["curand"]),
    "cufft": (["cufft.h"], ["cufft"]),
    "cusparse": (["cusparse.h"], ["cusparse"]),
    "nvjitlink": ([], ["nvJitLink"]),
    "cuda_nvrtc": ([], ["nvrtc"]),
}


def script(path, text: str) -> str:
    """An executable file; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def put(folder, headers, libraries, ending) -> None:
    """Empty headers and libraries; ending is ".so" or ".so.13"."""
    for name in headers:
        (folder / "include" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "include" / name).touch()
    for name in libraries:
        (folder / "lib").mkdir(parents=True, exist_ok=True)
        (folder / "lib" / f"lib{name}{ending}").touch()


def put_cudnn(folder, version: str, ending: str = ".so") -> None:
    put(folder, ["cudnn.h"], CUDNN_8 if version.startswith("8") else CUDNN_9, ending)
    lines = zip(("MAJOR", "MINOR", "PATCHLEVEL"), version.split("."))
    text = "".join(f"#define CUDNN_{name} {number}\n" for name, number in lines)
    (folder / "include" / "cudnn_version.h").write_text(text)


def put_toolkit(root, release: str, parts=tuple(PARTS), cudnn: str = "") -> str:
    """A toolkit with nvcc and those parts; the path of nvcc."""
    for part in parts:
        put(root, *PARTS[part], ".so")
    put(root, ["cccl/cub/cub.cuh" if release >= "13" else "cub/cub.cuh"], [], ".so")
    if cudnn:
        put_cudnn(root, cudnn)
    codes = CODES["13" if release >= "13" else "12"]
    return script(root / "bin" / "nvcc", NVCC.format(release=release, codes=codes))


def put_wheels(site, major: int, parts=tuple(PARTS), cudnn: str = "") -> None:
    """Wheels as pip installs them: for CUDA 12 a folder for each, for 13 one for nearly all."""
    together = major >= 13
    for part in parts:
        folder = site / "nvidia" / (f"cu{major}" if together else part)
        put(folder, *PARTS[part], f".so.{major}")
        suffix = "" if together else f"_cu{major}"
        (site / f"nvidia_{part}{suffix}-{major}.0.1.dist-info").mkdir(parents=True)
    if cudnn:
        put_cudnn(site / "nvidia" / "cudnn", cudnn, f".so.{cudnn[0]}")
        (site / f"nvidia_cudnn_cu{major}-{cudnn}.dist-info").mkdir(parents=True)
