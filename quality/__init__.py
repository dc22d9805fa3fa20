"""How good pictures are, in numbers: networks that look at them, distances between what these see,
path lengths, the sets to compare with, and measuring while a run trains. Imports `figures`,
`training`, `data` and what those stand on.
"""
