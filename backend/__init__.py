"""What the programs stand on: how numbers are computed (the device, its operators and kernels, the
processes of mpirun), and how a command talks to the person who typed it. Imports no other room;
whoever needs Jittor gets it from `device.py`.
"""
