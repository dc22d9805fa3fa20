"""What a run is: its options and growth, losses, optimiser, its state and checkpoints, and the
folder that it writes. Imports `data`, `formats`, the networks and what those stand on.
"""
