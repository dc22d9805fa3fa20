"""What a run is: its options and its growth, losses, optimiser, its state with checkpoints, and the
folder that it writes. Imported by scripts; imports `pictures`, `formats`, `backend` and the networks
in `model.py`.
"""
