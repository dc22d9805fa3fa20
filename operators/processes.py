"""What the processes of mpirun tell one another; without it nothing."""

import numpy as np

from backend import device

jt = device.load()


def averaged(values) -> list:
    """The means of Vars over the processes. All have to ask for the same ones."""
    if not jt.in_mpi:
        return list(values)
    jt.sync(list(values))
    means = [x.mpi_all_reduce("mean") for x in values]
    for mean in means:  # one by one: the processes wait for each other, so the order is the same
        mean.sync()
    return means


def averaged_numbers(values) -> list:
    """The same of numbers, in float32 where there are several processes."""
    if jt.in_mpi:
        values = jt.array(np.array(values, "float32")).mpi_all_reduce("mean").numpy()
    return [float(x) for x in values]


def any_process(*flags) -> list:
    """Which of the flags are set in some process. Returns when all have asked."""
    if jt.in_mpi:
        flags = jt.array(np.array(flags, "int32")).mpi_all_reduce("add").numpy()
    return [bool(flag) for flag in flags]
