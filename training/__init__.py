"""What a run is: its options and growth, losses, optimiser, its state and checkpoints, and the
folder that it writes. Imported by scripts; imports `pictures`, `formats`, `backend` and `model.py`.
"""
