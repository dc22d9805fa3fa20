"""What is told before anything is computed: where files will be written, who started this."""

import os
import shlex

from backend import device
from backend.terminal import UsageError

FEW = 100, 1000  # pictures, from and below: what was seen of 100 and 500 is said

# What starts several processes, and the variables that tell their number and which one this is
TORCHRUN = "torchrun", "WORLD_SIZE", "RANK"
LAUNCHERS = (
    TORCHRUN,
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("mpiexec of MPICH or Intel MPI", "PMI_SIZE", "PMI_RANK"),
    ("mpirun of MVAPICH", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("horovodrun", "HOROVOD_SIZE", "HOROVOD_RANK"),
    ("flux", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
)


def count(name: str) -> int:
    """The number in a variable of the environment, 1 where there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 1


def check_launcher() -> None:
    """UsageError where a launcher other than OpenMPI's mpirun started several processes: each would
    train alone, for Jittor knows of no other. A batch job without srun is one process.
    """
    if device.under_mpirun():
        return
    for launcher, size, rank in LAUNCHERS:
        if rank in os.environ and count(size) > 1:
            raise UsageError(
                f"{launcher} has started {count(size)} processes, which would not train as one: "
                f"start them by OpenMPI's mpirun, as in mpirun -np {count(size)} python train.py "
                f"... (in the environment {size} is {count(size)})"
            )


def check_alone(script: str) -> None:
    """UsageError where mpirun or torchrun started several processes of a script that does not
    divide its work: each would do all of it, into the same files.
    """
    name, size, rank = TORCHRUN
    processes = count(size) if rank in os.environ else 1
    if device.under_mpirun():
        name, processes = "mpirun", device.ranks()
    if processes > 1:
        raise UsageError(
            f"{script} does not divide its work, and {name} has started {processes} of it: start "
            f"one, without {name} (only train.py takes several)"
        )


def advice(pictures: int, path: str) -> str:
    """What a set of few pictures is enough for, and the next command; "" for other numbers. What is
    said was seen in trials on a CPU, with one seed each.
    """
    if not FEW[0] <= pictures < FEW[1]:
        return ""
    return (
        "few pictures: 500 at 32 px were enough for a narrow network (--channel_max 40), which had "
        "not learned them by heart after 120,000 images; 100 at 16 px were not. In 11 minutes 500 "
        "people at 64 px came to an fd_vgg16 of 41 from another network, of 70 from nothing. With "
        "any network as CKPT (docs/resume.md):\n"
        f"    python train.py {shlex.quote(path)} --expname tuned --ckpt CKPT --tune --heldout "
        f"{pictures // 10}"
    )
