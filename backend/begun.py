"""How this process began: who started it, and what Jittor reads once, for later calls in the same
session.
"""

import os
from typing import Dict, NamedTuple, Optional

from backend.jittor_home import DeviceError
from backend.terminal import UsageError

# What starts several processes, and the variables that tell their number and which one this is
MPIRUN = "mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"
TORCHRUN = "torchrun", "WORLD_SIZE", "RANK"
LAUNCHERS = (
    TORCHRUN,
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("mpiexec of MPICH or Intel MPI", "PMI_SIZE", "PMI_RANK"),
    ("mpirun of MVAPICH", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("horovodrun", "HOROVOD_SIZE", "HOROVOD_RANK"),
    ("flux", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
)


class Begun(NamedTuple):
    """device: "cpu" or "cuda". The environment before Jittor was loaded and with what it needs."""

    device: str
    precision: str
    threads: int
    before: Dict[str, str]
    environment: Dict[str, str]

    def check(self, device: str, precision: Optional[str], threads: Optional[int]) -> None:
        """DeviceError for options that are others; "auto" and None are any."""
        for option, wanted in (("device", device), ("precision", precision), ("threads", threads)):
            had = getattr(self, option)
            if wanted not in ("auto", None, had):
                raise DeviceError(
                    f"--{option} {wanted}: this process began with --{option} {had}, which stays; "
                    "start another (a notebook: restart its kernel)"
                )

    def set_environment(self) -> None:
        """Sets what was set for Jittor, again."""
        for name in self.before.keys() - self.environment.keys():
            os.environ.pop(name, None)
        changed = self.environment.items() - self.before.items()
        os.environ.update(changed)


def count(name: str) -> int:
    """The number in a variable of the environment, 1 where there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 1


def check_launcher() -> None:
    """UsageError where a launcher other than OpenMPI's mpirun started several processes: each would
    train alone, for Jittor knows of no other. A batch job without srun is one process.
    """
    if MPIRUN[1] in os.environ:
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
    name, size, rank = MPIRUN if MPIRUN[1] in os.environ else TORCHRUN
    processes = count(size) if rank in os.environ else 1
    if processes > 1:
        raise UsageError(
            f"{script} does not divide its work, and {name} has started {processes} of it: start "
            f"one, without {name} (only train.py takes several)"
        )
