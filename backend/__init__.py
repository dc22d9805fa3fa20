"""On what machine, with which Jittor: the device, Jittor's copy and caches, CUDA, the processes of
mpirun, disk and terminal. Imports no other room; whoever needs Jittor gets it from `device.py`.
"""
