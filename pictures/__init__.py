"""Where pictures come from and go: the sources that are prepared, the sets on disk that training
reads, a trained generator asked for images, grids and animations. Imports `formats` and `backend`.
"""
