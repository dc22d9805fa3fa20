"""What other programs' files look like: one module for each format, and `files.read`, which opens
any of them without running what is in it. Plain values and NumPy arrays come out; Jittor is not
needed. Imports `backend` alone.
"""
