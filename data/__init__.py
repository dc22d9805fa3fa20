"""Where pictures come from: the sources that are prepared, how each becomes RGB at every size, the
sets on disk, and the batches that training reads. Imports `backend` and `formats`.
"""
